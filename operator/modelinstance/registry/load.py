"""What a worker says of its load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Load:
    """Load as of one report.

    ``running`` and ``waiting`` are numbers of requests, ``kv_cache`` is the used share of the
    key-value cache (0 to 1), ``extra`` holds numbers of the worker's own choice.
    """

    running: float = 0.0
    waiting: float = 0.0
    kv_cache: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """The requests that are there already."""
        return self.running + self.waiting
