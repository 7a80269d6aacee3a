from __future__ import annotations

import pytest

from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.reports import (
    FAILURES_IN_ROW,
    MAX_REPORTERS,
    WINDOW_SECONDS,
    CallOutcome,
    ReportResult,
    Reports,
)
from modelinstance.registry.records.records import Records
from unit.builders import live, put
from unit.clock import FakeClock

SUCCESS, FAILURE, TIMEOUT = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT
LONG = 1000.0


@pytest.fixture
def reports(records: Records) -> Reports:
    records.probations.settings = Hysteresis()
    return Reports(records)


def heard(records: Records, number: int = 4) -> list[Record]:
    made = [
        put(records, f"vicuna-{index}", host=f"h{index}", heartbeat_timeout=LONG)
        for index in range(number)
    ]
    for record in made:
        records.beat(record)
    return made


def is_out(record: Record) -> bool:
    return record.verdict.reason is Reason.CALLS_FAILING


def test_failures_in_a_row_take_it_out_long_before_its_silence(
    records: Records, reports: Reports
) -> None:
    one, *others = heard(records)
    for _ in range(FAILURES_IN_ROW):
        assert not is_out(one)
        assert reports.take(one, "a", FAILURE) is ReportResult.ACCEPTED
    assert is_out(one)
    assert not any(map(is_out, others))
    assert reports.ejections == 1


def test_a_success_between_them_begins_the_count_anew(records: Records, reports: Reports) -> None:
    one = heard(records)[0]
    for outcome in (FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE):
        reports.take(one, "a", outcome)
    assert not is_out(one)


def test_one_reporter_alone_cannot_take_out_what_others_use_well(
    records: Records, reports: Reports
) -> None:
    one = heard(records)[0]
    reports.take(one, "b", SUCCESS)
    reports.take(one, "a", FAILURE, 1000)
    assert not is_out(one)
    reports.take(one, "c", FAILURE, 3)
    assert is_out(one), "two against one"


def test_one_failure_does_not_unsay_that_it_is_used_well(
    records: Records, reports: Reports, clock: FakeClock
) -> None:
    one = heard(records)[0]
    reports.take(one, "b", SUCCESS)
    live(records, clock, 1)
    reports.take(one, "b", FAILURE, 2)
    reports.take(one, "a", FAILURE, 3)
    assert (reports.opinions(one).bad, reports.opinions(one).good) == (1, 1)
    assert not is_out(one)
    live(records, clock, WINDOW_SECONDS - 1)
    assert reports.opinions(one).good == 0, "its success is long past, its failure is not"
    reports.take(one, "b", FAILURE)
    assert is_out(one)


def test_what_was_said_long_ago_does_not_count(
    records: Records, reports: Reports, clock: FakeClock
) -> None:
    one = heard(records)[0]
    reports.take(one, "b", SUCCESS)
    reports.take(one, "a", FAILURE, 2)
    live(records, clock, WINDOW_SECONDS)
    reports.take(one, "a", FAILURE, 2)
    assert not is_out(one), "its first failures are long past"
    reports.take(one, "a", FAILURE)
    assert is_out(one), "and so is what another used well"


def test_a_report_never_revives(records: Records, reports: Reports, clock: FakeClock) -> None:
    one = heard(records)[0]
    reports.take(one, "a", FAILURE, 3)
    for _ in range(60):
        live(records, clock, 1)
        reports.take(one, "a", SUCCESS)
        reports.take(one, "b", SUCCESS)
    assert is_out(one)
    live(records, clock, LONG)
    assert one.verdict.reason is Reason.HEARTBEAT_EXPIRED
    reports.take(one, "a", SUCCESS, 1000)
    assert one.verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_it_returns_by_a_beat_after_its_time(
    records: Records, reports: Reports, clock: FakeClock
) -> None:
    one = heard(records)[0]
    reports.take(one, "a", FAILURE, 3)
    for _ in range(30):
        assert is_out(one)
        live(records, clock, 1)
        records.beat(one)
    assert one.verdict.ready


def test_at_most_half_are_taken_out(records: Records, reports: Reports) -> None:
    many = heard(records, 5)
    for record in many:
        reports.take(record, "a", FAILURE, 100)
    assert sum(map(is_out, many)) == 2


