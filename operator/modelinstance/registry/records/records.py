"""The records of all instances: indexes over them, who holds an address, and what expires.

This is the registry proper. It does no I/O, and its time comes from an injected clock. One thread
owns it. What it costs to change, find or pick a record does not grow with other models' records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random

from modelinstance.registry.clock import Clock, SystemClock
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.chain import Evidence, Life, decide
from modelinstance.registry.health.guard import SilenceGuard
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.pods import PodState
from modelinstance.registry.health.probation import Probations
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Address, InstanceKey, InstanceSpec
from modelinstance.registry.load import Load
from modelinstance.registry.records.census import Census, Totals
from modelinstance.registry.records.decider import Decider, Listener
from modelinstance.registry.records.index import Index
from modelinstance.registry.records.owners import Owners, Place
from modelinstance.registry.records.selection import ANY, Wish
from modelinstance.registry.timeline import Attendance, Timeline


class Records:
    """All records, by key, by name and by address.

    ``default_timeout`` (seconds) is for records whose spec names none. ``probed_ago`` says how many
    seconds ago one was probed, ``None`` where that is not known: who probes sets it.
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
        self.expiries = 0
        self._attendance = Attendance(self.clock.monotonic())
        self.default_timeout = default_timeout
        self._records: dict[InstanceKey, Record] = {}
        self._index = Index()
        self._owners = Owners()
        self._census = Census()
        self.probations = Probations(lambda: self.local.now)
        self._decider = Decider(
            self._index, self._census, self.clock, self.timeout_of, self.probations
        )
        self.guard = SilenceGuard(self.timeout_of, lambda: self.local.now)
        self.probed_ago: Callable[[Record], float | None] = _not_known
        self.on_change(self._look)

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    @property
    def revision(self) -> int:
        """A number that grows with each change of what is shown."""
        return self._decider.revision

    def get(self, key: InstanceKey) -> Record | None:
        """The record of that key."""
        return self._records.get(key)

    def at(self, address: Address) -> Record | None:
        """The record that holds an address, or else the first that claims it."""
        claims = self._index.claims(address)
        return None if claims is None else claims.holder or next(iter(claims))

    def claiming(self, address: Address) -> Iterator[Record]:
        """The records that name that address, whoever holds it."""
        claims = self._index.claims(address)
        return iter(()) if claims is None else iter(tuple(claims))

    def owned_by(self, owner: str) -> Iterator[Record]:
        """The records of the pod with that uid."""
        return self._owners.owned_by(owner)

    def owned_at(self, place: Place) -> Iterator[Record]:
        """The records of pods that name that host and port."""
        return self._owners.owned_at(place)

    def identified(self, incarnation: str) -> Record | None:
        """The record of which that is the incarnation's id."""
        return self._index.identified(incarnation)

    def explain(self, record: Record) -> str:
        """Why a record is in its phase, in a sentence."""
        return decide(self.evidence(record)).message

    def explain_lastingly(self, record: Record) -> str:
        """The same, without what is so only for as long as the cluster cannot be seen."""
        return decide(replace(self.evidence(record), stale=False)).message

    def evidence(self, record: Record) -> Evidence:
        """All that is known of a record and counts for its health."""
        return self._decider.evidence(record)

    def models(self) -> Iterator[str]:
        """The model names of all records, without aliases."""
        return iter(self._census)

    def has_model(self, model_name: str) -> bool:
        """Whether a record has this model name (an alias does not count)."""
        return model_name in self._census

    def named(self, name: str) -> Iterator[Record]:
        """The records with that model name or alias, in the order in which they came."""
        pool = self._index.pool(name)
        return iter(pool) if pool is not None else iter(())

    def near(self, name: str) -> list[str]:
        """A few names that resemble one that is unknown."""
        return self._index.names.near(name)

    def select(self, name: str, wish: Wish = ANY) -> Record:
        """One ready record of that name, by default with the chance of its weight.

        Raises `NoHealthyInstanceError` when there is none.
        """
        self.expire()
        pool = self._index.pool(name)
        record = None if pool is None else pool.pick(self.random, self.local.now, wish)
        if record is None:
            raise NoHealthyInstanceError(name, len(pool) if pool is not None else 0)
        return record

    def totals(self) -> Totals:
        """The number of model names, of records and of ready records."""
        return Totals(len(self._census), len(self._records), self._census.ready)

    def phases(self) -> Mapping[str, Counter[Phase]]:
        """How many records there are in each phase, by model name."""
        return self._census.by_model

    def reasons(self) -> Mapping[Reason, int]:
        """How many records there are for each reason."""
        return self._census.reasons

    def timeout_of(self, record: Record) -> float:
        """The seconds of silence after which the record expires."""
        timeout = record.spec.heartbeat_timeout
        return self.default_timeout if timeout is None else timeout

    # -- being told ------------------------------------------------------------------------------

    def ask_stale(self, is_stale: Callable[[Record], bool]) -> None:
        """Ask this whether a record's heartbeats cannot be seen at present."""
        self._decider.is_stale = is_stale

    def on_verdict(self, listener: Listener) -> None:
        """Call the listener with each record whose verdict or ``alive`` has just changed."""
        self._decider.on_verdict.append(listener)

    def on_change(self, listener: Listener) -> None:
        """Call the listener with each record that came, went or is now shown in another way."""
        self._decider.on_change.append(listener)

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call the listener with each id that is over and was given out before there was a uid."""
        self._decider.on_end.append(listener)

    def on_offer(self, listener: Listener) -> None:
        """Call the listener with each ready record that may now be picked where it was not before.

        It became ready, or it is ready and its spec or its labels have just changed.
        """
        self._decider.on_offer.append(listener)

    def put(
        self,
        key: InstanceKey,
        uid: str,
        spec: InstanceSpec,
        *,
        created: float,
        labels: dict[str, str] | None = None,
        deleting: bool = False,
        owner: str | None = None,
    ) -> Record:
        """Take in what the owner asks for: a new record, an edited one, or a new incarnation.

        An incarnation that is new starts unheard. ``owner`` is the uid of the pod that it is of.
        """
        labels = labels or {}
        record = self._records.get(key)
        if record is not None and record.uid != uid:
            self.remove(key)
            record = None
        if record is None:
            record = Record(key, uid, spec, created, self.clock.wall())
            self._records[key] = record
            self._census.enter(spec.model_name, record.verdict)
            self._index.enter(record)
        elif record.spec != spec:
            self._edit(record, spec)
        elif (record.deleting, record.labels, record.owner) == (deleting, labels, owner):
            return record
        self._belong(record, owner)
        record.labels = labels
        record.deleting = deleting
        self._decider.changed(record)
        self._decider.weigh(record)
        self._decider.offer(record)
        return record

    def adopt(self, record: Record, uid: str, created: float) -> None:
        """A record that was made before its resource now stands for the resource of that uid.

        It lives on, and is also found by the id that it had before.
        """
        record.created = created
        early, record.uid = record.id, uid
        record.identify(early)
        self._index.identify(record)
        self._decider.tell(record)

    def remove(self, key: InstanceKey) -> Record | None:
        """Forget a record; the next claimant of its address takes over."""
        record = self._records.pop(key, None)
        if record is None:
            return None
        record.cancel_deadline()
        self.probations.forget(record)
        self._owners.leave(record)
        self._leave(record)
        self._decider.end_ids(record)
        self._census.leave(record.spec.model_name, record.verdict)
        self._decider.changed(record)
        return record

    def beat(
        self,
        record: Record,
        timeline: Timeline[Record] | None = None,
        *,
        ahead: float = 0.0,
        failure: str | None = None,
    ) -> None:
        """A sign of life came in just now; it expires on the timeline of its channel.

        ``ahead``: by how many seconds now is ahead of that timeline. ``failure``: why the worker,
        which is there, cannot answer.
        """
        now = self.attend() if timeline is None else timeline.now + ahead
        timeline = timeline or self.local
        record.last_beat = self.clock.wall()
        record.last_beat_monotonic = self.clock.monotonic()
        timeline.schedule(record, now + self.timeout_of(record))
        record.presumed = False
        proven = failure is None and self.probations.vouch(record)
        told = (record.life, record.set_by_caller, record.displaced, record.failure)
        if proven or told != (Life.HEARD, None, False, failure):
            if record.life is not Life.HEARD:
                record.fallen = False
            record.life = Life.HEARD
            record.set_by_caller = None
            record.displaced = False
            record.failure = failure
            self._decider.tell(record)
        if record.owner is not None and not record.displaced:
            self.displace_others(record)

    def resume(
        self, record: Record, past: Past, timeline: Timeline[Record], *, ahead: float = 0.0
    ) -> None:
        """Take up a record where an earlier process left it.

        One that was heard gets a full timeout to be heard again, on that timeline, of which now is
        so many seconds ahead.
        """
        record.life, record.presumed = past.life, past.presumed
        record.deregistered, record.drained = past.deregistered, past.drained
        record.deregistered_since = past.deregistered_since if past.deregistered else None
        record.drained_since = past.drained_since if past.drained else None
        record.displaced, record.failure = past.displaced, past.failure
        record.pod, record.probe_passing = past.pod, past.probe_passing
        record.last_beat = past.last_beat
        if past.life is Life.HEARD:
            timeline.schedule(record, timeline.now + ahead + self.timeout_of(record))
        if past.frozen:
            self.guard.resume(record)
        self.guard.recall(record)
        if past.probation is not None:
            self.probations.resume(record, past.probation)
        self._decider.tell(record)

    def eject(self, record: Record) -> None:
        """Calls to it fail: it is out until it has proven itself."""
        self.probations.eject(record)
        self._decider.tell(record)

    def set_age(self, record: Record, age: float) -> None:
        """Make the last sign of life that many seconds old, on the local timeline.

        An infinite age stands for one that nobody knows.
        """
        known = age < math.inf
        record.last_beat_monotonic = self.clock.monotonic() - age if known else None
        record.last_beat = self.clock.wall() - timedelta(seconds=age) if known else None
        if record.life is not Life.HEARD:
            return
        self.local.schedule(record, self.local.now + self.timeout_of(record) - age)

    def set_deregistered(self, record: Record, *, deregistered: bool) -> None:
        """The worker said goodbye, or came back."""
        if record.deregistered is not deregistered:
            record.deregistered_since = self.clock.wall() if deregistered else None
        record.deregistered = deregistered
        record.set_by_caller = None
        self._decider.tell(record)

    def set_drained(self, record: Record, *, drained: bool) -> None:
        """Somebody asked for no new requests, or took it back."""
        if record.drained is not drained:
            record.drained_since = self.clock.wall() if drained else None
        record.drained = drained
        self._decider.tell(record)

    def set_pod(self, record: Record, pod: PodState | None) -> None:
        """What its pod is like now; ``None`` if nobody looks at it."""
        if record.pod != pod:
            record.pod = pod
            self._decider.tell(record)

    def set_probe(self, record: Record, passing: bool | None, message: str) -> None:
        """What came of asking it; ``None`` is that this is not decided."""
        if (record.probe_passing, record.probe_message) != (passing, message):
            record.probe_passing, record.probe_message = passing, message
            self._decider.tell(record)

    def displace(self, record: Record, *, displaced: bool = True) -> None:
        """Another pod is at its address, or its pod is elsewhere; or that is over."""
        if record.displaced is not displaced:
            record.displaced = displaced
            self._decider.tell(record)

    def displace_others(self, record: Record) -> None:
        """Its pod is at its address: records that contradict it are of the past."""
        for other in self._owners.displaced_by(record):
            self.displace(other)

    def set_load(self, record: Record, load: Load) -> None:
        """The worker says what it has to do: the requests that were sent there are in it."""
        record.load, record.loaded_at = load, self.attend()
        for pool in self._index.pools(record):
            pool.reported(record)

    def set_by_caller(self, record: Record, *, healthy: bool) -> None:
        """A caller says that it is healthy or not, until the next beat or expiry.

        ``True`` stands for one timeout if nothing else is to come.
        """
        record.set_by_caller = healthy
        if healthy and record.deadline is None and record.spec.heartbeat_required:
            self.local.schedule(record, self.local.now + self.timeout_of(record))
        self._decider.weigh(record)

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
        if self.local.has_due:
            self.expire_on(self.local)
        for record in self.guard.expire():
            self._forget_failure(record)
            self.probations.fell_silent(record)
            self._decider.tell(record)
        for record in self.probations.due():
            self._decider.tell(record)

    def expire_on(self, timeline: Timeline[Record]) -> None:
        """Expire what is due on a timeline."""
        fallen = list(timeline.pop_due())
        for record in fallen:
            record.set_by_caller = None
            record.life = Life.SILENT
        self.expiries += len(fallen)
        for record in self.guard.fell(fallen):
            self.probations.excuse(record, self.local.now - self.timeout_of(record))
            fallen.append(record)
        for record in fallen:
            self._forget_failure(record)
            if not record.frozen:
                self.probations.fell_silent(record)
            self._decider.tell(record)

    # -- deciding --------------------------------------------------------------------------------

    @staticmethod
    def _forget_failure(record: Record) -> None:
        """Who is silent says nothing; but who is only thought to be there said so last."""
        if not record.frozen:
            record.failure = None

    def _look(self, record: Record) -> None:
        self.guard.look(record, there=self.get(record.key) is record)

    def _leave(self, record: Record) -> None:
        claims = self._index.leave(record)
        if claims is not None:
            self._decider.reconsider(claims, record)

    def _belong(self, record: Record, owner: str | None) -> None:
        if record.owner != owner:
            self._owners.leave(record)
            record.owner = owner
            self._owners.enter(record)
            record.pod = None

    def _edit(self, record: Record, spec: InstanceSpec) -> None:
        before, timeout_before = record.spec, self.timeout_of(record)
        moves = before.address != spec.address
        self._owners.leave(record)
        if moves or before.names != spec.names:
            self._leave(record)
            self._census.leave(before.model_name, record.verdict)
            record.spec = spec
            if moves:
                self._decider.end_ids(record)
                record.identify()
            self._census.enter(spec.model_name, record.verdict)
            self._index.enter(record)
        else:
            record.spec = spec
            self._refresh(record)
        self._owners.enter(record)
        if moves:
            self._forget_life(record)
        else:
            self._shift_deadline(record, self.timeout_of(record) - timeout_before)

    def _forget_life(self, record: Record) -> None:
        """The address has changed: the new incarnation reports for itself."""
        record.cancel_deadline()
        self.probations.forget(record)
        record.falls = None
        record.fallen = record.presumed = False
        record.life = Life.UNHEARD
        record.deregistered = record.drained = record.displaced = False
        record.deregistered_since = record.drained_since = None
        record.set_by_caller = record.failure = record.probe_passing = None
        record.probe_message = ""
        record.load = None
        record.last_beat = None
        record.last_beat_monotonic = None

    def _refresh(self, record: Record) -> None:
        for pool in self._index.pools(record):
            pool.refresh()

    def _shift_deadline(self, record: Record, seconds: float) -> None:
        if record.deadline is not None and record.timeline is not None and seconds:
            record.timeline.schedule(record, record.deadline + seconds)


def _not_known(record: Record) -> None:
    """Nobody probes."""
    del record
