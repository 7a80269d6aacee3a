"""What happened, counted; the metrics show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tallies:
    """Counts since the start of the process; each counter's keys are a closed set."""

    selections: Counter[str] = field(default_factory=Counter)
    lists: Counter[str] = field(default_factory=Counter)
    status_writes: Counter[str] = field(default_factory=Counter)
    events_lost: int = 0
    watch_restarts: int = 0
    watch_running: bool = False
