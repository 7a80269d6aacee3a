"""What a worker says of its load, and which picks that takes off."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.load import Load
from modelinstance.registry.records.records import Records
from modelinstance.registry.records.selection import LOAD_LASTS_SECONDS, Policy, Wish
from unit.builders import TIMEOUT, live, put
from unit.clock import FakeClock

ALIASES = frozenset({"chat", "code"})
LEAST_LOADED = Wish(Policy.LEAST_LOADED)
FIRST, SECOND = "first", "second"


@pytest.fixture
def records(clock: FakeClock) -> Records:
    """Two healthy instances of one model with two aliases, which need no heartbeats."""
    records = Records(TIMEOUT, clock=clock, random=Random(1))
    for port, name in enumerate((FIRST, SECOND), start=1):
        put(records, name, port=port, aliases=ALIASES, heartbeat_required=False)
    return records


def record_of(records: Records, name: str) -> Record:
    return next(record for record in records if record.key.name == name)


def picks(
    records: Records, count: int, model: str = "vicuna", wish: Wish = LEAST_LOADED
) -> Counter[str]:
    return Counter(records.select(model, wish).key.name for _ in range(count))


def report(records: Records, first: float | None, second: float | None) -> None:
    for name, running in ((FIRST, first), (SECOND, second)):
        if running is not None:
            records.set_load(record_of(records, name), Load(running=running))


@pytest.mark.parametrize(
    ("load", "requests"),
    [
        (Load(), 0),
        (Load(running=2), 2),
        (Load(waiting=3), 3),
        (Load(running=2, waiting=3, kv_cache=0.5, extra={"gpu": 9}), 5),
    ],
)
def test_the_requests_that_are_there_run_or_wait(load: Load, requests: float) -> None:
    assert load.requests == requests


def test_the_less_loaded_is_picked_until_the_load_is_even(records: Records) -> None:
    report(records, 10, 0)
    assert picks(records, 10) == {SECOND: 10}
    assert picks(records, 20) == {FIRST: 10, SECOND: 10}


@pytest.mark.parametrize("model", ["vicuna", *ALIASES])
def test_a_report_takes_off_the_picks_by_every_name(records: Records, model: str) -> None:
    report(records, 0, 0)
    picks(records, 20, model)
    report(records, 15, None)
    assert picks(records, 5, model) == {SECOND: 5}
    report(records, None, 0)
    assert picks(records, 15, model) == {SECOND: 15}


@pytest.mark.parametrize("policy", [Policy.LEAST_LOADED, Policy.STICKY])
def test_what_was_sent_since_the_report_counts_whatever_policy_sent_it(
    records: Records, policy: Policy
) -> None:
    report(records, 0, 0)
    only_first = Wish(policy, key="session", admits=lambda record: record.key.name == FIRST)
    assert picks(records, 8, wish=only_first) == {FIRST: 8}
    assert picks(records, 8) == {SECOND: 8}


def test_a_report_holds_for_as_long_as_it_says(records: Records, clock: FakeClock) -> None:
    report(records, 50, 0)
    live(records, clock, LOAD_LASTS_SECONDS)
    assert picks(records, 5) == {SECOND: 5}


def test_a_stale_report_counts_no_more(records: Records, clock: FakeClock) -> None:
    report(records, 50, 0)
    live(records, clock, LOAD_LASTS_SECONDS + 1)
    assert picks(records, 40) == {FIRST: 20, SECOND: 20}


def test_the_age_of_a_report_is_attended_time(records: Records, clock: FakeClock) -> None:
    report(records, 50, 0)
    clock.advance(100 * LOAD_LASTS_SECONDS)
    assert picks(records, 5) == {SECOND: 5}


def test_a_report_is_as_old_as_the_moment_at_which_it_came(
    records: Records, clock: FakeClock
) -> None:
    live(records, clock, LOAD_LASTS_SECONDS)
    clock.advance(0.5)
    report(records, 50, 0)
    assert record_of(records, FIRST).loaded_at == LOAD_LASTS_SECONDS + 0.5
    live(records, clock, LOAD_LASTS_SECONDS)
    assert picks(records, 5) == {SECOND: 5}


def test_a_new_report_after_a_stale_one_counts(records: Records, clock: FakeClock) -> None:
    report(records, 50, 0)
    live(records, clock, 2 * LOAD_LASTS_SECONDS)
    report(records, 0, 50)
    assert picks(records, 5) == {FIRST: 5}


@pytest.mark.parametrize("change", ["port", "host", "model"])
def test_a_load_is_forgotten_when_the_address_moves(records: Records, change: str) -> None:
    record = record_of(records, FIRST)
    report(records, 50, 0)
    match change:
        case "port":
            put(records, FIRST, port=9000, aliases=ALIASES)
        case "host":
            put(records, FIRST, port=1, host="10.0.0.6", aliases=ALIASES)
        case _:
            put(records, FIRST, port=1, model_name="llama", aliases=ALIASES)
    assert record.load is None


def test_a_new_uid_has_no_load(records: Records) -> None:
    report(records, 50, 0)
    assert put(records, FIRST, uid="another", port=1, aliases=ALIASES).load is None


def test_a_load_stays_when_anything_else_changes(records: Records) -> None:
    report(records, 50, 0)
    put(records, FIRST, port=1, aliases=frozenset(), weight=2.0, heartbeat_required=False)
    assert record_of(records, FIRST).load == Load(running=50)


def test_a_report_by_a_beat_is_one(records: Records) -> None:
    workers = Workers(records)
    workers.beat(record_of(records, FIRST).id, Load(running=20))
    workers.beat(record_of(records, SECOND).id, Load(running=1))
    assert picks(records, 15) == {SECOND: 15}


def test_a_report_is_no_sign_of_life_by_itself(records: Records) -> None:
    record = put(records, "third", port=3)
    before = record.verdict, records.revision
    records.set_load(record, Load(running=1))
    assert (record.verdict, records.revision) == before