@pytest.mark.parametrize(
    ("outcomes", "out"),
    [((FAILURE,) * 3, 2), ((TIMEOUT,) * 9, 1), ((TIMEOUT, FAILURE, FAILURE), 1)],
    ids=["dead", "busy", "busy, and some fail"],
)
def test_all_that_fail_outright_go_while_another_is_used_well(
    outcomes: tuple[CallOutcome, ...], out: int, records: Records, reports: Reports
) -> None:
    """As those do whose agents beat on, though the engine is gone."""
    *dead, living = many = heard(records, 3)
    for router in ("a", "b"):
        for record in dead:
            for outcome in outcomes:
                reports.take(living, router, SUCCESS)
                reports.take(record, router, outcome)
    assert sum(map(is_out, many)) == out
    assert living.verdict.ready


def test_the_last_that_is_used_well_stays_where_it_fails_then(
    records: Records, reports: Reports, clock: FakeClock
) -> None:
    one, other, last = many = heard(records, 3)
    reports.take(one, "a", FAILURE, 3)
    assert is_out(one)
    reports.take(last, "a", SUCCESS)
    live(records, clock, WINDOW_SECONDS)
    reports.take(other, "a", FAILURE, 3)
    assert not is_out(other), "nobody has used the last one well of late"
    reports.take(last, "a", SUCCESS)
    reports.take(last, "a", FAILURE, 3)
    reports.take(other, "a", FAILURE)
    assert not is_out(other), "the last one fails as well"
    assert sum(map(is_out, many)) == 1
    reports.take(last, "b", SUCCESS)
    records.set_drained(last, drained=True)
    reports.take(other, "a", FAILURE)
    assert not is_out(other), "the last one is out"
    records.set_drained(last, drained=False)
    reports.take(other, "a", FAILURE)
    assert is_out(other)


@pytest.mark.parametrize(("outcome", "out"), [(FAILURE, True), (TIMEOUT, False)])
def test_the_last_one_goes_for_failures_but_not_for_time_outs(
    outcome: CallOutcome, out: bool, records: Records, reports: Reports
) -> None:
    (one,) = heard(records, 1)
    reports.take(one, "a", outcome, 100)
    assert is_out(one) is out


@pytest.mark.parametrize(("outcome", "out"), [(FAILURE, 4), (TIMEOUT, 2)], ids=["dead", "busy"])
def test_who_is_silent_as_well_goes_for_failures_in_any_case(
    outcome: CallOutcome, out: int, records: Records, reports: Reports, clock: FakeClock
) -> None:
    records.guard.settings = GuardSettings()
    many = heard(records)
    live(records, clock, LONG)
    assert all(record.frozen for record in many)
    for record in many:
        reports.take(record, "a", outcome, 3)
    assert sum(map(is_out, many)) == out


def test_time_outs_count_where_others_are_left(records: Records, reports: Reports) -> None:
    one = heard(records)[0]
    reports.take(one, "a", TIMEOUT, 3)
    assert is_out(one)


def test_reports_on_an_earlier_incarnation_change_nothing(
    records: Records, reports: Reports
) -> None:
    one = heard(records)[0]
    early = one.id
    put(records, "vicuna-0", host="elsewhere", heartbeat_timeout=LONG)
    records.beat(one)
    assert reports.take(records.identified(early), "a", FAILURE, 100) is ReportResult.UNKNOWN
    assert one.verdict.ready
    assert reports.results[FAILURE, ReportResult.UNKNOWN] == 1


def test_what_was_said_of_an_earlier_incarnation_is_forgotten(
    records: Records, reports: Reports
) -> None:
    one = heard(records)[0]
    reports.take(one, "a", FAILURE, 2)
    put(records, "vicuna-0", host="elsewhere", heartbeat_timeout=LONG)
    records.beat(one)
    reports.take(one, "a", FAILURE)
    assert one.verdict.ready


def test_reporters_are_bounded(records: Records, reports: Reports) -> None:
    one = heard(records)[0]
    for index in range(MAX_REPORTERS * 3):
        reports.take(one, f"r{index}", SUCCESS)
    told = reports.opinions(one)
    assert (told.bad, told.good, told.refused) == (0, MAX_REPORTERS, False)


def test_nothing_is_left_of_records_that_are_gone(records: Records, reports: Reports) -> None:
    many = heard(records)
    for record in many:
        reports.take(record, "a", FAILURE, 3)
        reports.take(record, "a", SUCCESS)
    put(records, "vicuna-3", host="h3", model_name="alpaca", heartbeat_timeout=LONG)
    for record in many:
        records.remove(record.key)
    assert len(reports) == 0
