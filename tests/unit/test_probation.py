from __future__ import annotations

import pytest

from modelinstance.registry.health import Life
from modelinstance.registry.instance import ProbeSpec
from modelinstance.registry.past import Past
from modelinstance.registry.probation import Hysteresis
from modelinstance.registry.reasons import Phase, Reason
from modelinstance.registry.record import Record
from modelinstance.registry.records import Records
from unit.builders import TIMEOUT, key, live, put, spec
from unit.clock import FakeClock

SETTINGS = Hysteresis(falls=3, window=600.0, first=30.0, most=100.0)
QUICK = 2.0
"""The timeout of the instances here, in seconds."""


@pytest.fixture
def steady(records: Records) -> Records:
    records.probations.settings = SETTINGS
    return records


def flap(records: Records, clock: FakeClock, record: Record, times: int = 1) -> None:
    """Be heard, and fall silent."""
    for _ in range(times):
        records.beat(record)
        live(records, clock, QUICK)


def beats(records: Records, clock: FakeClock, record: Record, seconds: int) -> None:
    """Be heard each second, from now on."""
    records.beat(record)
    for _ in range(seconds):
        live(records, clock, 1)
        records.beat(record)


def why(record: Record) -> Reason:
    return record.verdict.reason


def quick(records: Records, **fields: float) -> Record:
    return put(records, heartbeat_timeout=fields.get("timeout", QUICK))


def test_two_falls_are_forgiven_and_the_third_is_not(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 2)
    assert why(record) is Reason.HEARTBEAT_EXPIRED
    steady.beat(record)
    assert record.verdict.ready
    live(steady, clock, QUICK)
    assert (record.verdict.phase, record.verdict.reason) == (Phase.UNHEALTHY, Reason.FLAPPING)
    steady.beat(record)
    assert not record.verdict.ready


