"""What all formats have in common: which instances under which names, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelinstance.client.watching import Instance


class BaseError(Exception):
    """What a file was to be based on cannot be used."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The text of a file, and the instances that it cannot hold with why, by NAMESPACE/NAME."""

    text: str
    left_out: Mapping[str, str] = field(default_factory=dict)


Render = Callable[[Iterable[Instance]], Rendering]
"""A format: the same instances in any order give the same text."""


def ordered(instances: Iterable[Instance]) -> list[Instance]:
    """The instances in the order of their keys."""
    return sorted(instances, key=lambda each: (each.namespace, each.name))


def by_name(instances: Iterable[Instance]) -> list[tuple[str, Instance]]:
    """A pair for each name of each instance, by name."""
    pairs = [(name, each) for each in instances for name in each.names]
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].namespace, pair[1].name))


def mapping(base: Any) -> dict[str, Any]:
    """The settings of a base file. Raises `BaseError` if it is none of settings."""
    if base is None:
        return {}
    if not isinstance(base, dict):
        raise BaseError(f"it holds a {type(base).__name__}, not settings by name")
    return dict(base)
