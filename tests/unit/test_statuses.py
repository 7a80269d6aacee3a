from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from modelinstance.registry.health.observed import ConditionSeen, Reported
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.health.statuses import (
    Condition,
    ConditionType,
    StatusWrite,
    compose,
    is_current,
)
from modelinstance.registry.instance import Incarnation, Rotation
from modelinstance.registry.records.records import Records
from unit.builders import live, put, reported, spec, status_of
from unit.clock import START, FakeClock

HEALTHY = reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED)


@pytest.fixture
def record(records: Records) -> Record:
    """A healthy record, ready since the start."""
    record = put(records)
    records.beat(record)
    return record


@pytest.mark.parametrize(
    ("status", "current"),
    [
        (HEALTHY, True),
        (None, False),
        (replace(HEALTHY, phase="Unhealthy"), False),
        (replace(HEALTHY, reason="SetByCaller"), False),
        (replace(HEALTHY, generation=2), False),
        (replace(HEALTHY, incarnation=None), False),
        (replace(HEALTHY, incarnation=Incarnation("another", spec().address)), False),
        (replace(HEALTHY, last_beat=START, conditions={}), True),
    ],
)
def test_a_status_is_due_when_phase_reason_generation_or_incarnation_differ(
    record: Record, status: Reported | None, current: bool
) -> None:
    assert is_current(record, 1, status) is current


def composed(
    record: Record, version: int, generation: int, reported: Reported | None, now: datetime
) -> StatusWrite:
    return compose(
        record,
        message=record.verdict.message,
        version=version,
        generation=generation,
        reported=reported,
        now=now,
    )


def test_a_status_says_all_that_was_decided(record: Record) -> None:
    write = composed(record, 7, 3, None, START + timedelta(seconds=9))
    assert (write.key, write.version, write.generation) == (record.key, 7, 3)
    assert write.incarnation == record.incarnation
    assert (write.phase, write.url) == (Phase.HEALTHY, "http://10.0.0.5:8000")
    assert write.last_beat == START
    assert write.conditions == (
        Condition(
            ConditionType.READY, True, Reason.HEARTBEAT_RECEIVED, record.verdict.message, START
        ),
    )


def test_a_transition_time_stays_while_its_status_stays(record: Record) -> None:
    long_ago = START - timedelta(days=3)
    status = replace(HEALTHY, conditions={"Ready": ConditionSeen(True, long_ago)})
    assert composed(record, 7, 2, status, START).conditions[0].since == long_ago


def test_a_transition_time_is_that_of_the_change_and_not_of_the_write(
    records: Records, clock: FakeClock, record: Record
) -> None:
    status = replace(HEALTHY, conditions={"Ready": ConditionSeen(True, START)})
    live(records, clock, 10.0)
    changed = clock.wall()
    live(records, clock, 5.0)
    condition = composed(record, 7, 2, status, clock.wall()).conditions[0]
    assert (condition.status, condition.since) == (False, changed)


@pytest.mark.parametrize(
    ("rotation", "types"),
    [
        (Rotation.ACTIVE, ["Ready"]),
        (Rotation.DRAINING, ["Ready", "Draining"]),
        (Rotation.DISABLED, ["Ready"]),
    ],
)
def test_draining_is_a_condition_of_its_own(
    records: Records, record: Record, rotation: Rotation, types: list[str]
) -> None:
    put(records, rotation=rotation)
    conditions = composed(record, 7, 2, HEALTHY, START).conditions
    assert [condition.type.value for condition in conditions] == types
    assert conditions[0].status is (rotation is Rotation.ACTIVE)
    assert all(condition.status for condition in conditions[1:])


def test_a_conflict_is_a_condition_of_its_own(records: Records, record: Record) -> None:
    loser = put(records, "late", created=1.0)
    later = START + timedelta(seconds=4)
    ready, conflicted = composed(loser, 7, 1, None, later).conditions
    assert (ready.type, ready.status) == (ConditionType.READY, False)
    assert (conflicted.type, conflicted.status) == (ConditionType.CONFLICTED, True)
    assert conflicted.reason is Reason.ADDRESS_CONFLICT
    assert conflicted.since == later
    seen = reported(
        Phase.CONFLICTED,
        Reason.ADDRESS_CONFLICT,
        conditions={"Conflicted": ConditionSeen(True, START)},
    )
    assert composed(loser, 8, 2, seen, later).conditions[1].since == START


GOODBYE = ConditionSeen(True, START, "Deregistered")
DRAIN = ConditionSeen(True, START, "DrainRequested")
OWN_DRAIN = ConditionSeen(True, START, "Draining")

