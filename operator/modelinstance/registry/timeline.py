"""Attended time, and the deadlines on it.

Our own lateness must never look like a worker's silence, so deadlines do not run on the clock but
on attended time: every look at the clock adds what has passed since the last one, at most a
second. A process that was stopped for a minute has attended one second of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

MAX_STEP_SECONDS = 1.0
"""The most that one look at the clock may add to attended time."""

SPARE_ENTRIES = 64
"""How many entries of the past a heap may hold beside twice the living ones."""


class Attendance:
    """Turns a monotonic clock into attended time."""

    __slots__ = ("_last",)

    def __init__(self, monotonic: float) -> None:
        self._last = monotonic

    def gained(self, monotonic: float) -> float:
        """Seconds attended since the last call, from 0 to `MAX_STEP_SECONDS`."""
        step, self._last = monotonic - self._last, monotonic
        if step > MAX_STEP_SECONDS:
            return MAX_STEP_SECONDS
        return max(0.0, step)


class Expiring:
    """Base of what expires: at most one deadline, on one timeline.

    ``armed_at`` is the time of the entry that stands for it in that timeline's heap.
    """

    __slots__ = ("armed_at", "deadline", "timeline")

    def __init__(self) -> None:
        self.timeline: Timeline[Any] | None = None
        self.deadline: float | None = None
        self.armed_at: float | None = None

    def cancel_deadline(self) -> None:
        """Let this not expire any more."""
        if self.timeline is not None and self.deadline is not None:
            self.timeline.forget(self)
        self.timeline = self.deadline = self.armed_at = None


ItemT = TypeVar("ItemT", bound=Expiring)


class Timeline(Generic[ItemT]):
    """A time that someone advances, and the deadlines on it.

    An item has one entry in the heap however often its deadline moves: a later deadline only
    changes the item, and the entry is put back when it comes up too early. So a beat costs O(1),
    and a sweep costs what expires or comes up, whatever is there beside it. Entries of the past are
    cleared away before they outnumber the living ones.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, ItemT]] = []
        self._sequence = 0
        self._living = 0

    def schedule(self, item: ItemT, deadline: float) -> None:
        """Let the item expire at that time of this timeline, and on no other."""
        if item.timeline is not self:
            item.cancel_deadline()
            item.timeline = self
            self._living += 1
        item.deadline = deadline
        if item.armed_at is None or deadline < item.armed_at:
            self._arm(item, deadline)

    def forget(self, item: Expiring) -> None:
        """An item of this timeline has no deadline any more; to be called by the item alone."""
        del item
        self._living -= 1

    @property
    def has_due(self) -> bool:
        """Whether something may have come due; costs next to nothing, and is never wrong as No."""
        return bool(self._heap) and self._heap[0][0] <= self.now

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
        if len(self._heap) > 2 * self._living + SPARE_ENTRIES:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)
        self._sequence += 1
        item.armed_at = at
        heapq.heappush(self._heap, (at, self._sequence, item))

    def _stands(self, entry: tuple[float, int, ItemT]) -> bool:
        """Whether an entry stands for its item, and not for what was once."""
        return entry[2].timeline is self and entry[2].armed_at == entry[0]

    def _settle(self) -> None:
        """Bring the heap to a first entry that stands for a deadline, or to none."""
        while self._heap:
            at, _, item = entry = self._heap[0]
            if not self._stands(entry):
                heapq.heappop(self._heap)
            elif item.deadline is not None and item.deadline > at:
                heapq.heappop(self._heap)
                self._arm(item, item.deadline)
            else:
                return
