"""Random histories of a small cluster, seen through late and lost events and slow LISTs."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.statuses import StatusWrite, is_current
from modelinstance.registry.instance import InstanceKey, InstanceSpec, Rotation
from modelinstance.registry.mirror.beats import REMEMBERED, Beat
from modelinstance.registry.mirror.mirror import Listing, Mirror
from modelinstance.registry.records.records import Records
from unit.builders import lose_sight, observed, protect, spec, status_of
from unit.clock import FakeClock

RUN = 1
TIMEOUT = 4.0
NAMES = ["a", "b", "c"]


@dataclass(frozen=True)
class Event:
    """What the watch has still to tell of an object."""

    tell: Callable[[Mirror], None]
    deletion: bool = False


@dataclass
class Cluster:
    """An API server without I/O: objects, versions, and the events that are still to come."""

    version: int = 0
    objects: dict[str, Observed] = field(default_factory=dict)
    events: dict[str, deque[Event]] = field(default_factory=lambda: defaultdict(deque))
    shown: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def create(self, name: str, host: str, heartbeat: str | None, applied: str | None) -> None:
        uid = f"{name}-made-at-{self.version + 1}"
        made = observed(
            name, uid=uid, created=float(self.version), spec=spec(host=host),
            heartbeat=heartbeat, heartbeat_applied=applied,
        )  # fmt: skip
        self.write(made)

    def write(self, changed: Observed) -> Observed:
        self.version += 1
        written = replace(changed, version=self.version)
        self.objects[written.key.name] = written
        if written.heartbeat is not None and written.heartbeat not in self.shown[written.uid]:
            self.shown[written.uid].append(written.heartbeat)
        self.events[written.uid].append(Event(lambda mirror: mirror.changed(written, run=RUN)))
        return written

    def delete(self, name: str) -> None:
        self.version += 1
        gone, version = self.objects.pop(name), self.version
        self.events[gone.uid].append(
            Event(lambda mirror: mirror.deleted(gone.key, gone.uid, version, run=RUN), True)
        )

    def write_status(self, write: StatusWrite) -> Observed | None:
        """What the adapter answers with: the object as written, or as read after a conflict."""
        current = self.objects.get(write.key.name)
        if current is None or current.version != write.version:
            return current
        return self.write(replace(current, reported=status_of(write)))

    def snapshot(self) -> tuple[dict[InstanceKey, Observed], int]:
        return {shown.key: shown for shown in self.objects.values()}, self.version


class WitnessedMirror(Mirror):
    """Notes which values of which uid were taken for signs of life."""

    def __init__(self, records: Records) -> None:
        super().__init__(records, resync_interval=30.0)
        self.witnessed: list[tuple[str, str | None]] = []
        judge = self._tracker._judge

        def witness(observed: Observed, *details: Any, **more: Any) -> None:
            before = self.beats[Beat.ACCEPTED]
            judge(observed, *details, **more)
            if self.beats[Beat.ACCEPTED] > before:
                self.witnessed.append((observed.uid, observed.heartbeat))

        self._tracker._judge = witness  # type: ignore[method-assign]


def mirror_of(clock: FakeClock) -> WitnessedMirror:
    records = Records(TIMEOUT, clock=clock, random=Random(1))
    protect(records)
    return WitnessedMirror(records)


def some_exist(machine: MirrorMachine) -> bool:
    return bool(machine.cluster.objects)


def some_wait(machine: MirrorMachine) -> bool:
    return any(machine.cluster.events.values())


hosts = st.sampled_from(["one", "two"])
numbers = st.integers(0, REMEMBERED - 1)


class MirrorMachine(RuleBasedStateMachine):
    """Owners, workers, the watch, LISTs and the status timer, in any order."""

    @initialize(late_events_are_lost=st.booleans())
    def begin(self, late_events_are_lost: bool) -> None:
        self.late_events_are_lost = late_events_are_lost
        self.clock = FakeClock()
        self.cluster = Cluster()
        self.mirror = mirror_of(self.clock)
        self.listing: Listing | None = None
        self.snapshot: tuple[dict[InstanceKey, Observed], int] | None = None
        self.in_flight: list[StatusWrite] = []
        self.beats = 0

    def _fresh(self) -> str:
        self.beats += 1
        return f"beat-{self.beats}"

    # -- owners and workers ----------------------------------------------------------------------

    def _existing(self, which: int) -> Observed:
        objects = list(self.cluster.objects.values())
        return objects[which % len(objects)]

    @precondition(lambda self: len(self.cluster.objects) < len(NAMES))
    @rule(host=hosts, how=st.sampled_from(["bare", "applied", "with a beat"]))
    def create(self, host: str, how: str) -> None:
        name = next(name for name in NAMES if name not in self.cluster.objects)
        heartbeat = None if how == "bare" else self._fresh()
        self.cluster.create(name, host, heartbeat, heartbeat if how == "applied" else None)

    @precondition(some_exist)
    @rule(which=numbers, host=hosts)
    def move(self, which: int, host: str) -> None:
        current = self._existing(which)
        if current.spec.host != host:
            self._edit(current, replace(current.spec, host=host))

    @precondition(some_exist)
    @rule(which=numbers, rotation=st.sampled_from(Rotation))
    def rotate(self, which: int, rotation: Rotation) -> None:
        current = self._existing(which)
        if current.spec.rotation is not rotation:
            self._edit(current, replace(current.spec, rotation=rotation))

    def _edit(self, current: Observed, spec: InstanceSpec) -> None:
        self.cluster.write(replace(current, spec=spec, generation=current.generation + 1))

    @precondition(some_exist)
    @rule(which=numbers)
    def beat(self, which: int) -> None:
        current = self._existing(which)
        if len(self.cluster.shown[current.uid]) < REMEMBERED:
            self.cluster.write(replace(current, heartbeat=self._fresh()))

    @precondition(some_exist)
    @rule(which=numbers, back=numbers)
    def replay(self, which: int, back: int) -> None:
        current = self._existing(which)
        shown = self.cluster.shown[current.uid]
        if shown and shown[back % len(shown)] != current.heartbeat:
            self.cluster.write(replace(current, heartbeat=shown[back % len(shown)]))

    @precondition(some_exist)
    @rule(which=numbers)
    def delete(self, which: int) -> None:
        self.cluster.delete(self._existing(which).key.name)

    # -- the watch -------------------------------------------------------------------------------

    def _waiting(self) -> list[deque[Event]]:
        return [queue for queue in self.cluster.events.values() if queue]

    @precondition(some_wait)
    @rule(which=numbers)
    def tell(self, which: int) -> None:
        waiting = self._waiting()
        waiting[which % len(waiting)].popleft().tell(self.mirror)

    @precondition(some_wait)
    @rule()
    def tell_all(self) -> None:
        for queue in self._waiting():
            while queue:
                queue.popleft().tell(self.mirror)

    @precondition(some_wait)
    @rule(which=numbers)
    def lose(self, which: int) -> None:
        waiting = self._waiting()
        waiting[which % len(waiting)].popleft()

    # -- LISTs -----------------------------------------------------------------------------------

    @precondition(lambda self: self.listing is None)
    @rule()
    def begin_list(self) -> None:
        self.listing = self.mirror.begin_list("")

    @precondition(lambda self: self.listing is not None and self.snapshot is None)
    @rule()
    def read_first_page(self) -> None:
        self.snapshot = self.cluster.snapshot()

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def read_last_page(self) -> None:
        assert self.listing is not None
        assert self.snapshot is not None
        repairs = self.mirror.end_list(self.listing, *self.snapshot)
        self.listing = self.snapshot = None
        assert not repairs.rewound

    @precondition(lambda self: self.listing is not None)
    @rule()
    def fail_list(self) -> None:
        assert self.listing is not None
        self.mirror.fail_list(self.listing, "refused")
        self.listing = self.snapshot = None

    # -- time and statuses -----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        lose_sight(self.mirror, self.clock, seconds)

    @rule(limit=st.integers(1, 3))
    def plan(self, limit: int) -> None:
        planned = self.mirror.plan_writes(limit)
        under_way = {write.key for write in self.in_flight}
        assert not under_way & {write.key for write in planned}
        self.in_flight += planned

    @precondition(lambda self: bool(self.in_flight))
    @rule(fails=st.sampled_from([False, False, True]))
    def answer(self, fails: bool) -> None:
        write = self.in_flight.pop(0)
        if fails:
            self.mirror.write_failed(write.key)
        else:
            self._write(write)

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def a_value_is_a_beat_once_in_the_life_of_an_object(self) -> None:
        alive = {shown.uid for shown in self.cluster.objects.values()}
        witnessed = [beat for beat in self.mirror.witnessed if beat[0] in alive]
        assert len(witnessed) == len(set(witnessed))

    @invariant()
    def only_who_was_heard_is_alive(self) -> None:
        heard = {uid for uid, _ in self.mirror.witnessed}
        for record in self.mirror.records:
            reported = record.key.name in self.cluster.objects and (
                self.cluster.objects[record.key.name].reported is not None
            )
            assert record.life is Life.UNHEARD or record.uid in heard or reported

    # -- what holds in the end -------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "mirror"):
            return
        while self.in_flight:
            self.answer(fails=False)
        for queue in self.cluster.events.values():
            while queue:
                event = queue.popleft()
                if not self.late_events_are_lost:
                    event.tell(self.mirror)
        self._list_for_the_last_time()
        self._agrees(self.mirror)
        self._settle_statuses()
        self._restart_writes_nothing()

    def _list_for_the_last_time(self) -> None:
        if self.listing is not None:
            self.snapshot = self.snapshot or self.cluster.snapshot()
            self.read_last_page()
        self._list()

    def _list(self) -> None:
        repairs = self.mirror.end_list(self.mirror.begin_list(""), *self.cluster.snapshot())
        assert not repairs.rewound

    def _agrees(self, mirror: Mirror) -> None:
        truth = {shown.key: shown for shown in self.cluster.objects.values()}
        assert {record.key for record in mirror.records} == set(truth)
        assert {key for key, _ in mirror._tracker} == set(truth)
        for key, shown in truth.items():
            record, tracked = mirror.records.get(key), mirror._tracker._tracked[key]
            assert record is not None
            assert (record.uid, record.spec) == (shown.uid, shown.spec)
            assert (tracked.uid, tracked.version) == (shown.uid, shown.version)
            assert (tracked.generation, tracked.reported) == (shown.generation, shown.reported)

    def _write(self, write: StatusWrite) -> None:
        answer = self.cluster.write_status(write)
        if answer is None:
            self.mirror.write_failed(write.key)
        else:
            self.mirror.write_answered(write.key, answer)

    def _settle_statuses(self) -> None:
        """With nobody beating any more all falls silent, and each status says so."""
        for _ in range(20):
            lose_sight(self.mirror, self.clock, 1.0)
            self._list()
            for write in self.mirror.plan_writes(10):
                self._write(write)
        for shown in self.cluster.objects.values():
            record = self.mirror.records.get(shown.key)
            assert record is not None
            assert record.life is not Life.HEARD
            assert is_current(record, shown.generation, shown.reported)
        self.tell_all()
        self._agrees(self.mirror)
        assert self.mirror.plan_writes(10) == []
        assert len(self.mirror.outbox) == 0

    def _restart_writes_nothing(self) -> None:
        successor = mirror_of(self.clock)
        successor.end_list(successor.begin_list(""), *self.cluster.snapshot())
        self._agrees(successor)
        assert successor.plan_writes(10) == []
        assert successor.witnessed == []


class LateEventsMachine(MirrorMachine):
    """Events that come after the last LIST tell nothing new, even if the deletions are lost."""

    def teardown(self) -> None:
        if not hasattr(self, "mirror"):
            return
        while self.in_flight:
            self.answer(fails=False)
        self._list_for_the_last_time()
        for queue in self.cluster.events.values():
            for event in queue:
                if not event.deletion:
                    event.tell(self.mirror)
        self._agrees(self.mirror)


MirrorMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
LateEventsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=20)
TestMirrorMachine = MirrorMachine.TestCase
TestLateEventsMachine = LateEventsMachine.TestCase
