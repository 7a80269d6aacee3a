"""The records of all instances: indexes over them, who holds an address, and what expires.

This is the registry proper. It does no I/O, and its time comes from an injected clock. One thread
owns it. What it costs to change, find or pick a record does not grow with other models' records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from random import Random

from modelinstance.registry.clock import Clock, SystemClock
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health import Evidence, Life, Verdict, decide, is_alive
from modelinstance.registry.instance import (
    Address,
    Incarnation,
    InstanceKey,
    InstanceSpec,
    Rotation,
)
from modelinstance.registry.reasons import Phase
from modelinstance.registry.selection import Pool
from modelinstance.registry.timeline import Attendance, Expiring, Timeline

HEARD_FOR_ITSELF = 2
"""Strength of a claim on an address: a heartbeat came within the timeout."""
TAKEN_AT_ITS_WORD = 1
"""Strength of a claim on an address: heartbeats are not required."""


class Record(Expiring):
    """What the registry knows of one instance. Only `Records` changes it.

    ``created`` orders claims on one address, the least first. ``last_beat`` and
    ``last_beat_monotonic`` are the time of day and the monotonic time of the last sign of life
    that this process knows of. ``since`` is when ``verdict.ready`` last changed.
    """

    __slots__ = (
        "alive", "created", "deleting", "deregistered", "key", "labels", "last_beat",
        "last_beat_monotonic", "life", "set_by_caller", "since", "spec", "uid", "verdict",
    )  # fmt: skip

    def __init__(
        self, key: InstanceKey, uid: str, spec: InstanceSpec, created: float, since: datetime
    ) -> None:
        super().__init__()
        self.key = key
        self.uid = uid
        self.spec = spec
        self.created = created
        self.labels: dict[str, str] = {}
        self.life = Life.UNHEARD
        self.deleting = False
        self.deregistered = False
        self.set_by_caller: bool | None = None
        self.last_beat: datetime | None = None
        self.last_beat_monotonic: float | None = None
        self.since = since
        evidence = Evidence(key, spec, self.life, 0.0)
        self.verdict = decide(evidence)
        self.alive = is_alive(evidence)

    @property
    def incarnation(self) -> Incarnation:
        """Which life of the resource this is."""
        return Incarnation(self.uid, self.spec.address)

    @property
    def claims_address(self) -> bool:
        """Whether it wants to be called at its address at all."""
        return not (self.deleting or self.deregistered or self.spec.rotation is not Rotation.ACTIVE)

    @property
    def claim(self) -> tuple[int, float, InstanceKey]:
        """The rank of its claim on its address: the least holds it."""
        strength = 0
        if self.life is Life.HEARD:
            strength = HEARD_FOR_ITSELF
        elif not self.spec.heartbeat_required:
            strength = TAKEN_AT_ITS_WORD
        return (-strength, self.created, self.key)


@dataclass(frozen=True, slots=True)
class Totals:
    """How many there are."""

    models: int
    instances: int
    healthy: int


Listener = Callable[[Record], None]


class Records:
    """All records, by key, by name and by address.

    ``default_timeout`` (seconds) is for records whose spec names none.
    """

    def __init__(
        self,
        default_timeout: float,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.random: Random = random or Random()  # noqa: S311 - a choice, not a secret
        self.local: Timeline[Record] = Timeline()
        self.revision = 0
        self.counts: Counter[str] = Counter()
        self.by_phase: Counter[Phase] = Counter()
        self._attendance = Attendance(self.clock.monotonic())
        self.default_timeout = default_timeout
        self._records: dict[InstanceKey, Record] = {}
        self._claimants: dict[Address, dict[InstanceKey, Record]] = {}
        self._pools: dict[str, Pool] = {}
        self._models: Counter[str] = Counter()
        self._ready = 0
        self._listeners: list[Listener] = []

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def get(self, key: InstanceKey) -> Record | None:
        """The record of that key."""
        return self._records.get(key)

    def at(self, address: Address) -> Record | None:
        """The record that holds an address, or else the first that claims it."""
        claimants = self._claimants.get(address)
        if not claimants:
            return None
        return self._holder(claimants) or next(iter(claimants.values()))

    def models(self) -> Iterator[str]:
        """The model names of all records, without aliases."""
        return iter(tuple(self._models))

    def has_model(self, model_name: str) -> bool:
        """Whether a record has this model name (an alias does not count)."""
        return model_name in self._models

    def named(self, name: str) -> Iterator[Record]:
        """The records with that model name or alias, in the order in which they came."""
        pool = self._pools.get(name)
        return iter(pool) if pool is not None else iter(())

    def select(self, name: str) -> Record:
        """One ready record of that name, with the chance of its weight.

        Raises `NoHealthyInstanceError` when there is none.
        """
        self.expire()
        pool = self._pools.get(name)
        record = pool.pick(self.random) if pool is not None else None
        if record is None:
            raise NoHealthyInstanceError(name, len(pool) if pool is not None else 0)
        return record

    def totals(self) -> Totals:
        """The number of model names, of records and of ready records."""
        return Totals(len(self._models), len(self._records), self._ready)

    def timeout_of(self, record: Record) -> float:
        """The seconds of silence after which the record expires."""
        timeout = record.spec.heartbeat_timeout
        return self.default_timeout if timeout is None else timeout

    # -- being told ------------------------------------------------------------------------------

    def on_change(self, listener: Listener) -> None:
        """Call the listener with each record whose verdict or ``alive`` has just changed."""
        self._listeners.append(listener)

    def put(
        self,
        key: InstanceKey,
        uid: str,
        spec: InstanceSpec,
        *,
        created: float,
        labels: dict[str, str] | None = None,
        deleting: bool = False,
    ) -> Record:
        """Take in what the owner asks for: a new record, an edited one, or a new incarnation.

        An incarnation that is new starts unheard.
        """
        record = self._records.get(key)
        if record is not None and record.uid != uid:
            self.remove(key)
            record = None
        if record is None:
            record = Record(key, uid, spec, created, self.clock.wall())
            self._records[key] = record
            self._enter(record)
            self._count(record.verdict, 1)
            self.revision += 1
        elif record.spec != spec:
            self._edit(record, spec)
        record.labels = labels or {}
        record.deleting = deleting
        self._decide_all_at(record.spec.address)
        return record

    def remove(self, key: InstanceKey) -> Record | None:
        """Forget a record; the next claimant of its address takes over."""
        record = self._records.pop(key, None)
        if record is None:
            return None
        record.cancel_deadline()
        self._leave(record)
        self._count(record.verdict, -1)
        self.revision += 1
        self._decide_all_at(record.spec.address)
        return record

    def beat(self, record: Record, timeline: Timeline[Record] | None = None) -> None:
        """A sign of life came in just now; it expires on the timeline of its channel."""
        timeline = timeline or self.local
        record.last_beat = self.clock.wall()
        record.last_beat_monotonic = self.clock.monotonic()
        timeline.schedule(record, timeline.now + self.timeout_of(record))
        self.counts["beats"] += 1
        if record.life is not Life.HEARD or record.set_by_caller is not None:
            record.life = Life.HEARD
            record.set_by_caller = None
            self._decide_all_at(record.spec.address)

    def resume(
        self,
        record: Record,
        life: Life,
        timeline: Timeline[Record],
        last_beat: datetime | None,
    ) -> None:
        """Take up a record where an earlier process left it.

        One that was heard gets a full timeout to be heard again.
        """
        record.life = life
        record.last_beat = last_beat
        if life is Life.HEARD:
            timeline.schedule(record, timeline.now + self.timeout_of(record))
        self._decide_all_at(record.spec.address)

    def set_age(self, record: Record, age: float) -> None:
        """Make the last sign of life that many seconds old, on the local timeline."""
        self.local.schedule(record, self.local.now + self.timeout_of(record) - age)

    def set_deregistered(self, record: Record, *, deregistered: bool) -> None:
        """The worker said goodbye, or came back."""
        record.deregistered = deregistered
        record.set_by_caller = None
        self._decide_all_at(record.spec.address)

    def set_by_caller(self, record: Record, *, healthy: bool) -> None:
        """A caller says that it is healthy or not, until the next beat or expiry.

        ``True`` stands for one timeout if nothing else is to come.
        """
        record.set_by_caller = healthy
        if healthy and record.deadline is None and record.spec.heartbeat_required:
            self.local.schedule(record, self.local.now + self.timeout_of(record))
        self._decide_all_at(record.spec.address)

    def set_default_timeout(self, seconds: float) -> None:
        """Change the timeout of the records whose spec names none; costs one pass over all."""
        difference = seconds - self.default_timeout
        if not difference:
            return
        self.default_timeout = seconds
        for record in self:
            if record.spec.heartbeat_timeout is None:
                self._shift_deadline(record, difference)

    # -- time ------------------------------------------------------------------------------------

    def attend(self) -> float:
        """Look at the clock: the local timeline goes on by what was attended. Returns its now."""
        self.local.now += self._attendance.gained(self.clock.monotonic())
        return self.local.now

    def expire(self) -> None:
        """Look at the clock and expire what is due on the local timeline."""
        self.attend()
        self.expire_on(self.local)

    def expire_on(self, timeline: Timeline[Record]) -> None:
        """Expire what is due on a timeline."""
        for record in timeline.pop_due():
            record.set_by_caller = None
            record.life = Life.SILENT
            self.counts["expiries"] += 1
            self._decide_all_at(record.spec.address)

    # -- deciding --------------------------------------------------------------------------------

    def _enter(self, record: Record) -> None:
        self._claimants.setdefault(record.spec.address, {})[record.key] = record
        self._models[record.spec.model_name] += 1
        for name in record.spec.names:
            self._pools.setdefault(name, Pool()).add(record)

    def _leave(self, record: Record) -> None:
        address = record.spec.address
        claimants = self._claimants[address]
        del claimants[record.key]
        if not claimants:
            del self._claimants[address]
        self._models[record.spec.model_name] -= 1
        if not self._models[record.spec.model_name]:
            del self._models[record.spec.model_name]
        for name in record.spec.names:
            pool = self._pools[name]
            pool.discard(record)
            if not pool:
                del self._pools[name]

    def _edit(self, record: Record, spec: InstanceSpec) -> None:
        before, timeout_before = record.spec, self.timeout_of(record)
        moves = before.address != spec.address or before.names != spec.names
        if moves:
            self._leave(record)
        record.spec = spec
        if moves:
            self._enter(record)
        else:
            self._refresh(record)
        if before.address != spec.address:
            self._forget_life(record)
            self._decide_all_at(before.address)
        else:
            self._shift_deadline(record, self.timeout_of(record) - timeout_before)

    @staticmethod
    def _forget_life(record: Record) -> None:
        """The address has changed: the new incarnation reports for itself."""
        record.cancel_deadline()
        record.life = Life.UNHEARD
        record.deregistered = False
        record.set_by_caller = None
        record.last_beat = None
        record.last_beat_monotonic = None

    def _refresh(self, record: Record) -> None:
        for name in record.spec.names:
            self._pools[name].refresh()

    def _shift_deadline(self, record: Record, seconds: float) -> None:
        if record.deadline is not None and seconds and isinstance(record.timeline, Timeline):
            record.timeline.schedule(record, record.deadline + seconds)

    @staticmethod
    def _holder(claimants: dict[InstanceKey, Record]) -> Record | None:
        contenders = [record for record in claimants.values() if record.claims_address]
        return min(contenders, key=lambda record: record.claim, default=None)

    def _decide_all_at(self, address: Address) -> None:
        claimants = self._claimants.get(address)
        if not claimants:
            return
        holder = self._holder(claimants)
        for record in tuple(claimants.values()):
            self._decide(record, holder)

    def _decide(self, record: Record, holder: Record | None) -> None:
        evidence = Evidence(
            key=record.key,
            spec=record.spec,
            life=record.life,
            timeout=self.timeout_of(record),
            holder=None if holder is None or holder is record else holder.key,
            deleting=record.deleting,
            deregistered=record.deregistered,
            set_by_caller=record.set_by_caller,
        )
        self._settle(record, decide(evidence), alive=is_alive(evidence))

    def _settle(self, record: Record, verdict: Verdict, *, alive: bool) -> None:
        before = record.verdict
        if before == verdict and record.alive is alive:
            return
        record.verdict, record.alive = verdict, alive
        if before != verdict:
            self.revision += 1
            self._count(before, -1)
            self._count(verdict, 1)
        if before.ready is not verdict.ready:
            record.since = self.clock.wall()
            self._refresh(record)
        for listener in self._listeners:
            listener(record)

    def _count(self, verdict: Verdict, step: int) -> None:
        self.by_phase[verdict.phase] += step
        if verdict.ready:
            self._ready += step
