"""A hash ring: which members a key meets, in which order.

Consistent hashing (Karger et al. 1997): a member that comes or goes moves only the keys that are
next to its points. Points depend on names alone, so every replica has the same ring.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from modelinstance.registry.instance import InstanceKey

POINTS = 64
"""Points of one member: the more, the more even the shares, and the larger the ring."""

Point = tuple[int, InstanceKey]


def hash64(text: str) -> int:
    """A stable hash of a text, from 0 to 2**64 - 1."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _points(member: InstanceKey) -> Iterator[Point]:
    return ((hash64(f"{member}#{number}"), member) for number in range(POINTS))


class Ring:
    """The points of all members, in order."""

    __slots__ = ("_points",)

    def __init__(self, members: Iterable[InstanceKey]) -> None:
        self._points = sorted(point for member in members for point in _points(member))

    def add(self, member: InstanceKey) -> None:
        """A member comes."""
        for point in _points(member):
            insort(self._points, point)

    def discard(self, member: InstanceKey) -> None:
        """A member goes."""
        for point in _points(member):
            del self._points[bisect_left(self._points, point)]

    def walk(self, key: str) -> Iterator[InstanceKey]:
        """The members in the order in which a key meets them, clockwise from its own place."""
        points, count = self._points, len(self._points)
        start = bisect_left(points, hash64(key), key=lambda point: point[0])
        met: set[InstanceKey] = set()
        for step in range(count):
            member = points[(start + step) % count][1]
            if member not in met:
                yield member
                met.add(member)
                if len(met) * POINTS == count:
                    return
