"""Random histories of workers, owners and outages against a model that is too simple to be wrong.

Workers speak over HTTP or by the annotation, owners change resources with or without the registry
being told, the API server is away for a while, and the registry is started again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.observed import Observed, Reported
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, Address, InstanceKey, InstanceSpec, Rotation
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.intake.workers import BeatResult, Workers
from modelinstance.registry.load import Load
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.census import Totals
from modelinstance.registry.records.records import Records
from modelinstance.registry.records.selection import Policy, Wish
from unit.builders import status_of, written
from unit.clock import FakeClock

RUN = 1
TIMEOUT = 3.0
MODEL = "vicuna"
HOSTS = ["one", "two"]
NAMESPACES = ["prod", "test"]
OWNED = [InstanceKey("prod", "owned"), InstanceKey("test", "owned")]


def address_at(host: str) -> Address:
    return Address(MODEL, host, 8000)


def registration_at(namespace: str, host: str, weight: float) -> Registration:
    return Registration(namespace, InstanceSpec(MODEL, host, 8000, weight=weight))


@dataclass
class Cluster:
    """An API server without I/O."""

    clock: FakeClock
    version: int = 0
    objects: dict[InstanceKey, Observed] = field(default_factory=dict)

    def write(self, changed: Observed) -> Observed:
        self.version += 1
        self.objects[changed.key] = replace(changed, version=self.version)
        return self.objects[changed.key]

    def create(self, shown: Observed) -> Observed:
        born = self.clock.wall().timestamp()
        return self.write(replace(shown, uid=f"made-at-{self.version + 1}", created=born))

    def apply(self, registration: Registration) -> Observed:
        """Server-side apply: an address that an owner has edited is left alone."""
        there = self.objects.get(registration.key)
        if there is None:
            return self.create(written(registration))
        if there.registration == registration.digest:
            return there
        spec = replace(there.spec, weight=registration.spec.weight)
        return self.edit(there, spec, registration.digest)

    def edit(self, there: Observed, spec: InstanceSpec, digest: str | None = None) -> Observed:
        return self.write(
            replace(
                there,
                spec=spec,
                generation=there.generation + 1,
                registration=digest or there.registration,
            )
        )

    def delete(self, key: InstanceKey) -> Observed:
        self.version += 1
        return self.objects.pop(key)


# -- the model -----------------------------------------------------------------------------------

Name = tuple[str, Address]
"""What stands for an id in the model: a uid and an address; before there is one, a namespace."""


@dataclass
class Simple:
    """One instance as the registry should see it. ``deadline`` is on the time of its channel."""

    key: InstanceKey
    uid: str
    spec: InstanceSpec
    created: float
    deleting: bool = False
    said: float | None = None
    annotation: str | None = None
    life: str = "unheard"
    deadline: float = 0.0
    by_annotation: bool = False
    deregistered: bool = False
    drained: bool = False
    early: bool = False

    @property
    def names(self) -> list[Name]:
        """The names that a worker may call it by, the present one first."""
        early = [(f"in {self.key.namespace}", self.spec.address)] if self.early else []
        return [*([(self.uid, self.spec.address)] if self.uid else []), *early]


@dataclass(frozen=True)
class Written:
    """A status: of which incarnation, and what it says."""

    of: Name
    phase: str
    deregistered: bool
    drained: bool


@dataclass
class SimpleRegistry:
    """What one process should know; what was written outlives it."""

    statuses: dict[str, Written]
    instances: dict[InstanceKey, Simple] = field(default_factory=dict)
    ended: set[Name] = field(default_factory=set)
    beats: Counter[BeatResult] = field(default_factory=Counter)
    listed: bool = False
    now: float = 0.0
    proven: float = 0.0

    # -- what follows from it --

    def holder(self, address: Address) -> Simple | None:
        willing = [
            each
            for each in self.instances.values()
            if each.spec.address == address
            and each.spec.rotation is Rotation.ACTIVE
            and not (each.deleting or each.deregistered or each.drained)
        ]
        return min(
            willing, key=lambda each: (each.life != "heard", each.created, each.key), default=None
        )

    def phase(self, of: Simple) -> str:
        if of.deleting:
            return "Terminating"
        if of.spec.rotation is not Rotation.ACTIVE:
            return of.spec.rotation.value
        if of.deregistered:
            return "Unhealthy"
        if of.drained:
            return "Draining"
        if self.holder(of.spec.address) is not of:
            return "Conflicted"
        return {"unheard": "Starting", "heard": "Healthy", "silent": "Unhealthy"}[of.life]

    def selectable(self) -> set[InstanceKey]:
        return {key for key, each in self.instances.items() if self.phase(each) == "Healthy"}

    def named(self, name: Name) -> Simple | None:
        return next((each for each in self.instances.values() if name in each.names), None)

    def fitting(self, registration: Registration) -> list[Simple]:
        """Those that a worker may be taken for: of several, one is as good as the other."""
        at_its_address = [
            each
            for each in self.instances.values()
            if each.key.namespace == registration.namespace
            and each.spec.address == registration.spec.address
            and not each.deleting
        ]
        stored = [each for each in at_its_address if each.uid] or at_its_address
        return [each for each in stored if each.key == registration.key] or stored

    def may_return(self, name: Name, registration: Registration) -> bool:
        early = (f"in {registration.namespace}", registration.spec.address)
        gone = any(each.deregistered or each.drained for each in self.fitting(registration)[:1])
        return name == early and name not in self.ended and not gone

    # -- what happens to it --

    def pass_time(self, seconds: float, *, seen: bool) -> None:
        self.now += min(seconds, 1.0)
        if seen and self.listed:
            self.proven += min(seconds, 1.0)
        for each in self.instances.values():
            due = each.deadline <= (self.proven if each.by_annotation else self.now)
            if each.life == "heard" and due:
                each.life = "silent"

    def hear(self, each: Simple, *, by_annotation: bool = False) -> None:
        each.life, each.by_annotation = "heard", by_annotation
        each.deadline = (self.proven if by_annotation else self.now) + TIMEOUT

    def arrive(self, each: Simple) -> None:
        each.deregistered = each.drained = False
        self.hear(each)

    def forget(self, key: InstanceKey) -> None:
        gone = self.instances.pop(key)
        if gone.early:
            self.ended.add(gone.names[-1])

    def see(self, shown: Observed, weight: float | None) -> None:
        """An object is shown; ``weight`` is what its worker had registered with, if one did."""
        known = self.instances.get(shown.key)
        if known is not None and not known.uid and known.spec.address == shown.spec.address:
            known.uid, is_new = shown.uid, True
            known.created = shown.created
        elif known is not None and known.uid == shown.uid:
            is_new = False
        else:
            if known is not None:
                self.forget(shown.key)
            known = Simple(shown.key, shown.uid, shown.spec, shown.created)
            self.instances[shown.key] = known
            self._take_up(known)
            is_new = True
        moved = known.spec.address != shown.spec.address
        if moved:
            self._start_anew(known)
        known.spec, known.deleting, known.said = shown.spec, shown.deleting, weight
        fresh = shown.heartbeat is not None and shown.heartbeat != known.annotation
        known.annotation = shown.heartbeat
        counts = fresh and not moved and not known.deregistered
        if counts and not (is_new and shown.uid in self.statuses):
            self.hear(known, by_annotation=True)

    def _take_up(self, each: Simple) -> None:
        status = self.statuses.get(each.uid)
        if status is None or status.of != each.names[0]:
            return
        each.deregistered, each.drained = status.deregistered, status.drained
        if status.phase == "Healthy":
            self.hear(each, by_annotation=True)
        elif status.phase == "Unhealthy":
            each.life = "silent"

    def _start_anew(self, each: Simple) -> None:
        if each.early:
            self.ended.add(each.names[-1])
        each.life, each.deregistered, each.drained, each.early = "unheard", False, False, False

    def status(self, of: Simple) -> Written:
        return Written(of.names[0], self.phase(of), of.deregistered, of.drained)


# -- the machine ---------------------------------------------------------------------------------


def up(machine: WorkersMachine) -> bool:
    return machine.up


def listed(machine: WorkersMachine) -> bool:
    return machine.up and machine.simple.listed


def some_exist(machine: WorkersMachine) -> bool:
    return bool(machine.cluster.objects)


def some_are_known(machine: WorkersMachine) -> bool:
    return bool(machine.simple.instances)


numbers = st.integers(0, 11)
told = st.booleans()
registrations = st.builds(
    registration_at, st.sampled_from(NAMESPACES), st.sampled_from(HOSTS),
    st.sampled_from([1.0, 1.0, 2.0]),
)  # fmt: skip


class WorkersMachine(RuleBasedStateMachine):
    """Workers, owners, the API server and restarts, in any order."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        self.cluster = Cluster(self.clock)
        self.weights: dict[str, float] = {}
        self.ids: dict[Name, str] = {}
        self.up = True
        self.annotations = 0
        self._start({})
        self.resync()

    def _start(self, statuses: dict[str, Written]) -> None:
        self.records = Records(TIMEOUT, clock=self.clock, random=self.random)
        self.workers = Workers(self.records)
        self.mirror = Mirror(self.records, resync_interval=30.0)
        self.mirror.watch_started(RUN)
        self.held: dict[InstanceKey, Registration] = {}
        self.failed: set[InstanceKey] = set()
        self.late = 0
        self.simple = SimpleRegistry(statuses)

    def _see(self, shown: Observed) -> None:
        """The model is shown what the mirror was shown."""
        weight = None if shown.registration is None else self.weights[shown.registration]
        self.simple.see(shown, weight)

    def _learn_ids(self) -> None:
        """The same incarnation has the same id for ever, and no other has it."""
        for key, each in self.simple.instances.items():
            record = self._record(key)
            known = [record.id] if record.former_id is None else [record.id, record.former_id]
            for name, known_id in zip(each.names, known, strict=True):
                assert self.ids.setdefault(name, known_id) == known_id
        assert len(set(self.ids.values())) == len(self.ids)

    def _record(self, key: InstanceKey) -> Record:
        record = self.records.get(key)
        assert record is not None
        return record

    def _state(self) -> list[object]:
        """All that a call could change."""
        return [
            (
                record.key, record.id, record.uid, record.spec, record.life, record.verdict,
                record.last_beat_monotonic, record.deadline, record.timeline, record.load,
                record.deregistered, record.drained,
            )
            for record in self.records
        ]  # fmt: skip

    # -- owners ----------------------------------------------------------------------------------

    def _pick(self, which: int) -> Observed:
        objects = list(self.cluster.objects.values())
        return objects[which % len(objects)]

    def _show(self, shown: Observed, tell: bool) -> None:
        if tell and self.up:
            self.mirror.changed(shown, run=RUN)
            self._see(shown)

    def _fresh(self) -> str:
        self.annotations += 1
        return f"t{self.annotations}"

    @rule(key=st.sampled_from(OWNED), host=st.sampled_from(HOSTS), beats=st.booleans(), tell=told)
    def create(self, key: InstanceKey, host: str, beats: bool, tell: bool) -> None:
        if key in self.cluster.objects:
            return
        heartbeat = self._fresh() if beats else None
        shown = Observed(key, "", 0, 1, 0.0, InstanceSpec(MODEL, host, 8000), heartbeat=heartbeat)
        self._show(self.cluster.create(shown), tell)

    @precondition(some_exist)
    @rule(which=numbers, host=st.sampled_from(HOSTS), tell=told)
    def move(self, which: int, host: str, tell: bool) -> None:
        there = self._pick(which)
        if there.spec.host != host:
            self._show(self.cluster.edit(there, replace(there.spec, host=host)), tell)

    @precondition(some_exist)
    @rule(which=numbers, rotation=st.sampled_from(Rotation), tell=told)
    def rotate(self, which: int, rotation: Rotation, tell: bool) -> None:
        there = self._pick(which)
        if there.spec.rotation is not rotation:
            self._show(self.cluster.edit(there, replace(there.spec, rotation=rotation)), tell)

    @precondition(some_exist)
    @rule(which=numbers, tell=told)
    def annotate(self, which: int, tell: bool) -> None:
        there = self._pick(which)
        self._show(self.cluster.write(replace(there, heartbeat=self._fresh())), tell)

    @precondition(some_exist)
    @rule(which=numbers, at_once=st.booleans(), tell=told)
    def delete(self, which: int, at_once: bool, tell: bool) -> None:
        there = self._pick(which)
        if not at_once:
            self._show(self.cluster.write(replace(there, deleting=True)), tell)
            return
        self.cluster.delete(there.key)
        if tell and self.up:
            self.mirror.deleted(there.key, there.uid, self.cluster.version, run=RUN)
            known = self.simple.instances.get(there.key)
            if known is not None and known.uid == there.uid:
                self.simple.forget(there.key)

    # -- workers ---------------------------------------------------------------------------------

    @rule(registration=registrations)
    def register(self, registration: Registration) -> None:
        known = self._find(registration)
        if known is not None and known.uid and not self._differs(known, registration):
            self._arrive(known)
        elif listed(self):
            self._store(registration)
        else:
            self._hold(registration)

    def _find(self, registration: Registration) -> Simple | None:
        fitting, found = self.simple.fitting(registration), self.workers.find(registration)
        if found is None:
            assert not fitting
            return None
        known = self.simple.instances[found.key]
        assert known in fitting
        return known

    def _arrive(self, known: Simple) -> None:
        self.workers.arrive(self._record(known.key))
        self.simple.arrive(known)

    @staticmethod
    def _differs(known: Simple, registration: Registration) -> bool:
        return known.said is not None and known.said != registration.spec.weight

    def _apply(self, registration: Registration) -> bool:
        """Write the resource of a registration; returns False if it is about another address."""
        self.weights[registration.digest] = registration.spec.weight
        shown = self.cluster.apply(registration)
        if shown.spec.address != registration.spec.address:
            return False
        self.mirror.answered(shown)
        self._see(shown)
        return True

    def _store(self, registration: Registration) -> None:
        if self._apply(registration):
            self.held.pop(registration.key, None)
            self._arrive(self.simple.instances[registration.key])

    def _hold(self, registration: Registration) -> None:
        known = self.simple.instances.get(registration.key)
        if known is None or not known.uid:
            self.workers.enter(registration, NO_UID)
            known = self._enter(registration, known)
        elif known.spec.address != registration.spec.address:
            return
        self.held[known.key] = registration
        self._arrive(known)

    def _enter(self, registration: Registration, known: Simple | None) -> Simple:
        if known is None:
            now = self.clock.wall().timestamp()
            known = Simple(registration.key, NO_UID, registration.spec, now, early=True)
            self.simple.instances[known.key] = known
        known.spec = registration.spec
        self.simple.ended.discard(known.names[-1])
        return known

    @precondition(lambda self: listed(self) and self.held)
    @rule()
    def write_what_is_held(self) -> None:
        for key, registration in self.held.items():
            mine, known = self.simple.instances.get(key), self._find(registration)
            assert (mine is None) == (self.records.get(key) is None)
            if mine is None:
                continue
            if known is None or not known.uid or self._differs(known, registration):
                if not self._apply(registration):
                    self._give_up(mine)
            elif known is not mine:
                if mine.life == "heard":
                    self._arrive(known)
                self._give_up(mine)
        self.held = {}

    def _give_up(self, held: Simple) -> None:
        if not held.uid:
            self.records.remove(held.key)
            self.simple.forget(held.key)

    @precondition(lambda self: self.ids)
    @rule(which=numbers, running=st.integers(0, 3), other=st.none() | registrations)
    def beat(self, which: int, running: int, other: Registration | None) -> None:
        name = list(self.ids)[-1 - which % len(self.ids)]
        known, before = self.simple.named(name), self._state()
        if known is None or known.deleting:
            result = BeatResult.UNKNOWN
        elif known.deregistered:
            result = BeatResult.DEREGISTERED
        else:
            result = BeatResult.ACCEPTED
            self.simple.hear(known)
        self.simple.beats[result] += 1
        assert self.workers.beat(self.ids[name], Load(running=running)) is result
        if result is not BeatResult.ACCEPTED:
            assert self._state() == before
        if known is None:
            self._return(name, other or self._own(name))

    @staticmethod
    def _own(name: Name) -> Registration:
        """What the worker of that name registered, or would have."""
        namespace = name[0].removeprefix("in ")
        return registration_at(
            namespace if namespace in NAMESPACES else NAMESPACES[0], name[1].host, 1.0
        )

    def _return(self, name: Name, registration: Registration) -> None:
        """A late beat holds a registration."""
        returns = self.simple.may_return(name, registration)
        assert self.workers.may_return(self.ids[name], registration) is returns
        if returns:
            self.register(registration)

    @precondition(some_are_known)
    @rule(which=numbers, by=st.none() | numbers, what=st.sampled_from(["go", "drain", "undrain"]))
    def say(self, which: int, by: int | None, what: str) -> None:
        key = list(self.simple.instances)[which % len(self.simple.instances)]
        known, record = self.simple.instances[key], self._record(key)
        callable_by = [*known.names, *known.names, *reversed(self.ids)]
        name = None if by is None else callable_by[by % len(callable_by)]
        concerned = name is None or name in known.names
        assert self.workers.concerns(record, None if name is None else self.ids[name]) is concerned
        if not concerned:
            self.late += 1
        elif what != "go":
            self.workers.drain(record, drained=what == "drain")
            known.drained = what == "drain"
        else:
            self.workers.deregister(record)
            known.deregistered = True
            if not known.uid:
                self.simple.forget(key)

    # -- time and outages ------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1.0, 1.0, 600.0]), times=st.integers(1, 4))
    def pass_time(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.clock.advance(seconds)
            if self.up:
                self._prove()
            self.mirror.attend()
            self.simple.pass_time(seconds, seen=self.up)

    def _prove(self) -> None:
        for view in self.mirror.views.values():
            view.prove(self.records.attend(), self.clock.monotonic())

    @precondition(up)
    @rule()
    def lose_the_api_server(self) -> None:
        self.up = False
        self.mirror.fail_list(self.mirror.begin_list(""), "refused")

    @precondition(lambda self: not self.up)
    @rule(resync=st.booleans())
    def find_the_api_server(self, resync: bool) -> None:
        self.up = True
        if resync:
            self.resync()
        else:
            self._prove()

    @precondition(up)
    @rule()
    def resync(self) -> None:
        objects = self.cluster.objects
        listing = self.mirror.begin_list("")
        assert not self.mirror.end_list(listing, dict(objects), self.cluster.version).rewound
        self.simple.listed = True
        for shown in objects.values():
            self._see(shown)
        for key, known in list(self.simple.instances.items()):
            if known.uid and key not in objects:
                self.simple.forget(key)

    @rule(resync=st.booleans())
    def restart(self, resync: bool) -> None:
        self._start(self.simple.statuses)
        if resync and self.up:
            self.resync()

    # -- statuses --------------------------------------------------------------------------------

    @precondition(listed)
    @rule()
    def write_statuses(self) -> None:
        for _ in range(3):
            for write in self.mirror.plan_writes(20):
                there, known = self.cluster.objects.get(write.key), self.simple.instances[write.key]
                if there is None:
                    self.mirror.write_failed(write.key)
                    self.failed.add(write.key)
                elif there.version != write.version:
                    self.mirror.write_answered(write.key, there)
                    if there.uid == known.uid:
                        self._see(there)
                    waiting = self.mirror.outbox._pending.keys() - self.mirror.outbox._ready.keys()
                    if write.key in waiting:  # a second conflict in a row
                        self.failed.add(write.key)
                else:
                    self.simple.statuses[known.uid] = self.simple.status(known)
                    answer = self.cluster.write(replace(there, reported=status_of(write)))
                    self.mirror.write_answered(write.key, answer)
        for key, there in self.cluster.objects.items():
            known_now = self.simple.instances.get(key)
            if known_now is not None and known_now.uid == there.uid and key not in self.failed:
                self._says(there.reported, self.simple.status(known_now))

    @staticmethod
    def _says(reported: Reported | None, status: Written) -> None:
        assert reported is not None
        assert reported.incarnation is not None
        assert (reported.incarnation.uid, reported.incarnation.address) == status.of
        assert reported.phase == status.phase
        assert reported.holds("Deregistered") is status.deregistered
        assert reported.holds("Draining", "DrainRequested") is status.drained

    def teardown(self) -> None:
        """A restart writes nothing, once all is written that was to be."""
        if not hasattr(self, "cluster"):
            return
        self.up = True
        self.resync()
        self.write_what_is_held()
        self.resync()
        if self.failed:
            self.failed.clear()
            self.pass_time(1.0, 60)
        self.write_statuses()
        self.restart(resync=True)
        self.each_is_what_the_model_says()
        assert self.mirror.plan_writes(20) == []

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def each_is_what_the_model_says(self) -> None:
        assert {record.key for record in self.records} == set(self.simple.instances)
        for key, known in self.simple.instances.items():
            record = self._record(key)
            assert (record.uid, record.spec) == (known.uid, known.spec)
            assert record.verdict.phase.value == self.simple.phase(known)
            assert (record.deregistered, record.drained) == (known.deregistered, known.drained)

    @invariant()
    def an_id_finds_the_incarnation_that_is_there_and_no_other(self) -> None:
        self._learn_ids()
        for name, known_id in self.ids.items():
            known, record = self.simple.named(name), self.records.identified(known_id)
            assert (None if known is None else known.key) == (
                None if record is None else record.key
            )

    @invariant()
    def only_who_lives_is_picked(self) -> None:
        selectable = self.simple.selectable()
        for policy in Policy:
            wish = Wish(policy, key="session")
            if selectable:
                assert self.records.select(MODEL, wish).key in selectable
            else:
                with pytest.raises(NoHealthyInstanceError):
                    self.records.select(MODEL, wish)
        for key in selectable:
            each = self.simple.instances[key]
            assert (each.deregistered, each.drained, each.deleting) == (False, False, False)
            assert each.spec.rotation is Rotation.ACTIVE
            now = self.simple.proven if each.by_annotation else self.simple.now
            assert each.deadline > now

    @invariant()
    def the_counts_agree(self) -> None:
        instances = self.simple.instances.values()
        assert self.records.totals() == Totals(
            min(len(instances), 1), len(instances), len(self.simple.selectable())
        )
        phases = Counter(self.simple.phase(each) for each in instances)
        counted = Counter(
            {phase.value: n for phase, n in self.records.phases().get(MODEL, Counter()).items()}
        )
        assert +counted == phases
        assert self.workers.beats == self.simple.beats
        assert self.workers.late == self.late


WorkersMachine.TestCase.settings = settings(max_examples=500, stateful_step_count=50)
TestWorkersMachine = WorkersMachine.TestCase