def test_it_returns_once_it_has_beaten_for_the_time(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    beats(steady, clock, record, 29)
    assert why(record) is Reason.FLAPPING
    live(steady, clock, 1)
    assert record.verdict.ready, "it has been heard since"


def test_it_is_a_beat_that_brings_it_back_not_time(steady: Records, clock: FakeClock) -> None:
    record = quick(steady, timeout=100)
    for _ in range(3):
        steady.beat(record)
        live(steady, clock, 100)
    steady.beat(record)
    live(steady, clock, 60)
    assert why(record) is Reason.FLAPPING
    steady.beat(record)
    assert record.verdict.ready


def test_the_time_grows_with_each_fall(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    asked = []
    for _ in range(4):
        assert record.probation is not None
        asked.append(record.probation.seconds)
        flap(steady, clock, record)
    assert asked == [30.0, 60.0, 100.0, 100.0]


def test_whatever_comes_and_goes_meanwhile_is_one_verdict(
    steady: Records, clock: FakeClock
) -> None:
    """So that it causes one write."""
    record = quick(steady)
    flap(steady, clock, record, 3)
    turns: list[Reason] = []
    steady.on_verdict(lambda told: turns.append(told.verdict.reason))
    flap(steady, clock, record, 50)
    steady.beat(record, failure="the engine is gone")
    assert turns == []


def test_who_stays_silent_does_not_flap_for_ever(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    live(steady, clock, 599)
    assert why(record) is Reason.FLAPPING
    live(steady, clock, 1)
    assert why(record) is Reason.HEARTBEAT_EXPIRED
    steady.beat(record)
    assert record.verdict.ready, "its falls are long past"


def test_falls_that_are_long_past_do_not_count(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    for _ in range(5):
        flap(steady, clock, record)
        live(steady, clock, 300)
    assert why(record) is Reason.HEARTBEAT_EXPIRED


def test_what_somebody_wants_is_no_fall(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    beats(steady, clock, record, 1)
    for _ in range(5):
        steady.set_drained(record, drained=True)
        steady.set_drained(record, drained=False)
        steady.set_deregistered(record, deregistered=True)
        steady.set_deregistered(record, deregistered=False)
    assert record.verdict.ready
    assert not record.falls


def test_a_new_incarnation_has_nothing_to_prove(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    put(steady, heartbeat_timeout=QUICK, port=9000)
    assert why(record) is Reason.AWAITING_FIRST_HEARTBEAT
    steady.beat(record)
    assert record.verdict.ready


def test_a_probe_that_comes_and_goes_has_to_pass_for_the_time(
    steady: Records, clock: FakeClock
) -> None:
    asked = spec(heartbeat_required=False)
    asked = type(asked)(
        asked.model_name, asked.host, asked.port, heartbeat_required=False,
        probe=ProbeSpec("/health", 10, 2, 1, 3),
    )  # fmt: skip
    record = steady.put(key(), "u", asked, created=0.0)
    for _ in range(3):
        steady.set_probe(record, passing=True, message="")
        assert record.verdict.ready
        steady.set_probe(record, passing=False, message="HTTP 500")
    steady.set_probe(record, passing=True, message="")
    live(steady, clock, 29)
    assert why(record) is Reason.FLAPPING
    live(steady, clock, 1)
    assert why(record) is Reason.PROBE_SUCCEEDED


def test_a_drain_is_shown_on_probation_as_well(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    steady.set_drained(record, drained=True)
    assert why(record) is Reason.DRAIN_REQUESTED


def test_a_restart_begins_it_anew(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    steady.resume(record, Past(Life.HEARD, probation=Reason.FLAPPING), steady.local)
    assert why(record) is Reason.FLAPPING
    beats(steady, clock, record, 30)
    assert record.verdict.ready


def test_an_ejected_one_returns_by_a_beat_after_its_time(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    beats(steady, clock, record, 1)
    steady.eject(record)
    assert (record.verdict.phase, record.verdict.reason) == (Phase.UNHEALTHY, Reason.CALLS_FAILING)
    beats(steady, clock, record, 29)
    assert why(record) is Reason.CALLS_FAILING
    beats(steady, clock, record, 1)
    assert record.verdict.ready


def test_each_ejection_takes_longer(steady: Records, clock: FakeClock) -> None:
    record = put(steady, heartbeat_timeout=TIMEOUT)
    asked = []
    for _ in range(4):
        beats(steady, clock, record, 1)
        steady.eject(record)
        assert record.probation is not None
        asked.append(record.probation.seconds)
        beats(steady, clock, record, int(record.probation.seconds))
        assert record.verdict.ready
    assert asked == [30.0, 60.0, 100.0, 100.0]


def test_silence_is_shown_rather_than_that_calls_fail(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    beats(steady, clock, record, 1)
    steady.eject(record)
    live(steady, clock, QUICK)
    assert why(record) is Reason.HEARTBEAT_EXPIRED


def test_who_need_not_be_heard_any_more_returns_by_time(steady: Records, clock: FakeClock) -> None:
    record = put(steady, heartbeat_timeout=100.0)
    steady.beat(record)
    steady.eject(record)
    live(steady, clock, 40)
    put(steady, heartbeat_timeout=100.0, heartbeat_required=False)
    live(steady, clock, 30)
    assert record.verdict.ready


def test_a_heartbeat_that_tells_of_a_failure_proves_nothing(
    steady: Records, clock: FakeClock
) -> None:
    record = put(steady, heartbeat_timeout=100.0)
    steady.beat(record)
    steady.eject(record)
    live(steady, clock, 40)
    steady.beat(record, failure="the engine is gone")
    steady.beat(record)
    assert record.verdict.reason is Reason.CALLS_FAILING


def test_without_settings_nobody_has_to_prove_anything(records: Records, clock: FakeClock) -> None:
    record = quick(records)
    flap(records, clock, record, 10)
    records.beat(record)
    assert record.verdict.ready
    assert record.falls is None


def test_nothing_is_left_of_a_record_that_is_removed(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    steady.remove(record.key)
    assert record.probation is None
    live(steady, clock, 700)
