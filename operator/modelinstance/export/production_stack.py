"""``vllm-router``: the dynamic configuration of the router in vLLM's production stack.

That router is built from the production stack's repository (``--dynamic-config-json``); the package
``vllm-router`` of the Python index is another program, which reads no such file and can be fed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from modelinstance.client.watching import Instance
from modelinstance.export.rendering import Rendering, by_name, mapping

DEFAULTS = {"service_discovery": "static", "routing_logic": "roundrobin"}
URL = re.compile(
    r"https?://(?:(?:[\w-]+\.)+[A-Za-z]{2,}|localhost|\d{1,3}(?:\.\d{1,3}){3})(?::|/|$)"
)
"""What that router takes for a URL: no IPv6, and no name of one part. It refuses a file whose URLs
are fewer, after it has skipped some, than its models."""


class ProductionStack:
    """A format. ``base`` are other settings of the same file, for example the routing logic.

    Raises `BaseError` for a base that holds no settings.
    """

    def __init__(self, base: Any = None) -> None:
        self._base = {**DEFAULTS, **mapping(base)}

    def __call__(self, instances: Iterable[Instance]) -> Rendering:
        """The file: a backend and a model for each name of each instance."""
        left_out: dict[str, str] = {}
        pairs: list[tuple[str, str]] = []
        for name, instance in by_name(instances):
            address = instance.address.rstrip("/").removesuffix("/v1")
            if not URL.match(address):
                left_out[instance.key] = f"that router takes no URL like {address}"
            elif "," in name or "," in address:
                left_out[instance.key] = f"that router takes no name with a comma, like {name}"
            else:
                pairs.append((address, name))
        config = {
            **self._base,
            "static_backends": ",".join(address for address, _ in pairs),
            "static_models": ",".join(name for _, name in pairs),
        }
        return Rendering(json.dumps(config, indent=2, ensure_ascii=False) + "\n", left_out)
