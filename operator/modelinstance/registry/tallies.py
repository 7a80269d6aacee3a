"""What happened, counted; the metrics show it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

DURATION_BOUNDS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of a histogram, in seconds; what is longer goes into one more."""


class Histogram:
    """Durations in buckets."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.seconds += seconds


class Requests:
    """Requests over HTTP, by method, route and status; the routes are a closed set."""

    def __init__(self) -> None:
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.statuses: Counter[tuple[str, str, int]] = Counter()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one that was answered with that status."""
        durations = self.durations.get((method, route))
        if durations is None:
            durations = self.durations[method, route] = Histogram()
        durations.observe(seconds)
        self.statuses[method, route, status] += 1


@dataclass(slots=True)
class Tallies:
    """Counts since the start of the process; each counter's keys are a closed set."""

    selections: Counter[str] = field(default_factory=Counter)
    lists: Counter[str] = field(default_factory=Counter)
    status_writes: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    pod_writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    pods: int = 0
    requests: Requests = field(default_factory=Requests)
    events_lost: int = 0
    watch_restarts: int = 0
    watch_running: bool = False
