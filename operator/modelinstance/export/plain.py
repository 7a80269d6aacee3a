"""``json``: a plain list, for programs of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterable

from modelinstance.client.watching import Instance
from modelinstance.export.rendering import Rendering, ordered


def render(instances: Iterable[Instance]) -> Rendering:
    """``{"instances": [...]}``, each with what is needed to call it."""
    items = [
        {
            "namespace": each.namespace,
            "name": each.name,
            "model": each.model,
            "aliases": sorted(each.aliases),
            "address": each.address,
            "weight": each.weight,
        }
        for each in ordered(instances)
    ]
    return Rendering(json.dumps({"instances": items}, indent=2, ensure_ascii=False) + "\n")