STANDING = {
    Rotation.DISABLED: reported(Phase.DISABLED, Reason.DISABLED),
    Rotation.DRAINING: reported(
        Phase.DRAINING, Reason.DRAINING, conditions={"Draining": OWN_DRAIN}
    ),
}
"""The status of who was taken out of rotation, whatever is said over HTTP."""


@pytest.mark.parametrize("rotation", STANDING)
@pytest.mark.parametrize("said", ["drain", "deregister"])
def test_a_status_is_due_when_what_was_said_changes_no_phase(
    records: Records, record: Record, rotation: Rotation, said: str
) -> None:
    put(records, rotation=rotation)
    status = STANDING[rotation]
    assert is_current(record, 1, status)
    if said == "drain":
        records.set_drained(record, drained=True)
        noted = replace(status, conditions={"Draining": DRAIN})
    else:
        records.set_deregistered(record, deregistered=True)
        noted = replace(status, conditions={**status.conditions, "Deregistered": GOODBYE})
    assert not is_current(record, 1, status)
    assert is_current(record, 1, noted)
    records.set_drained(record, drained=False)
    records.set_deregistered(record, deregistered=False)
    assert is_current(record, 1, status)
    assert not is_current(record, 1, noted)


def test_a_goodbye_and_a_drain_do_not_stand_for_one_another(
    records: Records, record: Record
) -> None:
    records.set_deregistered(record, deregistered=True)
    status = reported(Phase.UNHEALTHY, Reason.DEREGISTERED, conditions={"Deregistered": GOODBYE})
    assert is_current(record, 1, status)
    both = replace(status, conditions={"Deregistered": GOODBYE, "Draining": DRAIN})
    assert not is_current(record, 1, both)
    records.set_drained(record, drained=True)
    assert not is_current(record, 1, status)
    assert is_current(record, 1, both)


def test_a_condition_that_is_false_says_nothing(records: Records, record: Record) -> None:
    records.set_deregistered(record, deregistered=True)
    ended = {"Deregistered": replace(GOODBYE, status=False)}
    status = reported(Phase.UNHEALTHY, Reason.DEREGISTERED, conditions=ended)
    assert not is_current(record, 1, status)


@pytest.mark.parametrize(
    ("rotation", "deregistered", "drained", "conditions"),
    [
        (Rotation.ACTIVE, False, True, [("Draining", "DrainRequested")]),
        (Rotation.ACTIVE, True, False, [("Deregistered", "Deregistered")]),
        (
            Rotation.ACTIVE, True, True,
            [("Draining", "DrainRequested"), ("Deregistered", "Deregistered")],
        ),
        (Rotation.DISABLED, False, True, [("Draining", "DrainRequested")]),
        (Rotation.DISABLED, True, False, [("Deregistered", "Deregistered")]),
        (Rotation.DRAINING, False, True, [("Draining", "DrainRequested")]),
        (
            Rotation.DRAINING, True, False,
            [("Draining", "Draining"), ("Deregistered", "Deregistered")],
        ),
    ],
)  # fmt: skip
def test_what_was_said_over_http_is_a_condition_whatever_the_phase(
    records: Records,
    record: Record,
    rotation: Rotation,
    deregistered: bool,
    drained: bool,
    conditions: list[tuple[str, str]],
) -> None:
    put(records, rotation=rotation)
    records.set_deregistered(record, deregistered=deregistered)
    records.set_drained(record, drained=drained)
    ready, *others = composed(record, 7, 1, None, START).conditions
    assert (ready.type, ready.reason) == (ConditionType.READY, record.verdict.reason)
    assert [(each.type.value, each.reason.value) for each in others] == conditions
    assert all(each.status and each.message for each in others)


def test_what_was_said_keeps_its_time_and_gets_one_when_it_is_new(
    records: Records, record: Record
) -> None:
    records.set_drained(record, drained=True)
    records.set_deregistered(record, deregistered=True)
    later = START + timedelta(seconds=9)
    status = replace(HEALTHY, conditions={"Deregistered": GOODBYE})
    _, drain, goodbye = composed(record, 7, 2, status, later).conditions
    assert (drain.since, goodbye.since) == (later, START)


def test_what_is_written_is_current_once_it_is_there(records: Records, record: Record) -> None:
    for deregistered, drained in [(True, False), (True, True), (False, True), (False, False)]:
        records.set_deregistered(record, deregistered=deregistered)
        records.set_drained(record, drained=drained)
        write = composed(record, 7, 1, None, START)
        assert is_current(record, 1, status_of(write))
