"""What an engine's list of models says: under which names it is found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_ALIASES = 16
MAX_NAME = 253
"""What a registry takes."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Also halves of characters, which JSON may hold."""


class UnreadableModelsError(Exception):
    """What came is no list of models, or one that names none."""


@dataclass(frozen=True, slots=True)
class Served:
    """The names under which an engine answers; ``left_out`` are those that no registry takes."""

    model: str
    aliases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, tuple[str, ...]]:
        """What a registry is told: the model, and its other names."""
        return self.model, self.aliases


def is_name(name: str) -> bool:
    """Whether a registry takes this as the name of a model."""
    return 0 < len(name) <= MAX_NAME and name == name.strip() and not _CONTROL.search(name)


def served(body: Any, *, model: str | None = None, aliases: Iterable[str] = ()) -> Served:
    """Understand an answer of ``GET /v1/models``.

    The model is the first entry that is no adapter of another (an adapter has a ``parent``), unless
    ``model`` names it. The other names are ``aliases`` and then the other entries, in their order,
    up to `MAX_ALIASES`. Raises `UnreadableModelsError`.
    """
    entries = list(_entries(body))
    if not entries:
        raise UnreadableModelsError("it names no model")
    usable = [(name, parent) for name, parent in entries if is_name(name)]
    if not usable and model is None:
        raise UnreadableModelsError("it names no model that a registry takes")
    bases = [name for name, parent in usable if parent is None]
    first = model or (bases or [name for name, _ in usable])[0]
    others = dict.fromkeys([*aliases, *(name for name, _ in usable)])
    others.pop(first, None)
    kept = tuple(others)[:MAX_ALIASES]
    odd = dict.fromkeys(name for name, _ in entries if not is_name(name))
    return Served(first, kept, (*tuple(others)[MAX_ALIASES:], *odd))


def _entries(body: Any) -> Iterable[tuple[str, str | None]]:
    """The name of each entry, and whose adapter it is."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        raise UnreadableModelsError("it is no list of models")
    for entry in data:
        name = entry.get("id") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            raise UnreadableModelsError("an entry of it has no id")
        parent = entry.get("parent")
        yield name, parent if isinstance(parent, str) and parent else None
