"""Who is asked when, and what the answers amount to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import ProbeSpec, Rotation
from modelinstance.registry.intake.probing import (
    JITTER,
    MAX_AT_ONCE,
    MAX_DOUBTFUL_AT_ONCE,
    Ask,
    ProbeOutcome,
    ProbeResult,
    ProbeSchedule,
)
from modelinstance.registry.records.records import Records
from unit.builders import key, spec
from unit.clock import FakeClock
from unit.costs import calls_of

PROBE = ProbeSpec("/health", period=10, timeout=2, success_threshold=1, failure_threshold=3)
GOOD = ProbeResult(ProbeOutcome.SUCCESS)
BAD = ProbeResult(ProbeOutcome.FAILURE, "GET http://10.0.0.5:8000/health: HTTP 503")
FORBIDDEN = ProbeResult(ProbeOutcome.FORBIDDEN, "it is the API server")


@pytest.fixture
def schedule(records: Records) -> ProbeSchedule:
    return ProbeSchedule(records)


def put(
    records: Records,
    name: str = "a",
    *,
    probe: ProbeSpec | None = PROBE,
    uid: str = "",
    deleting: bool = False,
    **fields: Any,
) -> Record:
    """An instance that is asked, and needs no heartbeats."""
    number = sum(map(ord, name))
    asked = spec(port=1000 + number, heartbeat_required=False, **fields)
    return records.put(
        key(name), uid or f"uid-of-{name}", replace(asked, probe=probe), created=0.0,
        deleting=deleting,
    )  # fmt: skip


def take(schedule: ProbeSchedule, clock: FakeClock, within: float = 1.0) -> list[Ask]:
    """Who comes due within so many seconds."""
    clock.advance(within)
    return schedule.take()


def one(schedule: ProbeSchedule, clock: FakeClock, within: float = 1.0) -> Ask:
    """The one that comes due."""
    (ask,) = take(schedule, clock, within)
    return ask


def answer(
    schedule: ProbeSchedule, clock: FakeClock, result: ProbeResult | None, times: int = 1
) -> None:
    """The only instance is asked so often and answers thus."""
    for _ in range(times):
        schedule.settle(one(schedule, clock, PROBE.period * (1 + JITTER)), result)


def reason(record: Record) -> Reason:
    return record.verdict.reason


# -- whom, where and when ------------------------------------------------------------------------


def test_only_those_that_ask_for_it_are_asked(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records, "silent", probe=None)
    assert schedule.until_next() is None
    put(records, "asked")
    assert [ask.key.name for ask in take(schedule, clock)] == ["asked"]


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "http://10.0.0.5:1097/health"),
        ({"base_path": "/v1"}, "http://10.0.0.5:1097/health"),
        ({"scheme": "https"}, "https://10.0.0.5:1097/health"),
        ({"host": "fd00::5"}, "http://[fd00::5]:1097/health"),
        ({"probe": replace(PROBE, path="/v1/models?a=b")}, "http://10.0.0.5:1097/v1/models?a=b"),
    ],
)
def test_the_path_is_from_the_root_of_the_server(
    fields: dict[str, Any], url: str, records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records, **fields)
    ask = one(schedule, clock)
    assert (ask.url, ask.timeout) == (url, 2)


@pytest.mark.parametrize("period", [1, 10, 3600])
def test_what_is_not_known_is_asked_within_a_second(
    period: int, records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    for number in range(50):
        put(records, f"a{number}", probe=replace(PROBE, period=period))
    until = schedule.until_next()
    assert until is not None
    assert 0 <= until < 0.2
    assert len(take(schedule, clock, 0.5)) in range(10, 40), "spread"
    assert len(take(schedule, clock, 0.5)) in range(10, 40)


def test_the_next_time_is_a_period_after_the_last_give_or_take_a_tenth(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records)
    seen = []
    for _ in range(50):
        ask = one(schedule, clock, schedule.until_next() or 0)
        seen.append(ask.began)
        clock.advance(1.5)
        schedule.settle(ask, GOOD)
        assert not schedule.take()
    gaps = [later - earlier for earlier, later in pairwise(seen)]
    assert all(9 - 1e-6 <= gap <= 11 + 1e-6 for gap in gaps)
    assert max(gaps) - min(gaps) > 1, "at random"


def test_an_answer_that_takes_longer_than_the_period_is_followed_at_once(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records, probe=replace(PROBE, period=1, timeout=60))
    ask = one(schedule, clock)
    assert not take(schedule, clock, 59), "never two at a time"
    schedule.settle(ask, BAD)
    assert schedule.until_next() == 0
    assert len(schedule.take()) == 1


def test_news_are_told_when_somebody_may_be_due(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    told: list[float | None] = []
    schedule.on_news(lambda: told.append(schedule.until_next()))
    put(records, "silent", probe=None)
    assert not told
    put(records)
    assert len(told) == 1
    assert told[0] is not None
    schedule.settle(one(schedule, clock), GOOD)
    assert len(told) == 2


# -- what the answers amount to ------------------------------------------------------------------


def test_successes_and_failures_in_a_row_turn_the_verdict(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records, probe=replace(PROBE, success_threshold=2))
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    answer(schedule, clock, GOOD)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    answer(schedule, clock, BAD)
    answer(schedule, clock, GOOD)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE, "not in a row"
    answer(schedule, clock, GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    for _ in range(3):
        answer(schedule, clock, BAD, times=2)
        answer(schedule, clock, GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    answer(schedule, clock, BAD, times=3)
    assert reason(record) is Reason.PROBE_FAILED
    assert BAD.message in records.explain(record)
    answer(schedule, clock, GOOD)
    assert reason(record) is Reason.PROBE_FAILED
    answer(schedule, clock, GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED


def test_what_never_succeeded_fails_after_as_many_failures(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, BAD, times=2)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    assert BAD.message in records.explain(record), "what came so far is told"
    answer(schedule, clock, BAD)
    assert reason(record) is Reason.PROBE_FAILED


def test_while_it_passes_nothing_moves(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records)
    answer(schedule, clock, GOOD)
    revision = records.revision
    answer(schedule, clock, GOOD, times=5)
    answer(schedule, clock, BAD, times=2)
    answer(schedule, clock, GOOD)
    assert records.revision == revision


def test_while_it_fails_only_what_came_last_is_told(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, BAD, times=3)
    revision = records.revision
    answer(schedule, clock, BAD, times=3)
    assert records.revision == revision
    answer(schedule, clock, ProbeResult(ProbeOutcome.FAILURE, "no answer within 2 s"))
    assert "no answer within 2 s" in records.explain(record)
    assert reason(record) is Reason.PROBE_FAILED


def test_a_closed_address_fails_at_once_where_nothing_is_known(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, FORBIDDEN)
    assert reason(record) is Reason.PROBE_FAILED
    assert FORBIDDEN.message in records.explain(record)


def test_a_closed_address_is_a_failure_like_others_where_it_passed(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, GOOD)
    answer(schedule, clock, FORBIDDEN, times=2)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    answer(schedule, clock, FORBIDDEN)
    assert reason(record) is Reason.PROBE_FAILED


# -- our own lateness ----------------------------------------------------------------------------


def test_what_is_not_known_is_nobodys_failure_and_asked_again_soon(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records, probe=replace(PROBE, failure_threshold=1))
    answer(schedule, clock, GOOD)
    for _ in range(10):
        answer(schedule, clock, None)
        assert 0 < (schedule.until_next() or 0) <= 1
    assert reason(record) is Reason.PROBE_SUCCEEDED


def test_a_loop_that_is_an_hour_late_asks_once_and_blames_nobody(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, GOOD)
    clock.advance(3600)
    schedule.settle(one(schedule, clock), BAD)
    assert not schedule.take()
    assert reason(record) is Reason.PROBE_SUCCEEDED


# -- how many at a time --------------------------------------------------------------------------


def many(records: Records, number: int, prefix: str) -> None:
    for index in range(number):
        records.put(
            key(f"{prefix}{index}"), f"{prefix}{index}",
            replace(spec(host=f"{prefix}{index}", heartbeat_required=False), probe=PROBE),
            created=0.0,
        )  # fmt: skip


def test_no_more_are_asked_at_a_time_than_the_bound_and_all_in_turn(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    many(records, 3 * MAX_AT_ONCE, "a")
    asked, running = set(), take(schedule, clock)
    while running:
        assert len(running) <= MAX_DOUBTFUL_AT_ONCE, "nothing is known of them"
        assert not schedule.take()
        asked |= {ask.key for ask in running}
        for ask in running:
            schedule.settle(ask, GOOD)
        running = schedule.take()
    assert len(asked) == 3 * MAX_AT_ONCE
    clock.advance(PROBE.period * 1.1)
    assert len(schedule.take()) == MAX_AT_ONCE, "now they are known to answer"


def test_they_may_be_taken_by_parts(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    many(records, MAX_AT_ONCE, "a")
    clock.advance(1)
    taken = []
    for _ in range(MAX_DOUBTFUL_AT_ONCE // 8):
        assert schedule.until_next() == 0
        taken += schedule.take(8)
    assert len({ask.key for ask in taken}) == MAX_DOUBTFUL_AT_ONCE
    assert schedule.until_next() is None
    schedule.settle(taken[0], GOOD)
    assert schedule.until_next() == 0


def test_those_that_fail_do_not_hold_up_those_that_answer(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    many(records, 10, "good")
    for ask in take(schedule, clock):
        schedule.settle(ask, GOOD)
    many(records, 5 * MAX_AT_ONCE, "down")
    hanging = take(schedule, clock, PROBE.period * 1.1)
    names = [ask.key.name for ask in hanging]
    assert len([name for name in names if name.startswith("down")]) == MAX_DOUBTFUL_AT_ONCE
    assert len([name for name in names if name.startswith("good")]) == 10
    for ask in hanging:
        if ask.key.name.startswith("good"):
            schedule.settle(ask, GOOD)
    again = take(schedule, clock, PROBE.period * 1.1)
    assert [ask.key.name[:4] for ask in again] == ["good"] * 10


def test_what_is_asked_costs_what_is_due_not_what_is_there(
    records: Records, clock: FakeClock
) -> None:
    costs = []
    for number in (10, 5000):
        fresh = Records(10.0, clock=clock, random=Random(1))
        schedule = ProbeSchedule(fresh)
        record = put(fresh, "due")
        schedule.settle(one(schedule, clock), GOOD)
        many(fresh, number, "later")
        for probed in schedule._probed.values():
            if probed.record is not record:
                schedule._timeline.schedule(probed, schedule._timeline.now + 1000)
        schedule.take()  # puts back the entries of those that were rescheduled
        clock.advance(PROBE.period * 1.1)
        costs.append(calls_of(schedule.take))
    assert costs[1] < costs[0] * 1.5


# -- edits, ends and returns ---------------------------------------------------------------------


def test_an_edit_of_the_probe_keeps_the_verdict_and_is_tried_at_once(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, GOOD)
    answer(schedule, clock, BAD, times=2)
    put(records, probe=replace(PROBE, path="/other"))
    assert reason(record) is Reason.PROBE_SUCCEEDED
    ask = one(schedule, clock)
    assert ask.url.endswith("/other")
    schedule.settle(ask, BAD)
    assert reason(record) is Reason.PROBE_SUCCEEDED, "it is counted from the edit"


def test_an_answer_to_what_was_asked_before_an_edit_does_not_count(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records, probe=replace(PROBE, failure_threshold=1))
    old = one(schedule, clock)
    put(records, probe=replace(PROBE, failure_threshold=1, path="/other"))
    assert schedule.withdrawn() == [old]
    assert not schedule.withdrawn()
    assert not take(schedule, clock), "never two at a time"
    schedule.settle(old, GOOD)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    new = one(schedule, clock, 0)
    assert new.url.endswith("/other")
    schedule.settle(new, GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED


def test_an_edit_of_something_else_changes_nothing(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    ask = one(schedule, clock)
    put(records, weight=2.0, base_path="/v1")
    assert not schedule.withdrawn()
    schedule.settle(ask, GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    assert not take(schedule, clock)


@pytest.mark.parametrize("change", [{"host": "10.0.0.9"}, {"uid": "another"}])
def test_a_new_incarnation_has_to_answer_for_itself(
    change: dict[str, Any], records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records)
    answer(schedule, clock, GOOD)
    old = one(schedule, clock, PROBE.period * 1.1)
    record = put(records, **change)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    assert not take(schedule, clock), "never two at a time"
    schedule.settle(old, GOOD)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    schedule.settle(one(schedule, clock, 0), GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED


def test_what_is_gone_is_not_asked_and_its_answer_is_dropped(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    put(records)
    ask = one(schedule, clock)
    records.remove(key("a"))
    assert schedule.withdrawn() == [ask]
    schedule.settle(ask, GOOD)
    assert len(schedule) == 0
    assert schedule.until_next() is None
    assert not take(schedule, clock, 100)


def test_what_went_while_it_waited_for_its_turn_is_not_asked(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    many(records, MAX_DOUBTFUL_AT_ONCE, "a")
    running = take(schedule, clock)
    put(records, "late")
    assert not take(schedule, clock)
    records.remove(key("late"))
    for ask in running:
        schedule.settle(ask, GOOD)
    assert not schedule.take()


Leave = Callable[[Records, Record, bool], None]


def disable(records: Records, record: Record, off: bool) -> None:
    put(records, rotation=Rotation.DISABLED if off else Rotation.ACTIVE)


def delete(records: Records, record: Record, off: bool) -> None:
    put(records, deleting=off)


def deregister(records: Records, record: Record, off: bool) -> None:
    records.set_deregistered(record, deregistered=off)


@pytest.mark.parametrize("leave", [disable, delete, deregister])
def test_what_is_not_to_be_called_is_not_asked_and_answers_anew_when_it_returns(
    leave: Leave, records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, GOOD)
    leave(records, record, True)
    assert not take(schedule, clock, 100)
    leave(records, record, False)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    schedule.settle(one(schedule, clock), GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED


def test_what_drains_is_asked_and_returns_at_once(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, GOOD)
    put(records, rotation=Rotation.DRAINING)
    answer(schedule, clock, GOOD)
    put(records)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    records.set_drained(record, drained=True)
    answer(schedule, clock, BAD, times=3)
    records.set_drained(record, drained=False)
    assert reason(record) is Reason.PROBE_FAILED


def test_a_probe_that_is_taken_out_and_put_back_begins_anew(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    answer(schedule, clock, BAD, times=3)
    put(records, probe=None)
    assert reason(record) is Reason.HEARTBEAT_NOT_REQUIRED
    assert not take(schedule, clock, 100)
    put(records)
    schedule.settle(one(schedule, clock), GOOD)
    assert reason(record) is Reason.PROBE_SUCCEEDED


# -- a restart -----------------------------------------------------------------------------------


def resume(records: Records, record: Record, *, passing: bool | None) -> None:
    records.resume(record, Past(Life.UNHEARD, probe_passing=passing), records.local)


@pytest.mark.parametrize("passing", [True, False])
def test_what_was_known_before_a_restart_is_asked_within_a_period(
    passing: bool, records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    for number in range(50):
        resume(records, put(records, f"a{number}"), passing=passing)
    revision = records.revision
    assert len(take(schedule, clock, 1)) < 25
    assert records.revision == revision
    assert len(take(schedule, clock, 4)) in range(5, 40)
    assert len(take(schedule, clock, 5)) in range(5, 40)


def test_a_restart_is_no_gap_and_an_answer_is_needed_to_end_it(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records)
    resume(records, record, passing=True)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    answer(schedule, clock, BAD, times=2)
    assert reason(record) is Reason.PROBE_SUCCEEDED
    answer(schedule, clock, BAD)
    assert reason(record) is Reason.PROBE_FAILED


def test_what_was_disabled_before_a_restart_answers_anew(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    """Its status says nothing of the probe, which is taken for no obstacle at first."""
    record = put(records, rotation=Rotation.DISABLED)
    resume(records, record, passing=True)
    assert not take(schedule, clock)
    put(records)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE


def test_a_probe_that_comes_after_a_restart_begins_at_nothing(
    records: Records, schedule: ProbeSchedule, clock: FakeClock
) -> None:
    record = put(records, probe=None)
    resume(records, record, passing=True)
    put(records)
    assert [ask.key for ask in take(schedule, clock)] == [record.key]
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
