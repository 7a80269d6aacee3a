"""What workers and their operators say over HTTP: beats, load, goodbyes and drains.

Each names an incarnation, so that what comes late is never taken for its successor's.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import StrEnum

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, InstanceKey, Rotation
from modelinstance.registry.intake.registrations import Registration, is_registered
from modelinstance.registry.load import Load
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import SPARE_ENTRIES

RETRY_SECONDS = 30.0
"""When what could not be removed comes up again."""
REMEMBERED_ENDS = 10_000
"""How many ids of the past are kept that a late beat could be mistaken by."""


class BeatResult(StrEnum):
    """What a heartbeat over HTTP amounts to."""

    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    DEREGISTERED = "deregistered"


class Workers:
    """Takes in what is said over HTTP; ``beats`` counts heartbeats by what they amounted to."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.beats: Counter[BeatResult] = Counter()
        self.late = 0
        self._ended: OrderedDict[str, None] = OrderedDict()
        records.on_end(self._remember_end)

    def _remember_end(self, early: str) -> None:
        """What was registered before its resource had a uid must not come back by a late beat."""
        self._ended[early] = None
        if len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)

    # -- registration ----------------------------------------------------------------------------

    def find(self, registration: Registration) -> Record | None:
        """The record that already stands for a worker: at its address, in its namespace.

        One with a resource comes first, then the one of the registration's own name.
        """
        namespace, own = registration.namespace, registration.key
        claiming = [
            record
            for record in self.records.claiming(registration.spec.address)
            if record.key.namespace == namespace and not record.deleting
        ]
        claiming.sort(key=lambda record: (record.uid == NO_UID, record.key != own))
        return claiming[0] if claiming else None

    def enter(self, registration: Registration, uid: str) -> Record:
        """Make or change the record of a registration that no resource stands for."""
        record = self.records.put(
            registration.key,
            uid,
            registration.spec,
            created=self.records.clock.wall().timestamp(),
            labels=registration.all_labels,
            owner=None if registration.pod is None else registration.pod.uid,
        )
        self._ended.pop(record.id, None)
        return record

    def arrive(self, record: Record, load: Load | None = None) -> None:
        """The worker has registered: it is back, whatever was said before, and heard."""
        if record.deregistered:
            self.records.set_deregistered(record, deregistered=False)
        if record.drained:
            self.records.set_drained(record, drained=False)
        self._hear(record, load)

    def _hear(self, record: Record, load: Load | None, failure: str | None = None) -> None:
        self.records.beat(record, failure=failure)
        if load is not None:
            self.records.set_load(record, load)

    # -- beats -----------------------------------------------------------------------------------

    def beat(
        self, incarnation: str, load: Load | None = None, failure: str | None = None
    ) -> BeatResult:
        """A worker says that this incarnation is alive; it never revives one that has ended.

        ``failure`` is why it cannot answer all the same.
        """
        record = self.records.identified(incarnation)
        if record is None or record.deleting:
            result = BeatResult.UNKNOWN
        elif record.deregistered:
            result = BeatResult.DEREGISTERED
        else:
            result = BeatResult.ACCEPTED
            self._hear(record, load, failure)
        self.beats[result] += 1
        return result

    def may_return(self, incarnation: str, registration: Registration) -> bool:
        """Whether a beat of an unknown incarnation may be taken for its registration.

        It may if its resource had not been written when it registered, so that a restart has
        forgotten it; not if this process has seen it end, or its resource says that it is gone.
        """
        early, known = registration.early_id, self.find(registration)
        gone = known is not None and (known.deregistered or known.drained)
        return incarnation == early and early not in self._ended and not gone

    # -- goodbyes and drains ---------------------------------------------------------------------

    def concerns(self, record: Record, incarnation: str | None) -> bool:
        """Whether what names that incarnation, or none, is about the record as it is now."""
        if incarnation is None or incarnation in {record.id, record.former_id}:
            return True
        self.late += 1
        return False

    def deregister(self, record: Record) -> None:
        """The worker says goodbye: it stays listed until it is removed or registers again."""
        if record.uid == NO_UID and is_registered(record):
            self.records.remove(record.key)
        else:
            self.records.set_deregistered(record, deregistered=True)

    def drain(self, record: Record, *, drained: bool) -> None:
        """No new requests, or again some."""
        self.records.set_drained(record, drained=drained)


class Leftovers:
    """The instances that came by registration and are dead.

    What its owner has taken out of rotation is not among them: the owner's word would be lost.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._dead_since: dict[InstanceKey, float] = {}
        self._by_time: list[tuple[float, InstanceKey]] = []
        records.on_change(self._look)

    def __len__(self) -> int:
        return len(self._dead_since)

    def _look(self, record: Record) -> None:
        here = self._records.get(record.key) is record
        if not here or not _is_dead(record):
            self._dead_since.pop(record.key, None)
        elif record.key not in self._dead_since:
            self._note(record.key, self._records.local.now)

    def _note(self, key: InstanceKey, since: float) -> None:
        self._dead_since[key] = since
        if len(self._by_time) > 2 * len(self._dead_since) + SPARE_ENTRIES:
            self._by_time = [(at, known) for known, at in self._dead_since.items()]
            heapq.heapify(self._by_time)
        else:
            heapq.heappush(self._by_time, (since, key))

    def due(self, after: float) -> Iterator[Record]:
        """Those that have been dead for that many attended seconds, the longest first.

        One that is still there some seconds later comes up again.
        """
        now = self._records.attend()
        while self._by_time and now - self._by_time[0][0] >= after:
            since, key = heapq.heappop(self._by_time)
            record = self._records.get(key)
            if record is not None and self._dead_since.get(key) == since:
                self._note(key, now - after + RETRY_SECONDS)
                yield record


def _is_dead(record: Record) -> bool:
    if not is_registered(record) or record.spec.rotation is not Rotation.ACTIVE:
        return False
    heard = record.life is Life.HEARD or record.frozen
    silent = not heard and record.spec.heartbeat_required
    return silent or record.deregistered
