"""What there is to tell people: each change of phase or reason, and nothing after a restart."""

from __future__ import annotations

import pytest

from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.instance import NO_UID, Rotation
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.changes import Change, Changes
from unit.builders import TIMEOUT, key, live, observed, put, reported, spec, sync, watch
from unit.clock import FakeClock

HEARD = (Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED)
SILENT = (Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED)
NOT_REQUIRED = (Phase.HEALTHY, Reason.HEARTBEAT_NOT_REQUIRED)


class Ears:
    """Hears of changes."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.heard: list[Change] = []
        changes.on_change(self.heard.append)

    def look(self) -> list[tuple[Phase, Reason]]:
        """What is told now."""
        self.heard.clear()
        while self.changes.look():
            pass
        return [(change.phase, change.reason) for change in self.heard]


@pytest.fixture
def ears(mirror: Mirror) -> Ears:
    return Ears(Changes(mirror.records, mirror))


def test_each_change_is_told_once(ears: Ears, mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(), version=1)
    assert ears.look() == [], "the first Starting of a new one"
    mirror.changed(observed(version=2, heartbeat="1"), run=1)
    assert ears.look() == [HEARD]
    assert ears.look() == []
    mirror.changed(observed(version=3, heartbeat="2"), run=1)
    assert ears.look() == []
    watch(mirror, clock, TIMEOUT + 1)
    assert ears.look() == [SILENT]
    (change,) = ears.heard
    assert change.warning
    assert (change.key, change.uid, change.model) == (key(), "uid-of-vicuna-0", "vicuna")
    assert change.message == mirror.records.explain(mirror.records.get(key()))  # type: ignore[arg-type]
    disabled = spec(rotation=Rotation.DISABLED)
    mirror.changed(observed(version=4, heartbeat="2", spec=disabled), run=1)
    assert ears.look() == [(Phase.DISABLED, Reason.DISABLED)]
    assert not ears.heard[0].warning
    mirror.deleted(key(), "uid-of-vicuna-0", 5, run=1)
    assert ears.look() == []


def test_one_that_is_well_from_the_start_is_told(ears: Ears, mirror: Mirror) -> None:
    sync(mirror, observed(spec=spec(heartbeat_required=False)), version=1)
    assert ears.look() == [NOT_REQUIRED]


@pytest.mark.parametrize(
    ("phase", "reason", "fields"),
    [
        (*HEARD, {}),
        (*SILENT, {}),
        (Phase.STARTING, Reason.AWAITING_FIRST_HEARTBEAT, {}),
        (*NOT_REQUIRED, {"heartbeat_required": False}),
        (Phase.DISABLED, Reason.DISABLED, {"rotation": Rotation.DISABLED}),
    ],
    ids=["heard", "silent", "starting", "not-required", "disabled"],
)
def test_a_restart_tells_nothing(
    phase: Phase, reason: Reason, fields: dict[str, object], ears: Ears, mirror: Mirror
) -> None:
    shown = observed(spec=spec(**fields), reported=reported(phase, reason))  # type: ignore[arg-type]
    sync(mirror, shown, version=1)
    assert mirror.records.get(key()) is not None
    assert ears.look() == []


def test_a_conflict_that_is_taken_up_in_the_wrong_order_is_not_told(
    ears: Ears, mirror: Mirror
) -> None:
    """Before the holder is read the other one looks as if it were alone."""
    loser = observed(
        "a", 1, created=2.0,
        reported=reported(Phase.CONFLICTED, Reason.ADDRESS_CONFLICT, uid="uid-of-a"),
    )  # fmt: skip
    holder = observed("b", 2, created=1.0, reported=reported(*HEARD, uid="uid-of-b"))
    mirror.changed(loser, run=1, listed=True)
    assert ears.look() == [], "not before all were listed"
    sync(mirror, loser, holder, version=2)
    assert ears.look() == []


def test_what_changed_while_nobody_looked_is_told_after_a_restart(
    ears: Ears, mirror: Mirror
) -> None:
    shown = observed(spec=spec(rotation=Rotation.DRAINING), reported=reported(*HEARD))
    sync(mirror, shown, version=1)
    assert ears.look() == [(Phase.DRAINING, Reason.DRAINING)]


def test_another_object_of_that_name_begins_anew(ears: Ears, mirror: Mirror) -> None:
    sync(mirror, observed(reported=reported(*HEARD)), version=1)
    assert ears.look() == []
    sync(mirror, observed(version=2, uid="another", reported=reported(*HEARD)), version=2)
    assert ears.look() == [], "it is Starting, as every new one"
    mirror.changed(observed(version=3, uid="another", heartbeat="1"), run=1)
    assert ears.look() == [HEARD]


def test_what_was_not_written_yet_is_told_once_it_has_a_resource(
    ears: Ears, mirror: Mirror
) -> None:
    sync(mirror, version=1)
    record = put(mirror.records, uid=NO_UID)
    mirror.records.beat(record)
    assert ears.look() == []
    mirror.changed(observed(version=2), run=1)
    assert ears.look() == [HEARD]
    assert ears.heard[0].uid == "uid-of-vicuna-0"


def test_without_a_cluster_every_record_counts(records: Records, clock: FakeClock) -> None:
    ears = Ears(Changes(records))
    records.beat(put(records, uid=NO_UID))
    assert ears.look() == [HEARD]
    live(records, clock, TIMEOUT + 1)
    assert ears.look() == [SILENT]
    records.remove(key())
    records.beat(put(records, uid=NO_UID))
    assert ears.look() == [HEARD]


@pytest.mark.parametrize(
    ("act", "warning"),
    [("drain", False), ("deregister", False), ("delete", False), ("fail", True)],
)
def test_what_was_asked_for_is_no_warning(
    act: str, warning: bool, ears: Ears, mirror: Mirror
) -> None:
    sync(mirror, observed(heartbeat="1"), version=1)
    ears.look()
    records = mirror.records
    record = records.get(key())
    assert record is not None
    acts = {
        "drain": lambda: records.set_drained(record, drained=True),
        "deregister": lambda: records.set_deregistered(record, deregistered=True),
        "delete": lambda: mirror.changed(observed(version=2, heartbeat="1", deleting=True), run=1),
        "fail": lambda: records.beat(record, failure="HTTP 500"),
    }
    acts[act]()
    assert len(ears.look()) == 1
    assert ears.heard[0].warning is warning


def test_a_look_at_many_is_made_in_parts_and_nothing_stays_behind(records: Records) -> None:
    ears = Ears(Changes(records))
    for number in range(25):
        records.beat(put(records, f"i-{number}", host=f"10.0.0.{number}"))
    assert ears.changes.look(10)
    assert ears.changes.look(10)
    assert not ears.changes.look(10)
    assert [change.key.name for change in ears.heard] == [f"i-{number}" for number in range(25)]
    for number in range(25):
        records.remove(key(f"i-{number}"))
    assert not ears.changes._shown
    assert not ears.changes._marked
