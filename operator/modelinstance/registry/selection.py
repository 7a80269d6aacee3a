"""Picking one of the instances that share a name."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from random import Random

from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.record import Record


class Pool:
    """The instances that routers get when they ask for one name.

    What can be picked is worked out at the first pick after a change, so a pick costs the
    logarithm of the pool's size and nothing of any other pool.
    """

    __slots__ = ("_cumulative", "_members", "_pickable")

    def __init__(self) -> None:
        self._members: dict[InstanceKey, Record] = {}
        self._pickable: list[Record] = []
        self._cumulative: list[float] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Record]:
        """The members in the order in which they came, safe against changes meanwhile."""
        return iter(tuple(self._members.values()))

    def add(self, record: Record) -> None:
        """Take a record in; nothing happens if it is a member."""
        self._members.setdefault(record.key, record)
        self.refresh()

    def discard(self, record: Record) -> None:
        """Take a record out; nothing happens if it is no member."""
        self._members.pop(record.key, None)
        self.refresh()

    def refresh(self) -> None:
        """Say that a member's readiness or weight has changed."""
        self._cumulative = None

    def pick(self, random: Random) -> Record | None:
        """One ready member with the chance of its weight; ``None`` if there is none."""
        if self._cumulative is None:
            self._pickable = [
                record
                for record in self._members.values()
                if record.verdict.ready and record.spec.weight > 0
            ]
            self._cumulative = list(accumulate(record.spec.weight for record in self._pickable))
        if not self._pickable:
            return None
        point = random.random() * self._cumulative[-1]
        return self._pickable[min(bisect(self._cumulative, point), len(self._pickable) - 1)]
