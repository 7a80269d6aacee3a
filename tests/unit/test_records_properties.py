"""Random histories of records against a model that is too simple to be wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.chain import Life, Verdict
from modelinstance.registry.health.reasons import Phase
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey, InstanceSpec, Rotation
from modelinstance.registry.records.census import Totals
from modelinstance.registry.records.records import Records
from unit.clock import FakeClock

KEYS = [InstanceKey("a", "x"), InstanceKey("a", "y"), InstanceKey("b", "x")]
NAMES = ["vicuna", "llama", "chat", "nobody"]

keys = st.sampled_from(KEYS)
specs = st.builds(
    InstanceSpec,
    model_name=st.sampled_from(["vicuna", "llama"]),
    host=st.just("h"),
    port=st.sampled_from([1, 2]),
    aliases=st.sampled_from([frozenset[str](), frozenset({"chat"}), frozenset({"llama"})]),
    weight=st.sampled_from([0.0, 1.0, 2.5]),
    rotation=st.sampled_from([Rotation.ACTIVE, Rotation.ACTIVE, *Rotation]),
    heartbeat_required=st.sampled_from([True, True, False]),
    heartbeat_timeout=st.sampled_from([None, 2.0, 4.0]),
)
DEFAULT = 3.0

Shown = tuple[str, InstanceSpec, Verdict]
"""What is shown of a record: its uid, its spec and its verdict."""


@dataclass
class Simple:
    """One instance as the brute-force model knows it. Times are attended seconds."""

    key: InstanceKey
    uid: str
    spec: InstanceSpec
    created: float
    life: Life = Life.UNHEARD
    deadline: float | None = None
    deregistered: bool = False
    drained: bool = False
    deleting: bool = False
    said: bool | None = None

    @property
    def timeout(self) -> float:
        return DEFAULT if self.spec.heartbeat_timeout is None else self.spec.heartbeat_timeout


@dataclass
class SimpleRegistry:
    """Works everything out anew, from all instances, whenever it is asked."""

    now: float = 0.0
    instances: dict[InstanceKey, Simple] = field(default_factory=dict)

    def holder(self, of: Simple) -> Simple | None:
        best: Simple | None = None
        best_rank: tuple[bool, bool, float, InstanceKey] | None = None
        for each in self.instances.values():
            if each.spec.address != of.spec.address or each.deleting:
                continue
            if each.deregistered or each.drained:
                continue
            if each.spec.rotation is not Rotation.ACTIVE:
                continue
            heard = each.life is Life.HEARD
            at_its_word = not heard and not each.spec.heartbeat_required
            rank = (not heard, not heard and not at_its_word, each.created, each.key)
            if best_rank is None or rank < best_rank:
                best, best_rank = each, rank
        return best

    def phase(self, of: Simple) -> Phase:
        if of.deleting:
            return Phase.TERMINATING
        if of.spec.rotation is not Rotation.ACTIVE:
            return Phase(of.spec.rotation.value)
        if of.deregistered:
            return Phase.UNHEALTHY
        if of.drained:
            return Phase.DRAINING
        if self.holder(of) is not of:
            return Phase.CONFLICTED
        if of.said is not None:
            return Phase.HEALTHY if of.said else Phase.UNHEALTHY
        if not of.spec.heartbeat_required or of.life is Life.HEARD:
            return Phase.HEALTHY
        return Phase.STARTING if of.life is Life.UNHEARD else Phase.UNHEALTHY

    def ready(self, of: Simple) -> bool:
        return self.phase(of) is Phase.HEALTHY

    def advance(self, seconds: float) -> None:
        self.now += min(seconds, 1.0)
        for each in self.instances.values():
            if each.deadline is not None and each.deadline <= self.now:
                each.deadline, each.life, each.said = None, Life.SILENT, None


class RecordsMachine(RuleBasedStateMachine):
    """Puts, edits, beats, removals and time on a few keys and addresses."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.clock = FakeClock()
        self.records = Records(DEFAULT, clock=self.clock, random=Random(seed))
        self.simple = SimpleRegistry()
        self.told: dict[InstanceKey, Shown] = {}
        self.records.on_change(self._note)

    def _note(self, record: Record) -> None:
        if self.records.get(record.key) is record:
            self.told[record.key] = (record.uid, record.spec, record.verdict)
        else:
            del self.told[record.key]

    @rule(
        key=keys,
        uid=st.sampled_from(["1", "2"]),
        spec=specs,
        created=st.sampled_from([1.0, 2.0]),
        deleting=st.sampled_from([False, False, False, True]),
    )
    def put(
        self, key: InstanceKey, uid: str, spec: InstanceSpec, created: float, deleting: bool
    ) -> None:
        known = self.simple.instances.get(key)
        if known is None or known.uid != uid:
            self.simple.instances.pop(key, None)
            self.simple.instances[key] = Simple(key, uid, spec, created, deleting=deleting)
        else:
            self._edit(known, spec)
            known.deleting = deleting
            created = known.created
        self.records.put(key, uid, spec, created=created, deleting=deleting)
        self.records.expire()  # a timeout that was made shorter may be over
        self.simple.advance(0)

    def _edit(self, known: Simple, spec: InstanceSpec) -> None:
        before, timeout = known.spec, known.timeout
        known.spec = spec
        if before.address != spec.address:
            known.life, known.deadline = Life.UNHEARD, None
            known.deregistered, known.drained, known.said = False, False, None
        elif known.deadline is not None:
            known.deadline += known.timeout - timeout

    @rule(key=keys, rotation=st.sampled_from(Rotation))
    def rotate(self, key: InstanceKey, rotation: Rotation) -> None:
        known = self.simple.instances.get(key)
        if known is None:
            return
        known.spec = replace(known.spec, rotation=rotation)
        self.records.put(key, known.uid, known.spec, created=known.created, deleting=known.deleting)

    @rule(key=keys)
    def beat(self, key: InstanceKey) -> None:
        known, record = self.simple.instances.get(key), self.records.get(key)
        if known is None or record is None:
            return
        known.life, known.said = Life.HEARD, None
        known.deadline = self.simple.now + known.timeout
        self.records.beat(record)

    @rule(key=keys)
    def remove(self, key: InstanceKey) -> None:
        known = self.simple.instances.pop(key, None)
        removed = self.records.remove(key)
        assert (known is None) == (removed is None)

    @rule(key=keys, deregistered=st.booleans())
    def deregister(self, key: InstanceKey, deregistered: bool) -> None:
        known, record = self.simple.instances.get(key), self.records.get(key)
        if known is None or record is None:
            return
        known.deregistered, known.said = deregistered, None
        self.records.set_deregistered(record, deregistered=deregistered)

    @rule(key=keys, drained=st.booleans())
    def drain(self, key: InstanceKey, drained: bool) -> None:
        known, record = self.simple.instances.get(key), self.records.get(key)
        if known is None or record is None:
            return
        known.drained = drained
        self.records.set_drained(record, drained=drained)

    @rule(key=keys, healthy=st.booleans())
    def say(self, key: InstanceKey, healthy: bool) -> None:
        known, record = self.simple.instances.get(key), self.records.get(key)
        if known is None or record is None:
            return
        known.said = healthy
        if healthy and known.deadline is None and known.spec.heartbeat_required:
            known.deadline = self.simple.now + known.timeout
        self.records.set_by_caller(record, healthy=healthy)

    @rule(seconds=st.sampled_from([0.0, 0.25, 0.5, 1.0, 600.0]), times=st.integers(1, 5))
    def advance(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.clock.advance(seconds)
            self.records.expire()
            self.simple.advance(seconds)

    @invariant()
    def each_is_what_the_model_says(self) -> None:
        assert {record.key for record in self.records} == set(self.simple.instances)
        for key, known in self.simple.instances.items():
            record = self.records.get(key)
            assert record is not None
            assert (record.uid, record.spec) == (known.uid, known.spec)
            assert record.verdict.phase is self.simple.phase(known)
            assert record.verdict.ready is self.simple.ready(known)

    @invariant()
    def the_counts_are_right(self) -> None:
        instances = self.simple.instances.values()
        assert self.records.totals() == Totals(
            len({each.spec.model_name for each in instances}),
            len(instances),
            sum(self.simple.ready(each) for each in instances),
        )
        phases: dict[str, Counter[Phase]] = {}
        for each in instances:
            phases.setdefault(each.spec.model_name, Counter())[self.simple.phase(each)] += 1
        assert {model: +counts for model, counts in self.records.phases().items()} == phases

    @invariant()
    def an_address_has_at_most_one_ready_record_and_it_is_found_there(self) -> None:
        ready = Counter(record.spec.address for record in self.records if record.verdict.ready)
        assert all(count == 1 for count in ready.values())
        for record in self.records:
            held = self.records.at(record.spec.address)
            assert held is not None
            assert held.verdict.ready or record.spec.address not in ready

    @invariant()
    def a_name_gives_those_that_carry_it_and_selects_a_ready_one(self) -> None:
        for name in NAMES:
            carriers = {k for k, v in self.simple.instances.items() if name in v.spec.names}
            assert {record.key for record in self.records.named(name)} == carriers
            pickable = {
                key
                for key in carriers
                if self.simple.ready(self.simple.instances[key])
                and self.simple.instances[key].spec.weight > 0
            }
            if pickable:
                assert {self.records.select(name).key for _ in range(3)} <= pickable
            else:
                with pytest.raises(NoHealthyInstanceError) as caught:
                    self.records.select(name)
                assert caught.value.listed == len(carriers)

    @invariant()
    def the_listener_knows_all_that_is_shown(self) -> None:
        assert self.told == {
            record.key: (record.uid, record.spec, record.verdict) for record in self.records
        }


RecordsMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
TestRecordsMachine = RecordsMachine.TestCase
