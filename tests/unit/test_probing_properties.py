"""Whatever happens in whatever order: who is asked, and what answers amount to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelinstance.registry.instance import InstanceSpec, ProbeSpec, Rotation
from modelinstance.registry.intake.probing import Ask, ProbeOutcome, ProbeResult, ProbeSchedule
from modelinstance.registry.records.records import Records
from unit.builders import key, spec
from unit.clock import FakeClock

NAMES = ("a", "b", "c")
PATHS = ("/x", "/y")
GOOD = ProbeResult(ProbeOutcome.SUCCESS)
BAD = ProbeResult(ProbeOutcome.FAILURE, "HTTP 503")
PROBE = ProbeSpec("/x", period=10, timeout=2, success_threshold=2, failure_threshold=2)


@dataclass
class Expected:
    """What must be known of an instance: by a slow but plain way of counting."""

    spec: InstanceSpec
    uid: int
    passing: bool | None = None
    row: list[bool] | None = None

    def count(self, good: bool) -> None:
        self.row = [*(self.row or []), good][-2:]
        if self.row == [good, good]:
            self.passing = good


class Probing(RuleBasedStateMachine):
    """Instances come, change and go while they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.records = Records(10.0, clock=self.clock, random=Random(1))
        self.schedule = ProbeSchedule(self.records)
        self.expected: dict[str, Expected] = {}
        self.running: list[tuple[Ask, Expected | None, InstanceSpec]] = []
        self.uids = 0

    @rule(
        name=st.sampled_from(NAMES), path=st.sampled_from(PATHS), host=st.sampled_from("pq"),
        rotation=st.sampled_from(Rotation), anew=st.booleans(), period=st.sampled_from([1.0, 10.0]),
    )  # fmt: skip
    def apply(
        self, name: str, path: str, host: str, rotation: Rotation, anew: bool, period: float
    ) -> None:
        """An owner applies something: a new object, or the same one edited."""
        before = self.expected.get(name)
        wanted = replace(
            spec(host=host, port=NAMES.index(name) + 1, rotation=rotation),
            probe=replace(PROBE, path=path, period=period),
        )
        if before is None or anew:
            self.uids += 1
            self.expected[name] = Expected(wanted, self.uids)
        elif before.spec.address != wanted.address or before.spec.rotation is Rotation.DISABLED:
            self.expected[name] = Expected(wanted, before.uid)
        elif before.spec.probe != wanted.probe:
            self.expected[name] = Expected(wanted, before.uid, before.passing)
        else:
            before.spec = wanted
        if rotation is Rotation.DISABLED:
            self.expected[name].passing = self.expected[name].row = None
        self.records.put(key(name), f"uid-{self.expected[name].uid}", wanted, created=0.0)
        self._take()

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.expected.pop(name, None)
        self.records.remove(key(name))

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._take()

    def _take(self) -> None:
        for ask in self.schedule.take():
            expected = self.expected[ask.key.name]
            self.running.append((ask, expected, expected.spec))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), result=st.sampled_from([GOOD, BAD, BAD, None]))
    def answer(self, which: int, result: ProbeResult | None) -> None:
        ask, expected, _ = self.running.pop(which % len(self.running))
        self.schedule.settle(ask, result)
        if expected is self.expected.get(ask.key.name) and expected is not None:
            wanted = expected.spec.rotation is not Rotation.DISABLED
            if wanted and result is not None:
                expected.count(result is GOOD)

    @invariant()
    def nobody_is_asked_twice_at_a_time(self) -> None:
        keys = [ask.key for ask, _, _ in self.running]
        assert len(keys) == len(set(keys))

    @invariant()
    def what_is_known_is_what_was_answered(self) -> None:
        for name, expected in self.expected.items():
            record = self.records.get(key(name))
            assert record is not None
            assert record.probe_passing is expected.passing, name

    @invariant()
    def whoever_wants_it_is_asked_or_will_be(self) -> None:
        wanted = {n for n, e in self.expected.items() if e.spec.rotation is not Rotation.DISABLED}
        assert len(self.schedule) == len(wanted)
        if wanted and not self.running:
            until = self.schedule.until_next()
            assert until is not None
            assert until <= 11


TestProbing = Probing.TestCase
TestProbing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
