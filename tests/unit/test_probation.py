from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import ProbeSpec
from modelinstance.registry.records.records import Records
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
    live(steady, clock, 1)
    assert why(record) is Reason.FLAPPING, "nothing shows that it lives now"
    steady.beat(record)
    assert record.verdict.ready


@pytest.mark.parametrize("ejected", [True, False], ids=["failed calls", "flaps"])
def test_one_that_died_on_probation_never_returns(
    ejected: bool, steady: Records, clock: FakeClock
) -> None:
    """Not even where it was heard since, and its silence does not tell yet."""
    record = quick(steady, timeout=120)
    for _ in range(0 if ejected else 3):
        steady.beat(record)
        live(steady, clock, 120)
    steady.beat(record)
    if ejected:
        steady.eject(record)
    live(steady, clock, 1)
    steady.beat(record)
    for _ in range(700):
        live(steady, clock, 1)
        assert not record.verdict.ready


def test_silence_begins_it_anew(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    flap(steady, clock, record, 3)
    beats(steady, clock, record, 29)
    live(steady, clock, QUICK)
    assert record.probation is not None
    beats(steady, clock, record, int(record.probation.seconds) - 1)
    assert why(record) is Reason.FLAPPING
    beats(steady, clock, record, 1)
    assert record.verdict.ready


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


def test_silence_that_is_one_of_many_is_not_to_be_well(steady: Records, clock: FakeClock) -> None:
    steady.guard.settings = GuardSettings()
    one = quick(steady)
    flap(steady, clock, one, 3)
    others = [put(steady, f"o{each}", host=f"o{each}", heartbeat_timeout=QUICK) for each in (1, 2)]
    for record in (one, *others):
        steady.beat(record)
    live(steady, clock, 60)
    assert one.frozen
    assert one.probation is not None
    assert one.probation.since is None
    steady.beat(one)
    assert why(one) is Reason.FLAPPING, "it was silent for a minute"
    beats(steady, clock, one, 29)
    assert why(one) is Reason.FLAPPING
    beats(steady, clock, one, 1)
    assert one.verdict.ready


def test_who_is_let_go_silent_after_an_outage_has_fallen_once(
    steady: Records, clock: FakeClock
) -> None:
    steady.guard.settings = GuardSettings(seconds=20.0)
    many = [put(steady, f"o{each}", host=f"o{each}", heartbeat_timeout=QUICK) for each in range(4)]
    for record in many:
        steady.beat(record)
    live(steady, clock, 10)
    assert all(record.frozen and not record.falls for record in many)
    live(steady, clock, 20)
    assert [len(record.falls or ()) for record in many] == [1] * 4


# -- falls that something else hides ---------------------------------------------------------------


def pair(records: Records) -> tuple[Record, Record]:
    """Two at one address, the older one first."""
    older = put(records, "older", created=0.0, heartbeat_timeout=QUICK)
    return older, put(records, "younger", created=1.0, heartbeat_timeout=QUICK)


def turns_of(records: Records) -> list[tuple[str, Reason]]:
    """The verdicts from now on, as they change."""
    turns: list[tuple[str, Reason]] = []
    records.on_verdict(lambda told: turns.append((told.key.name, told.verdict.reason)))
    return turns


def test_two_at_one_address_do_not_take_it_from_each_other_for_ever(
    steady: Records, clock: FakeClock
) -> None:
    """Each beat of the older one, a little late, would take it back; its silence is hidden."""
    older, younger = pair(steady)
    turns = turns_of(steady)
    for second in range(300):
        if second % 3 == 0:
            steady.beat(older)
        steady.beat(younger)
        live(steady, clock, 1)
    assert len(turns) <= 4 * SETTINGS.falls
    assert (why(older), why(younger)) == (Reason.ADDRESS_CONFLICT, Reason.HEARTBEAT_RECEIVED)


@settings(max_examples=100, deadline=None)
@given(
    periods=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    fails=st.tuples(st.booleans(), st.booleans()),
    required=st.booleans(),
)
def test_however_two_at_one_address_beat_their_verdicts_change_a_few_times_only(
    periods: tuple[int, int], fails: tuple[bool, bool], required: bool
) -> None:
    clock = FakeClock()
    records = Records(TIMEOUT, clock=clock)
    records.probations.settings = Hysteresis()
    both = pair(records)
    put(records, "younger", created=1.0, heartbeat_timeout=QUICK, heartbeat_required=required)
    turns = turns_of(records)
    for second in range(599):
        for record, period, failing in zip(both, periods, fails, strict=True):
            if second % period == 0:
                records.beat(record, failure="no engine" if failing else None)
        live(records, clock, 1)
    assert len(turns) <= 4 * 2 * SETTINGS.falls


def test_one_on_probation_holds_no_address_that_another_is_heard_at(
    steady: Records, clock: FakeClock
) -> None:
    """Falls that are shown count there as well: it gives way at once, by one verdict."""
    older, younger = pair(steady)
    for record in (older, younger):
        put(steady, record.key.name, heartbeat_timeout=100.0, created=record.created)
        steady.beat(record)
    turns = turns_of(steady)
    for _ in range(3):
        steady.beat(older)
        assert why(older) is Reason.HEARTBEAT_RECEIVED
        steady.beat(older, failure="no engine")
    steady.beat(older)
    assert younger.verdict.ready
    assert [reason for name, reason in turns if name == "older"][-1] is Reason.ADDRESS_CONFLICT
    assert Reason.FLAPPING not in {reason for _, reason in turns}
    steady.remove(younger.key)
    assert why(older) is Reason.FLAPPING
    live(steady, clock, 30)
    steady.beat(older)
    assert older.verdict.ready


def test_silence_after_another_fall_is_the_same_fall(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    for times in (1, 2):
        steady.beat(record)
        steady.beat(record, failure="the engine is gone")
        live(steady, clock, QUICK)
        assert len(record.falls or ()) == times
    assert why(record) is Reason.HEARTBEAT_EXPIRED


def test_who_falls_silent_again_and_again_flaps_whatever_it_says(
    steady: Records, clock: FakeClock
) -> None:
    record = quick(steady)
    for _ in range(3):
        steady.beat(record, failure="the engine is gone")
        live(steady, clock, QUICK)
    assert why(record) is Reason.FLAPPING


def test_silence_that_is_wanted_is_no_fall(steady: Records, clock: FakeClock) -> None:
    record = quick(steady)
    for _ in range(4):
        steady.set_deregistered(record, deregistered=False)
        steady.beat(record)
        steady.set_deregistered(record, deregistered=True)
        live(steady, clock, QUICK)
    assert not record.falls


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
