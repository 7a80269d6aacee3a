"""What events make of the records, and which statuses follow from that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.observed import ConditionSeen, Observed, Reported
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.instance import Address, InstanceSpec, ProbeSpec, Rotation
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.intake.podspecs import instance_of
from modelinstance.registry.mirror.beats import MAX_BYTES, REMEMBERED, Beat
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from unit import pods
from unit.builders import (
    TIMEOUT,
    accept,
    key,
    lose_sight,
    observed,
    phase_of,
    protect,
    reported,
    spec,
    status_of,
    sync,
    watch,
)
from unit.clock import START, FakeClock

RUN = 1
LOSER = "vicuna-1"


@pytest.fixture
def mirror(records: Records) -> Mirror:
    """A mirror that has seen an empty cluster at version 0, with a watch running."""
    mirror = Mirror(records)
    sync(mirror, version=0)
    mirror.watch_started(RUN)
    return mirror


def show(mirror: Mirror, shown: Observed, *, heartbeat: str | None = None) -> Observed:
    """Let the watch show an object, with that heartbeat if one is given."""
    if heartbeat is not None:
        shown = replace(shown, heartbeat=heartbeat)
    mirror.changed(shown, run=RUN)
    return shown


def accepted(mirror: Mirror) -> int:
    return mirror.beats[Beat.ACCEPTED]


# -- beats by annotation -------------------------------------------------------------------------


def test_an_object_without_heartbeat_starts(mirror: Mirror) -> None:
    show(mirror, observed())
    assert phase_of(mirror) is Phase.STARTING


def test_a_heartbeat_that_server_side_apply_creates_with_counts_once(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1"))
    assert phase_of(mirror) is Phase.HEALTHY
    show(mirror, observed(version=2, heartbeat="t1", spec=spec(weight=2.0)))
    assert accepted(mirror) == 1


def test_a_heartbeat_in_an_applied_manifest_does_not_count_at_creation(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1", heartbeat_applied="t1"))
    assert phase_of(mirror) is Phase.STARTING
    assert mirror.beats == {Beat.APPLIED: 1}


def test_a_heartbeat_other_than_the_applied_one_counts(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t2", heartbeat_applied="t1"))
    assert phase_of(mirror) is Phase.HEALTHY


def test_each_new_value_counts(mirror: Mirror, clock: FakeClock) -> None:
    for version in range(1, 6):
        show(mirror, observed(version=version, heartbeat=f"t{version}"))
        watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY
    assert accepted(mirror) == 5


@pytest.mark.parametrize("back", [1, 2, REMEMBERED - 1])
def test_applying_an_older_value_again_never_revives(
    mirror: Mirror, clock: FakeClock, back: int
) -> None:
    newest = 2 * REMEMBERED
    for version in range(1, newest + 1):
        show(mirror, observed(version=version, heartbeat=f"t{version}"))
    watch(mirror, clock, TIMEOUT)
    assert phase_of(mirror) is Phase.UNHEALTHY
    again = f"t{newest - back}"
    show(mirror, observed(version=newest + 1, heartbeat=again, heartbeat_applied=again))
    show(mirror, observed(version=newest + 2, heartbeat=f"t{newest}", heartbeat_applied=again))
    show(mirror, observed(version=newest + 3, heartbeat="t1", heartbeat_applied="t1"))
    assert phase_of(mirror) is Phase.UNHEALTHY


@pytest.mark.parametrize(
    ("value", "beat"),
    [
        ("", Beat.EMPTY),
        ("   ", Beat.EMPTY),
        (None, Beat.REMOVED),
        ("x" * (MAX_BYTES + 1), Beat.OVERSIZED),
        ("é" * (MAX_BYTES // 2 + 1), Beat.OVERSIZED),
    ],
)
def test_what_is_no_beat_is_counted(
    mirror: Mirror, clock: FakeClock, value: str | None, beat: Beat
) -> None:
    show(mirror, observed(heartbeat="t1"))
    watch(mirror, clock, TIMEOUT - 1)
    show(mirror, observed(version=2, heartbeat=value))
    assert mirror.beats == {Beat.ACCEPTED: 1, beat: 1}
    watch(mirror, clock, 1.0)
    assert phase_of(mirror) is Phase.UNHEALTHY


def test_a_heartbeat_of_just_the_allowed_length_counts(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="x" * MAX_BYTES))
    assert phase_of(mirror) is Phase.HEALTHY


def test_an_event_that_is_older_than_what_is_known_changes_nothing(mirror: Mirror) -> None:
    show(mirror, observed(version=5, heartbeat="t1", spec=spec(weight=5.0)))
    show(mirror, observed(version=4, heartbeat="t0", spec=spec(weight=4.0)))
    show(mirror, observed(version=5, heartbeat="t9", spec=spec(weight=9.0)))
    record = mirror.records.get(key())
    assert record is not None
    assert record.spec.weight == 5.0
    assert accepted(mirror) == 1


# -- incarnations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moved", [spec(host="10.0.0.6"), spec(port=9000), spec(model_name="llama")]
)
def test_an_edited_address_must_report_for_itself(mirror: Mirror, moved: InstanceSpec) -> None:
    show(mirror, observed(heartbeat="t1"))
    edited = replace(observed(version=2, heartbeat="t1"), spec=moved, generation=2)
    show(mirror, edited)
    assert phase_of(mirror) is Phase.STARTING
    show(mirror, replace(edited, version=3), heartbeat="t2")
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_beat_in_the_same_event_as_the_move_does_not_count(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1"))
    moved = show(mirror, observed(version=2, heartbeat="t2", spec=spec(host="10.0.0.6")))
    assert phase_of(mirror) is Phase.STARTING
    show(mirror, replace(moved, version=3))
    assert phase_of(mirror) is Phase.STARTING
    show(mirror, replace(moved, version=4), heartbeat="t3")
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_new_uid_must_report_for_itself(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1"))
    show(mirror, observed(version=2, uid="another"))
    assert phase_of(mirror) is Phase.STARTING


def test_a_new_uid_has_its_own_memory_of_values(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1"))
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    show(mirror, observed(version=3, uid="another", heartbeat="t1"))
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_deletion_of_an_earlier_uid_changes_nothing(mirror: Mirror) -> None:
    show(mirror, observed(version=3, uid="another", heartbeat="t1"))
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_deleted_object_is_gone_with_its_status(mirror: Mirror) -> None:
    show(mirror, observed(heartbeat="t1"))
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    assert phase_of(mirror) is None
    assert mirror.plan_writes(10) == []
    with pytest.raises(NoHealthyInstanceError):
        mirror.records.select("vicuna")


def test_an_event_of_a_namespace_that_is_not_seen_is_ignored(records: Records) -> None:
    mirror = Mirror(records, scopes=["prod"])
    mirror.changed(observed(namespace="other", heartbeat="t1"), run=RUN)
    assert len(records) == 0


# -- life and expiry -----------------------------------------------------------------------------


def test_silence_while_the_view_is_current_expires(mirror: Mirror, clock: FakeClock) -> None:
    show(mirror, observed(heartbeat="t1"))
    watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY
    watch(mirror, clock, 1.0)
    assert phase_of(mirror) is Phase.UNHEALTHY


def test_nothing_expires_while_nothing_proves_the_view(mirror: Mirror, clock: FakeClock) -> None:
    show(mirror, observed(heartbeat="t1"))
    lose_sight(mirror, clock, 20 * TIMEOUT)
    assert phase_of(mirror) is Phase.HEALTHY
    assert mirror.age == 20 * TIMEOUT


def test_the_beat_that_ends_a_long_gap_is_in_time(mirror: Mirror, clock: FakeClock) -> None:
    show(mirror, observed(heartbeat="t1"))
    lose_sight(mirror, clock, 20 * TIMEOUT)
    show(mirror, observed(version=2, heartbeat="t2"))
    mirror.attend()
    watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_stopped_process_expires_nothing_when_it_goes_on(
    mirror: Mirror, clock: FakeClock
) -> None:
    show(mirror, observed(heartbeat="t1"))
    clock.advance(3600.0)
    show(mirror, observed("other", version=2, spec=spec(port=1)))
    mirror.attend()
    assert phase_of(mirror) is Phase.HEALTHY


@pytest.mark.parametrize("channel", ["list of the watch", "answer to a write"])
def test_a_beat_that_proves_nothing_gets_its_whole_timeout(
    mirror: Mirror, clock: FakeClock, channel: str
) -> None:
    show(mirror, observed())
    lose_sight(mirror, clock, 50.0)
    beat = observed(version=2, heartbeat="t1")
    if channel == "answer to a write":
        mirror.write_answered(key(), beat)
    else:
        mirror.changed(beat, run=RUN, listed=True)
    assert phase_of(mirror) is Phase.HEALTHY
    watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY


# -- after a restart -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [None, reported(Phase.HEALTHY, Reason.POD_READY, address=spec(host="10.0.0.4").address)],
    ids=["no status", "a status of another address"],
)
def test_what_was_made_for_a_pod_waits_until_the_pods_are_seen(
    records: Records, before: Reported | None
) -> None:
    mirror, book = Mirror(records), PodBook(records, ("",))
    wanted = instance_of(pods.facts())
    made = replace(
        observed(
            "p", spec=wanted.spec, labels=wanted.labels, owner=wanted.pod_uid, reported=before
        ),
        pod_digest=wanted.digest,
    )  # fmt: skip
    sync(mirror, made, version=5)
    assert phase_of(mirror, "p") is Phase.STARTING
    book.end_list("", [pods.facts()])
    assert phase_of(mirror, "p") is Phase.HEALTHY


def test_what_was_made_for_a_pod_is_taken_at_its_word_where_nobody_looks_at_pods(
    records: Records,
) -> None:
    mirror = Mirror(records, follows_pods=False)
    wanted = instance_of(pods.facts())
    shown = observed("p", spec=wanted.spec, labels=wanted.labels, owner=wanted.pod_uid)
    sync(mirror, replace(shown, pod_digest=wanted.digest), version=5)
    assert phase_of(mirror, "p") is Phase.HEALTHY


DRAINING, DISABLED = spec(rotation=Rotation.DRAINING), spec(rotation=Rotation.DISABLED)
PROBED = replace(spec(), probe=ProbeSpec("/health", 10.0, 1.0, 1, 3))


@pytest.mark.parametrize(
    "found",
    [
        observed(reported=reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED)),
        observed(reported=reported(Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED)),
        observed(reported=reported(Phase.STARTING, Reason.AWAITING_FIRST_HEARTBEAT)),
        observed(spec=DRAINING, reported=reported(Phase.DRAINING, Reason.DRAINING)),
        observed(spec=DISABLED, reported=reported(Phase.DISABLED, Reason.DISABLED)),
        observed(deleting=True, reported=reported(Phase.TERMINATING, Reason.DELETING)),
        observed(
            spec=spec(heartbeat_required=False),
            reported=reported(Phase.HEALTHY, Reason.HEARTBEAT_NOT_REQUIRED),
        ),
        observed(
            spec=spec(heartbeat_required=False),
            owner="pod",
            reported=reported(Phase.HEALTHY, Reason.POD_READY),
        ),
        observed(owner="pod", reported=reported(Phase.UNHEALTHY, Reason.POD_NOT_READY)),
        observed(owner="pod", reported=reported(Phase.STARTING, Reason.POD_STARTING)),
        observed(owner="pod", reported=reported(Phase.DRAINING, Reason.POD_TERMINATING)),
        observed(owner="pod", reported=reported(Phase.UNHEALTHY, Reason.POD_REPLACED)),
        observed(reported=reported(Phase.UNHEALTHY, Reason.WORKER_NOT_READY)),
        observed(reported=reported(Phase.DEGRADED, Reason.CORRELATED_SILENCE)),
        observed(reported=reported(Phase.UNHEALTHY, Reason.FLAPPING)),
        observed(reported=reported(Phase.UNHEALTHY, Reason.CALLS_FAILING, last_beat=START)),
        observed(
            spec=spec(heartbeat_required=False),
            reported=reported(Phase.UNHEALTHY, Reason.CALLS_FAILING),
        ),
        observed(spec=PROBED, reported=reported(Phase.UNHEALTHY, Reason.PROBE_FAILED)),
        observed(spec=PROBED, reported=reported(Phase.STARTING, Reason.AWAITING_FIRST_PROBE)),
        observed(spec=PROBED, reported=reported(Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED)),
        observed(spec=PROBED, reported=reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED)),
        observed(
            spec=replace(PROBED, heartbeat_required=False),
            reported=reported(Phase.HEALTHY, Reason.PROBE_SUCCEEDED),
        ),
    ],
    ids=lambda found: found.reported.reason,
)
@pytest.mark.parametrize("source", ["list", "event"])
def test_a_restart_begins_with_what_the_status_says_and_writes_nothing(
    records: Records, found: Observed, source: str
) -> None:
    protect(records)
    mirror = Mirror(records)
    found = replace(found, heartbeat="t1")
    if source == "event":
        mirror.changed(found, run=RUN, listed=True)
    sync(mirror, found, version=1)
    assert found.reported is not None
    assert phase_of(mirror) == found.reported.phase
    assert mirror.plan_writes(10) == []
    assert accepted(mirror) == 0


def conflicted() -> tuple[Observed, Observed]:
    """A holder and the loser to it, as their statuses say."""
    holder = observed(reported=reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED))
    loser = observed(
        LOSER,
        reported=reported(Phase.CONFLICTED, Reason.ADDRESS_CONFLICT, uid=f"uid-of-{LOSER}"),
    )
    return holder, loser


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("holder_created", [0.0, 9.0])
def test_a_restart_keeps_a_conflict_as_it_was(
    records: Records, reverse: bool, holder_created: float
) -> None:
    mirror = Mirror(records)
    holder, loser = conflicted()
    holder, loser = replace(holder, created=holder_created), replace(loser, created=5.0)
    sync(mirror, *((loser, holder) if reverse else (holder, loser)), version=1)
    assert (phase_of(mirror), phase_of(mirror, LOSER)) == (Phase.HEALTHY, Phase.CONFLICTED)
    assert mirror.plan_writes(10) == []


def test_a_restart_keeps_the_holder_that_needs_no_heartbeats_but_sends_them(
    records: Records,
) -> None:
    mirror = Mirror(records)
    word = spec(heartbeat_required=False)
    holder, loser = conflicted()
    status = reported(Phase.HEALTHY, Reason.HEARTBEAT_NOT_REQUIRED, last_beat=START)
    holder = replace(holder, created=9.0, spec=word, reported=status)
    loser = replace(loser, created=5.0, spec=word)
    sync(mirror, holder, loser, version=1)
    assert mirror.plan_writes(10) == []


def test_a_resumed_one_has_one_full_timeout_to_be_heard(records: Records, clock: FakeClock) -> None:
    mirror = Mirror(records)
    lose_sight(mirror, clock, 100.0)
    found = observed(heartbeat="t1", reported=reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED))
    sync(mirror, found, version=1)
    watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY
    watch(mirror, clock, 1.0)
    assert phase_of(mirror) is Phase.UNHEALTHY


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED),
        (Phase.STARTING, Reason.AWAITING_FIRST_HEARTBEAT),
    ],
)
def test_after_a_restart_only_a_new_value_is_a_beat(
    mirror: Mirror, phase: Phase, reason: Reason
) -> None:
    found = observed(heartbeat="t1", reported=reported(phase, reason))
    sync(mirror, found, version=1)
    show(mirror, replace(found, version=2, spec=spec(weight=2.0)))
    assert phase_of(mirror) is phase
    show(mirror, replace(found, version=3), heartbeat="t2")
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_heartbeat_found_beside_an_empty_status_counts(mirror: Mirror) -> None:
    sync(mirror, observed(heartbeat="t1"), version=1)
    assert phase_of(mirror) is Phase.HEALTHY


@pytest.mark.parametrize(
    "foreign",
    [
        reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED, uid="another"),
        reported(
            Phase.HEALTHY,
            Reason.HEARTBEAT_RECEIVED,
            address=Address("vicuna", "10.0.0.6", 8000),
        ),
        replace(reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED), incarnation=None),
    ],
    ids=["uid", "address", "none"],
)
def test_the_status_of_another_incarnation_says_nothing(mirror: Mirror, foreign: Reported) -> None:
    sync(mirror, observed(heartbeat="t1", reported=foreign), version=1)
    assert phase_of(mirror) is Phase.STARTING
    (write,) = mirror.plan_writes(10)
    assert write.phase is Phase.STARTING


def test_the_last_beat_is_taken_over_from_the_status(mirror: Mirror) -> None:
    before = START - timedelta(hours=1)
    status = reported(Phase.HEALTHY, Reason.HEARTBEAT_RECEIVED, last_beat=before)
    sync(mirror, observed(reported=status), version=1)
    record = mirror.records.get(key())
    assert record is not None
    assert record.last_beat == before


# -- conflicts -----------------------------------------------------------------------------------


def contend(mirror: Mirror, *, loser: str = LOSER, namespace: str = "prod") -> None:
    """Show two that were heard from at one address; the first holds it."""
    show(mirror, observed(created=1.0, heartbeat="t1"))
    show(mirror, observed(loser, 2, created=2.0, heartbeat="t1", namespace=namespace))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_older_of_two_heard_from_holds_in_whatever_order_they_come(
    mirror: Mirror, reverse: bool
) -> None:
    old = observed("old", 1, created=1.0, heartbeat="t1")
    young = observed("young", 2, created=2.0, heartbeat="t1")
    for shown in (young, old) if reverse else (old, young):
        show(mirror, shown)
    assert (phase_of(mirror, "old"), phase_of(mirror, "young")) == (
        Phase.HEALTHY,
        Phase.CONFLICTED,
    )


def test_a_zombie_does_not_keep_the_address_of_a_reused_pod_ip(
    mirror: Mirror, clock: FakeClock
) -> None:
    show(mirror, observed("zombie", 1, created=1.0, heartbeat="t1"))
    watch(mirror, clock, TIMEOUT)
    show(mirror, observed("living", 2, created=2.0, heartbeat="t1"))
    assert (phase_of(mirror, "zombie"), phase_of(mirror, "living")) == (
        Phase.CONFLICTED,
        Phase.HEALTHY,
    )


def test_the_loser_takes_over_when_the_holder_falls_silent(
    mirror: Mirror, clock: FakeClock
) -> None:
    contend(mirror)
    watch(mirror, clock, TIMEOUT - 1)
    show(mirror, observed(LOSER, 3, created=2.0, heartbeat="t2"))
    watch(mirror, clock, 1.0)
    assert (phase_of(mirror), phase_of(mirror, LOSER)) == (Phase.CONFLICTED, Phase.HEALTHY)


@pytest.mark.parametrize("end", ["deleted", "missing", "draining", "moved"])
def test_the_loser_takes_over_when_the_holder_lets_go(mirror: Mirror, end: str) -> None:
    contend(mirror)
    loser = observed(LOSER, 2, created=2.0, heartbeat="t1")
    match end:
        case "deleted":
            mirror.deleted(key(), "uid-of-vicuna-0", 3, run=RUN)
        case "missing":
            sync(mirror, loser, version=3)
        case "draining":
            show(mirror, observed(version=3, created=1.0, heartbeat="t1", spec=DRAINING))
        case _:
            show(mirror, observed(version=3, created=1.0, heartbeat="t1", spec=spec(port=1)))
    assert phase_of(mirror, LOSER) is Phase.HEALTHY


@pytest.mark.parametrize(("namespace", "named"), [("prod", True), ("another-namespace", False)])
def test_the_holder_is_named_only_within_the_namespace(
    mirror: Mirror, namespace: str, named: bool
) -> None:
    contend(mirror, namespace=namespace)
    record = mirror.records.get(key(LOSER, namespace))
    assert record is not None
    assert record.verdict.reason is Reason.ADDRESS_CONFLICT
    assert ("vicuna-0" in record.verdict.message) is named
    assert "prod" not in record.verdict.message


# -- statuses ------------------------------------------------------------------------------------


def test_nothing_is_planned_before_the_first_whole_list(records: Records) -> None:
    mirror = Mirror(records)
    mirror.changed(observed(), run=RUN)
    assert mirror.plan_writes(10) == []
    sync(mirror, observed(), version=1)
    assert len(mirror.plan_writes(10)) == 1


def test_each_change_is_written_once(mirror: Mirror, clock: FakeClock) -> None:
    phases: list[tuple[Phase, int]] = []
    shown = show(mirror, observed())

    def settle() -> None:
        nonlocal shown
        for write in mirror.plan_writes(10):
            assert (write.version, write.generation) == (shown.version, shown.generation)
            phases.append((write.phase, write.generation))
            shown = accept(mirror, write, shown, shown.version + 1)
            show(mirror, shown)
        assert mirror.plan_writes(10) == []

    settle()
    for beat in ("t1", "t2", "t3"):
        shown = show(mirror, replace(shown, version=shown.version + 1), heartbeat=beat)
        settle()
        watch(mirror, clock, TIMEOUT - 1)
        settle()
    watch(mirror, clock, 1.0)
    settle()
    shown = show(mirror, replace(shown, version=shown.version + 1, spec=spec(weight=2.0)))
    settle()
    shown = show(
        mirror, replace(shown, version=shown.version + 1, generation=2, spec=spec(weight=3.0))
    )
    settle()
    assert phases == [
        (Phase.STARTING, 1),
        (Phase.HEALTHY, 1),
        (Phase.UNHEALTHY, 1),
        (Phase.UNHEALTHY, 2),
    ]


def test_a_change_that_is_taken_back_before_it_is_written_is_not_written(
    mirror: Mirror,
) -> None:
    status = reported(Phase.STARTING, Reason.AWAITING_FIRST_HEARTBEAT)
    sync(mirror, observed(reported=status), version=1)
    show(mirror, observed(version=2, spec=DISABLED, reported=status))
    show(mirror, observed(version=3, reported=status))
    assert mirror.plan_writes(10) == []


def test_at_most_the_limit_is_planned_and_the_rest_later(mirror: Mirror) -> None:
    for number in range(5):
        show(mirror, observed(f"i-{number}", number + 1, spec=spec(port=number + 1)))
    planned = [len(mirror.plan_writes(2)) for _ in range(4)]
    assert planned == [2, 2, 1, 0]


def test_a_write_under_way_is_not_planned_twice(mirror: Mirror) -> None:
    shown = show(mirror, observed())
    (write,) = mirror.plan_writes(10)
    show(mirror, replace(shown, version=2), heartbeat="t1")
    assert mirror.plan_writes(10) == []
    accept(mirror, write, replace(shown, heartbeat="t1"), 3)
    assert [write.phase for write in mirror.plan_writes(10)] == [Phase.HEALTHY]


def test_an_answer_that_the_watch_was_faster_with_is_no_second_write(mirror: Mirror) -> None:
    shown = show(mirror, observed())
    (write,) = mirror.plan_writes(10)
    answer = replace(shown, version=2, reported=status_of(write))
    show(mirror, answer)
    mirror.write_answered(key(), answer)
    assert mirror.plan_writes(10) == []


def test_transition_times_stay_while_the_status_stays(mirror: Mirror, clock: FakeClock) -> None:
    shown = show(mirror, observed())
    (first,) = mirror.plan_writes(10)
    shown = accept(mirror, first, shown, 2)
    watch(mirror, clock, 5.0)
    show(mirror, replace(shown, version=3, generation=2, spec=DISABLED))
    (second,) = mirror.plan_writes(10)
    assert [condition.since for condition in second.conditions] == [START]
    assert second.conditions[0].reason is Reason.DISABLED


def test_the_conditions_of_an_earlier_process_keep_their_transition_time(
    mirror: Mirror, clock: FakeClock
) -> None:
    long_ago = START - timedelta(days=1)
    status = reported(
        Phase.HEALTHY,
        Reason.HEARTBEAT_RECEIVED,
        conditions={"Ready": ConditionSeen(True, long_ago)},
    )
    sync(mirror, observed(reported=status), version=1)
    show(mirror, observed(version=2, generation=2, reported=status))
    (write,) = mirror.plan_writes(10)
    assert write.conditions[0].since == long_ago


def test_failures_back_off(mirror: Mirror, clock: FakeClock) -> None:
    show(mirror, observed())
    planned_at: list[float] = []
    for second in range(40):
        for write in mirror.plan_writes(10):
            planned_at.append(float(second))
            mirror.write_failed(write.key)
        clock.advance(1.0)
    gaps = [later - earlier for earlier, later in pairwise(planned_at)]
    assert 4 <= len(gaps) <= 7
    assert gaps == sorted(gaps)


def test_an_answered_conflict_is_decided_anew(mirror: Mirror) -> None:
    shown = show(mirror, observed())
    (write,) = mirror.plan_writes(10)
    assert write.phase is Phase.STARTING
    mirror.write_answered(key(), replace(shown, version=5, generation=2, heartbeat="t1"))
    (again,) = mirror.plan_writes(10)
    assert (again.version, again.generation, again.phase) == (5, 2, Phase.HEALTHY)


def test_an_answered_conflict_that_shows_the_status_in_place_ends_it(mirror: Mirror) -> None:
    shown = show(mirror, observed())
    (write,) = mirror.plan_writes(10)
    accept(mirror, write, shown, 2)
    assert mirror.plan_writes(10) == []


def test_an_answer_for_another_uid_is_ignored(mirror: Mirror) -> None:
    show(mirror, observed())
    mirror.plan_writes(10)
    mirror.write_answered(key(), observed(version=5, uid="another", heartbeat="t1"))
    record = mirror.records.get(key())
    assert record is not None
    assert (record.uid, record.verdict.phase) == ("uid-of-vicuna-0", Phase.STARTING)


def test_an_answer_after_the_deletion_resurrects_nothing(mirror: Mirror) -> None:
    shown = show(mirror, observed())
    (write,) = mirror.plan_writes(10)
    mirror.deleted(key(), shown.uid, 3, run=RUN)
    accept(mirror, write, shown, 2)
    assert phase_of(mirror) is None
    assert mirror.plan_writes(10) == []


def test_a_write_that_found_no_object_leaves_the_removal_to_the_watch(
    mirror: Mirror, clock: FakeClock
) -> None:
    show(mirror, observed(heartbeat="t1"))
    (write,) = mirror.plan_writes(10)
    mirror.write_failed(write.key)
    assert mirror.plan_writes(10) == []
    assert phase_of(mirror) is Phase.HEALTHY
    clock.advance(1.0)
    assert mirror.plan_writes(10) == [write]


def test_the_writes_of_a_watch_that_ended_are_planned_again(mirror: Mirror) -> None:
    show(mirror, observed())
    mirror.plan_writes(10)
    mirror.watch_started(RUN + 1)
    assert len(mirror.plan_writes(10)) == 1


def test_a_record_that_came_otherwise_is_never_written(mirror: Mirror, records: Records) -> None:
    record = records.put(key("plain", ""), "", spec(), created=0.0)
    records.beat(record)
    assert mirror.plan_writes(10) == []


def test_the_selection_follows_the_events(clock: FakeClock) -> None:
    records = Records(TIMEOUT, clock=clock, random=Random(1))
    mirror = Mirror(records)
    sync(mirror, version=0)
    show(mirror, observed(heartbeat="t1"))
    assert records.select("vicuna").key == key()
    show(mirror, observed(version=2, heartbeat="t1", spec=DRAINING))
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")


# -- while the cluster cannot be seen ------------------------------------------------------------


def test_what_is_so_only_while_the_cluster_cannot_be_seen_is_said_and_not_written(
    mirror: Mirror, records: Records
) -> None:
    show(mirror, observed(heartbeat="t1"))
    record = records.get(key())
    assert record is not None
    records.beat(record, mirror.views[""].timeline)
    before = records.explain(record)
    mirror.fail_list(mirror.begin_list(""), "no answer")
    assert "cannot at present" in records.explain(record)
    assert record.verdict.reason is Reason.HEARTBEAT_RECEIVED
    (write,) = mirror.plan_writes(10)
    assert write.conditions[0].message == before
    records.beat(record)
    assert records.explain(record) == before, "it is heard over HTTP, whatever can be seen"
