"""``litellm``: the configuration of LiteLLM's proxy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from modelinstance.client.watching import Instance
from modelinstance.export.rendering import BaseError, Rendering, by_name, mapping

MODELS = "model_list"
API_KEY = "none"
"""The OpenAI client wants a key; the engines here ask for none."""
VARIABLE, WILDCARD = "os.environ/", "*"
"""What LiteLLM does not take as it stands: it puts in the value of a variable of its environment,
which may be secret and is listed then, or takes the name for a pattern of other names."""


class LiteLLM:
    """A format. ``base`` are the other settings, with models of their own if it has some.

    There is one entry for each name of each instance: LiteLLM spreads the requests for a name over
    its entries by weight. Raises `BaseError` for a base that holds no settings.
    """

    def __init__(self, base: Any = None) -> None:
        self._base = mapping(base)
        self._models = self._base.get(MODELS) or []
        if not isinstance(self._models, list):
            raise BaseError(f"{MODELS} is a {type(self._models).__name__}, not a list")

    def __call__(self, instances: Iterable[Instance]) -> Rendering:
        """The file."""
        left_out: dict[str, str] = {}
        entries = []
        for name, instance in by_name(instances):
            if name.startswith(VARIABLE) or WILDCARD in name:
                left_out[instance.key] = f"LiteLLM reads something else in a name like {name}"
            else:
                entries.append(_entry(name, instance))
        config = {**self._base, MODELS: [*self._models, *entries]}
        return Rendering(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), left_out)


def _entry(name: str, instance: Instance) -> dict[str, Any]:
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"openai/{name}",
            "api_base": _api_base(instance.address),
            "api_key": API_KEY,
            "weight": instance.weight,
        },
        "model_info": {"id": f"{instance.key}/{name}"},
    }


def _api_base(address: str) -> str:
    """The OpenAI API of an engine: below ``/v1``, which the address may name already."""
    address = address.rstrip("/")
    return address if address.endswith("/v1") else f"{address}/v1"
