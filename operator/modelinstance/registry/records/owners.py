"""Which records belong to which pod, and where they say that it is.

A pod has one address of each family at a time, and an address and port belong to one pod at a time.
So when a pod is heard at an address, what other pods' records say of that address, and what its own
records say of others of that family, is of the past.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TypeVar

from modelinstance.registry.health.record import Record

KeyT = TypeVar("KeyT")
Place = tuple[str, int]
"""A host and a port."""


class Owners:
    """The records that a pod owns, by its uid and by their place."""

    def __init__(self) -> None:
        self._by_owner: dict[str, dict[int, Record]] = {}
        self._by_place: dict[Place, dict[int, Record]] = {}

    def __len__(self) -> int:
        return len(self._by_owner) + len(self._by_place)

    def enter(self, record: Record) -> None:
        """Let a record be found, if a pod owns it."""
        if record.owner is not None:
            self._by_owner.setdefault(record.owner, {})[id(record)] = record
            self._by_place.setdefault(_place(record), {})[id(record)] = record

    def leave(self, record: Record) -> None:
        """Let a record be found no more, before its owner or its address changes."""
        if record.owner is not None:
            _take_out(self._by_owner, record.owner, record)
            _take_out(self._by_place, _place(record), record)

    def owned_by(self, owner: str) -> Iterator[Record]:
        """The records of a pod."""
        return iter(tuple(self._by_owner.get(owner, {}).values()))

    def owned_at(self, place: Place) -> Iterator[Record]:
        """The records of pods that name that host and port."""
        return iter(tuple(self._by_place.get(place, {}).values()))

    def displaced_by(self, record: Record) -> Iterator[Record]:
        """The records that cannot be true if this one is."""
        if record.owner is None:
            return
        for other in self.owned_at(_place(record)):
            if other.owner != record.owner:
                yield other
        for other in self.owned_by(record.owner):
            if _excludes(record.spec.host, other.spec.host):
                yield other


def _excludes(host: str, other: str) -> bool:
    """Whether who is at one host is not at the other. What a name stands for is not known."""
    if host == other:
        return False
    try:
        return ip_address(host).version == ip_address(other).version
    except ValueError:
        return False


def _place(record: Record) -> Place:
    return record.spec.host, record.spec.port


def _take_out(found: dict[KeyT, dict[int, Record]], key: KeyT, record: Record) -> None:
    del found[key][id(record)]
    if not found[key]:
        del found[key]
