"""Where records are found: by name, by address and by incarnation id."""

from __future__ import annotations

from collections.abc import Iterator

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Address
from modelinstance.registry.names import Names
from modelinstance.registry.records.claims import Claims
from modelinstance.registry.records.selection import Pool


class Index:
    """Finds records without a look at those of other models; a look-up leaves nothing behind."""

    def __init__(self) -> None:
        self.names = Names()
        self._pools: dict[str, Pool] = {}
        self._claims: dict[Address, Claims] = {}
        self._by_id: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._pools) + len(self._claims) + len(self._by_id)

    def enter(self, record: Record) -> None:
        """Let a record be found by what it says of itself now."""
        self._claims.setdefault(record.spec.address, Claims()).add(record)
        for name in record.spec.names:
            if name not in self._pools:
                self._pools[name] = Pool()
                self.names.add(name)
            self._pools[name].add(record)
        self.identify(record)

    def leave(self, record: Record) -> Claims | None:
        """Let a record be found no more; returns the other claims on its address, if any."""
        for name in record.spec.names:
            pool = self._pools[name]
            pool.discard(record)
            if not pool:
                del self._pools[name]
                self.names.discard(name)
        for known in (record.id, record.former_id):
            if known is not None and self._by_id.get(known) is record:
                del self._by_id[known]
        claims = self._claims[record.spec.address]
        claims.discard(record)
        if claims:
            return claims
        del self._claims[record.spec.address]
        return None

    def identify(self, record: Record) -> None:
        """Let a record be found by its ids."""
        for known in (record.id, record.former_id):
            if known is not None:
                self._by_id[known] = record

    def pool(self, name: str) -> Pool | None:
        """The records with that model name or alias."""
        return self._pools.get(name)

    def pools(self, record: Record) -> Iterator[Pool]:
        """The pools that a record is in."""
        return (self._pools[name] for name in record.spec.names)

    def claims(self, address: Address) -> Claims | None:
        """The claims on an address."""
        return self._claims.get(address)

    def identified(self, known: str) -> Record | None:
        """The record of which that is the id, or was before its resource had a uid."""
        return self._by_id.get(known)
