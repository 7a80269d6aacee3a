"""Attended time, and the deadlines on it.

Our own lateness must never look like a worker's silence, so deadlines do not run on the clock but
on attended time: every look at the clock adds what has passed since the last one, at most a
second. A process that was stopped for a minute has attended one second of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

MAX_STEP_SECONDS = 1.0
"""The most that one look at the clock may add to attended time."""


class Attendance:
    """Turns a monotonic clock into attended time."""

    __slots__ = ("_last",)

    def __init__(self, monotonic: float) -> None:
        self._last = monotonic

    def gained(self, monotonic: float) -> float:
        """Seconds attended since the last call, from 0 to `MAX_STEP_SECONDS`."""
        step = min(max(monotonic - self._last, 0.0), MAX_STEP_SECONDS)
        self._last = monotonic
        return step


class Expiring:
    """Base of what expires: at most one deadline, on one timeline.

    ``armed_at`` is the time of the entry that stands for it in that timeline's heap.
    """

    __slots__ = ("armed_at", "deadline", "timeline")

    def __init__(self) -> None:
        self.timeline: object | None = None
        self.deadline: float | None = None
        self.armed_at: float | None = None

    def cancel_deadline(self) -> None:
        """Let this not expire any more."""
        self.deadline = None
        self.armed_at = None


ItemT = TypeVar("ItemT", bound=Expiring)


class Timeline(Generic[ItemT]):
    """A time that someone advances, and the deadlines on it.

    An item has one entry in the heap however often its deadline moves: a later deadline only
    changes the item, and the entry is put back when it comes up too early. So a beat costs O(1),
    and a sweep costs what expires or comes up, whatever is there beside it.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, ItemT]] = []
        self._sequence = 0

    def schedule(self, item: ItemT, deadline: float) -> None:
        """Let the item expire at that time of this timeline, and on no other."""
        moved = item.timeline is not self
        item.timeline = self
        item.deadline = deadline
        if moved or item.armed_at is None or deadline < item.armed_at:
            self._arm(item, deadline)

    def next_deadline(self) -> float | None:
        """A time before which nothing expires; ``None`` when nothing ever does."""
        self._settle()
        return self._heap[0][0] if self._heap else None

    def pop_due(self) -> Iterator[ItemT]:
        """The items whose deadline has come, each once; they have no deadline afterwards."""
        while (first := self.next_deadline()) is not None and first <= self.now:
            item = heapq.heappop(self._heap)[2]
            item.cancel_deadline()
            yield item

    def _arm(self, item: ItemT, at: float) -> None:
        self._sequence += 1
        item.armed_at = at
        heapq.heappush(self._heap, (at, self._sequence, item))

    def _settle(self) -> None:
        """Bring the heap to a first entry that stands for a deadline, or to none."""
        while self._heap:
            at, _, item = self._heap[0]
            if item.timeline is self and item.armed_at == at and item.deadline is not None:
                if item.deadline <= at:
                    return
                heapq.heappop(self._heap)
                self._arm(item, item.deadline)
            else:
                heapq.heappop(self._heap)
