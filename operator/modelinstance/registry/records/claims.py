"""Who holds an address when several records claim it.

Pod addresses are used again, so "the older one holds it" would keep a zombie. The one that was
heard from within its timeout holds; among equals the older one, then the first by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey


class Claims:
    """The claims on one address.

    A change of one claim costs O(1), unless it is the holder's and has become weaker.
    """

    __slots__ = ("_members", "_rank", "holder")

    def __init__(self) -> None:
        self._members: dict[InstanceKey, Record] = {}
        self._rank: tuple[int, float, InstanceKey] | None = None
        self.holder: Record | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._members.values())

    def add(self, record: Record) -> None:
        """A record names this address; see `weigh`."""
        self._members[record.key] = record

    def discard(self, record: Record) -> None:
        """A record does not name this address any more; see `weigh`."""
        self._members.pop(record.key, None)

    def weigh(self, record: Record) -> tuple[Record, ...]:
        """Settle who holds after a change of one claim; returns whose standing may be another."""
        before = self.holder
        claims = record.key in self._members and record.claims_address
        if record is before:
            if not claims or self._rank is None or record.claim > self._rank:
                self.holder = self._strongest()
        elif claims and (before is None or record.claim < before.claim):
            self.holder = record
        if record is before or self.holder is not before:  # what a holder loses it tells itself
            self._rank = None if self.holder is None else self.holder.claim
        affected = {id(known): known for known in (record, before, self.holder) if known}
        return tuple(known for known in affected.values() if known.key in self._members)

    def _strongest(self) -> Record | None:
        contenders = (record for record in self._members.values() if record.claims_address)
        return min(contenders, key=lambda record: record.claim, default=None)
