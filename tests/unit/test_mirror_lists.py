"""What LISTs set right, and how far the view can be trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.mirror.beats import REMEMBERED
from modelinstance.registry.mirror.mirror import Mirror, Repairs
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from unit.builders import (
    TIMEOUT,
    accept,
    by_key,
    key,
    lose_sight,
    observed,
    phase_of,
    reported,
    spec,
    sync,
    watch,
)
from unit.clock import FakeClock

RUN = 1
INTERVAL = 60.0
OTHER = "vicuna-1"
ELSEWHERE = spec(port=9000)


@pytest.fixture
def mirror(records: Records) -> Mirror:
    """A mirror with a watch that runs, and nothing listed yet."""
    mirror = Mirror(records, resync_interval=INTERVAL)
    mirror.watch_started(RUN)
    return mirror


def names(mirror: Mirror) -> set[str]:
    return {record.key.name for record in mirror.records}


# -- what a LIST adds, changes and removes -------------------------------------------------------


def test_a_list_adds_changes_and_removes(mirror: Mirror) -> None:
    assert sync(mirror, observed("a", 1), observed("b", 2), version=2) == Repairs(added=2)
    edited = observed("a", 3, spec=spec(weight=7.0))
    assert sync(mirror, edited, observed("c", 4), version=4) == Repairs(
        added=1, changed=1, removed=1
    )
    assert names(mirror) == {"a", "c"}
    record = mirror.records.get(key("a"))
    assert record is not None
    assert record.spec.weight == 7.0
    assert mirror.repairs == {"added": 3, "changed": 1, "removed": 1}


def test_a_list_that_agrees_repairs_nothing(mirror: Mirror) -> None:
    sync(mirror, observed(heartbeat="t1"), version=1)
    assert sync(mirror, observed(heartbeat="t1"), version=5) == Repairs()


def test_a_missed_delete_is_found(mirror: Mirror) -> None:
    mirror.changed(observed(), run=RUN)
    assert sync(mirror, version=2) == Repairs(removed=1)
    assert names(mirror) == set()


def test_a_missed_re_creation_is_found(mirror: Mirror) -> None:
    mirror.changed(observed(heartbeat="t1"), run=RUN)
    assert sync(mirror, observed(version=5, uid="another"), version=5) == Repairs(added=1)
    assert phase_of(mirror) is Phase.STARTING


def test_what_was_added_after_the_snapshot_stays(mirror: Mirror) -> None:
    listing = mirror.begin_list("")
    mirror.changed(observed("new", 5), run=RUN)
    mirror.end_list(listing, {}, 4)
    assert names(mirror) == {"new"}


def test_what_had_an_event_during_the_list_is_left_to_the_next(mirror: Mirror) -> None:
    mirror.changed(observed(), run=RUN)
    listing = mirror.begin_list("")
    mirror.changed(observed(version=2), run=RUN)
    assert mirror.end_list(listing, {}, 3) == Repairs()
    assert sync(mirror, version=4) == Repairs(removed=1)


def test_what_was_deleted_during_the_list_stays_gone(mirror: Mirror) -> None:
    mirror.changed(observed(), run=RUN)
    listing = mirror.begin_list("")
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    mirror.end_list(listing, by_key(observed()), 1)
    assert names(mirror) == set()


def test_what_was_deleted_during_the_list_stays_gone_though_it_was_never_known(
    mirror: Mirror,
) -> None:
    listing = mirror.begin_list("")
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    mirror.end_list(listing, by_key(observed()), 1)
    assert names(mirror) == set()


def test_what_was_made_anew_during_the_list_is_the_new_one(mirror: Mirror) -> None:
    mirror.changed(observed(), run=RUN)
    listing = mirror.begin_list("")
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    mirror.changed(observed(version=3, uid="another"), run=RUN)
    mirror.end_list(listing, by_key(observed()), 1)
    record = mirror.records.get(key())
    assert record is not None
    assert record.uid == "another"


def test_an_older_state_never_overwrites_a_newer(mirror: Mirror) -> None:
    sync(mirror, observed(), version=1)
    listing = mirror.begin_list("")
    mirror.changed(observed(version=5, spec=spec(weight=5.0)), run=RUN)
    assert mirror.end_list(listing, by_key(observed()), 4) == Repairs()
    record = mirror.records.get(key())
    assert record is not None
    assert record.spec.weight == 5.0


def test_an_event_that_is_older_than_the_list_changes_nothing(mirror: Mirror) -> None:
    sync(mirror, observed(version=5, spec=spec(weight=5.0)), version=6)
    mirror.changed(observed(version=4, spec=spec(weight=4.0)), run=RUN)
    record = mirror.records.get(key())
    assert record is not None
    assert record.spec.weight == 5.0


@pytest.mark.parametrize("listed", [False, True])
def test_an_event_that_is_older_than_the_list_resurrects_nothing(
    mirror: Mirror, listed: bool
) -> None:
    mirror.changed(observed(heartbeat="t1"), run=RUN)
    sync(mirror, version=9)
    mirror.changed(observed(version=5, heartbeat="t2"), run=RUN, listed=listed)
    assert names(mirror) == set()


def test_a_beat_during_the_list_is_not_undone(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(heartbeat="t1"), version=1)
    watch(mirror, clock, TIMEOUT - 1)
    listing = mirror.begin_list("")
    mirror.changed(observed(version=3, heartbeat="t2"), run=RUN)
    mirror.end_list(listing, by_key(observed(heartbeat="t1")), 2)
    watch(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY


def test_a_beat_that_only_the_list_shows_counts(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(heartbeat="t1"), version=1)
    watch(mirror, clock, TIMEOUT)
    assert phase_of(mirror) is Phase.UNHEALTHY
    sync(mirror, observed(version=2, heartbeat="t2"), version=2)
    assert phase_of(mirror) is Phase.HEALTHY


def test_lists_alone_carry_the_beats_when_the_watch_is_dead(
    mirror: Mirror, clock: FakeClock
) -> None:
    version = 1
    sync(mirror, observed(heartbeat="t1"), version=1)
    for _ in range(40):
        lose_sight(mirror, clock, mirror.next_list(""))
        version += 1
        sync(mirror, observed(version=version, heartbeat=f"t{version}"), version=version)
        assert phase_of(mirror) is Phase.HEALTHY


def test_a_dead_one_expires_by_lists_alone(mirror: Mirror, clock: FakeClock) -> None:
    dead = observed(heartbeat="t1")
    sync(mirror, dead, version=1)
    passed = 0.0
    while phase_of(mirror) is Phase.HEALTHY:
        wait = mirror.next_list("")
        lose_sight(mirror, clock, wait)
        passed += wait
        sync(mirror, dead, version=1)
    assert TIMEOUT <= passed <= TIMEOUT + 1.0


@pytest.mark.parametrize("known", [True, False])
def test_an_unreadable_object_keeps_what_was_known_of_it(mirror: Mirror, known: bool) -> None:
    if known:
        mirror.changed(observed(heartbeat="t1"), run=RUN)
    listing = mirror.begin_list("")
    assert mirror.end_list(listing, {}, 5, unreadable=[key()]) == Repairs()
    assert phase_of(mirror) is (Phase.HEALTHY if known else None)


def test_an_own_write_seen_by_a_list_repairs_nothing(mirror: Mirror) -> None:
    shown = observed()
    sync(mirror, shown, version=1)
    (write,) = mirror.plan_writes(10)
    shown = accept(mirror, write, shown, 2)
    assert sync(mirror, shown, version=2) == Repairs()


# -- a cluster that was restored from a backup ---------------------------------------------------


def test_a_list_below_a_version_that_was_seen_is_a_restore_and_the_truth(mirror: Mirror) -> None:
    sync(mirror, observed("a", 1, spec=spec(port=1, weight=1.0)), version=10)
    mirror.changed(observed("a", 20, spec=spec(port=1, weight=2.0)), run=RUN)
    mirror.changed(observed("b", 21, spec=ELSEWHERE), run=RUN)
    repairs = sync(mirror, observed("a", 1, spec=spec(port=1, weight=1.0)), version=12)
    assert (repairs.rewound, repairs.changed, repairs.removed) == (True, 1, 1)
    record = mirror.records.get(key("a"))
    assert record is not None
    assert record.spec.weight == 1.0
    assert names(mirror) == {"a"}


def test_a_restore_is_found_though_the_versions_have_grown_past_meanwhile(
    mirror: Mirror,
) -> None:
    mirror.changed(observed(version=20, spec=spec(weight=2.0)), run=RUN)
    repairs = sync(mirror, observed(version=5), version=500)
    assert repairs.rewound
    record = mirror.records.get(key())
    assert record is not None
    assert record.spec.weight == 1.0


def test_an_event_during_the_list_is_no_restore(mirror: Mirror) -> None:
    sync(mirror, observed(), version=1)
    listing = mirror.begin_list("")
    mirror.changed(observed(version=9), run=RUN)
    mirror.changed(observed("new", 10, spec=ELSEWHERE), run=RUN)
    assert not mirror.end_list(listing, by_key(observed()), 5).rewound


def test_a_deletion_counts_among_the_versions_that_were_seen(mirror: Mirror) -> None:
    mirror.changed(observed(), run=RUN)
    mirror.deleted(key(), "uid-of-vicuna-0", 30, run=RUN)
    assert sync(mirror, observed(), version=20).rewound
    assert names(mirror) == {"vicuna-0"}


def test_after_a_restore_the_events_of_the_running_watch_are_not_believed(
    mirror: Mirror,
) -> None:
    mirror.changed(observed(version=20), run=RUN)
    sync(mirror, observed(version=5), version=10)
    mirror.changed(observed(version=21, spec=spec(weight=9.0)), run=RUN)
    mirror.deleted(key(), "uid-of-vicuna-0", 22, run=RUN)
    record = mirror.records.get(key())
    assert record is not None
    assert record.spec.weight == 1.0
    mirror.watch_started(RUN + 1)
    mirror.changed(observed(version=11, spec=spec(weight=3.0)), run=RUN)
    assert record.spec.weight == 1.0
    mirror.changed(observed(version=11, spec=spec(weight=4.0)), run=RUN + 1)
    assert record.spec.weight == 4.0


def test_a_restored_deletion_is_believed_by_a_list_that_was_under_way(records: Records) -> None:
    mirror = Mirror(records, scopes=["one", "two"])
    mirror.watch_started(RUN)
    other = mirror.begin_list("two")
    mirror.deleted(key(namespace="two"), "uid-of-vicuna-0", 30, run=RUN)
    assert sync(mirror, version=10, scope="one").rewound
    repairs = mirror.end_list(other, by_key(observed(namespace="two")), 10)
    assert not repairs.rewound
    assert len(records) == 1


def test_a_restored_heartbeat_is_no_beat(mirror: Mirror, clock: FakeClock) -> None:
    for version in range(1, 3 * REMEMBERED):
        mirror.changed(observed(version=version, heartbeat=f"t{version}"), run=RUN)
    sync(mirror, observed(version=version, heartbeat=f"t{version}"), version=100)
    watch(mirror, clock, TIMEOUT)
    assert phase_of(mirror) is Phase.UNHEALTHY
    assert sync(mirror, observed(version=2, heartbeat="t2"), version=5).rewound
    assert phase_of(mirror) is Phase.UNHEALTHY


def test_a_restored_heartbeat_is_no_beat_in_any_scope(records: Records, clock: FakeClock) -> None:
    mirror = Mirror(records, scopes=["one", "two"])
    for scope in ("one", "two"):
        sync(mirror, version=0, scope=scope)
        for version in range(1, 3 * REMEMBERED):
            shown = observed(
                version=version, namespace=scope, heartbeat=f"t{version}",
                spec=spec(host=scope),
            )  # fmt: skip
            mirror.changed(shown, run=RUN)
    watch(mirror, clock, TIMEOUT)
    for scope in ("one", "two"):
        restored = observed(version=2, namespace=scope, heartbeat="t2", spec=spec(host=scope))
        sync(mirror, restored, version=5, scope=scope)
    assert [phase_of(mirror, namespace=scope) for scope in ("one", "two")] == [
        Phase.UNHEALTHY,
        Phase.UNHEALTHY,
    ]


def test_a_restored_status_that_differs_is_corrected_once(mirror: Mirror) -> None:
    shown = observed()
    sync(mirror, shown, version=1)
    mirror.changed(observed(version=20, heartbeat="t1"), run=RUN)
    (write,) = mirror.plan_writes(10)
    accept(mirror, write, observed(version=20, heartbeat="t1"), 21)
    starting = reported(Phase.STARTING, Reason.AWAITING_FIRST_HEARTBEAT)
    sync(mirror, replace(shown, version=3, reported=starting), version=10)
    (again,) = mirror.plan_writes(10)
    assert (again.version, again.phase) == (3, Phase.HEALTHY)


def test_after_a_restore_lists_are_ordinary_again(mirror: Mirror) -> None:
    sync(mirror, observed(version=20), version=20)
    assert sync(mirror, observed(version=5), version=10).rewound
    assert sync(mirror, observed(version=5), version=11) == Repairs()
    assert sync(mirror, observed(version=12), version=12) == Repairs(changed=1)


# -- blindness -----------------------------------------------------------------------------------


def test_a_change_that_the_watch_does_not_tell_for_an_interval_is_blindness(
    mirror: Mirror, clock: FakeClock
) -> None:
    sync(mirror, observed(), version=1)
    lose_sight(mirror, clock, INTERVAL - 1)
    assert not sync(mirror, observed(), version=1).blind
    lose_sight(mirror, clock, 1.0)
    assert sync(mirror, observed(), version=1).blind


@pytest.mark.parametrize(("version", "listed"), [(1, True), (1, False), (3, False)])
def test_a_watch_that_tells_of_it_later_is_not_blind(
    mirror: Mirror, clock: FakeClock, version: int, listed: bool
) -> None:
    sync(mirror, observed(), version=1)
    mirror.changed(observed(version=version), run=RUN, listed=listed)
    lose_sight(mirror, clock, 2 * INTERVAL)
    assert not sync(mirror, observed(version=version), version=5).blind


def test_an_older_event_does_not_confirm_a_change(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(version=3), version=3)
    mirror.changed(observed(version=2), run=RUN)
    lose_sight(mirror, clock, INTERVAL)
    assert sync(mirror, observed(version=3), version=3).blind


def test_a_watch_that_tells_of_the_end_is_not_blind(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(), version=1)
    mirror.deleted(key(), "uid-of-vicuna-0", 2, run=RUN)
    lose_sight(mirror, clock, INTERVAL)
    assert not sync(mirror, version=2).blind


def test_a_new_watch_has_an_interval_of_its_own(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(), version=1)
    lose_sight(mirror, clock, INTERVAL)
    mirror.watch_started(RUN + 1)
    assert not sync(mirror, observed(), version=1).blind


def test_blindness_is_found_while_every_list_shows_a_new_beat(
    mirror: Mirror, clock: FakeClock
) -> None:
    blind = False
    for version in range(1, 20):
        lose_sight(mirror, clock, TIMEOUT / 2)
        shown = observed(version=version, heartbeat=f"t{version}")
        blind = sync(mirror, shown, version=version).blind or blind
    assert blind


# -- several scopes ------------------------------------------------------------------------------


@pytest.fixture
def scoped(records: Records) -> Mirror:
    """A mirror of two namespaces."""
    return Mirror(records, scopes=["one", "two"], resync_interval=INTERVAL)


def test_statuses_are_planned_only_once_all_scopes_are_listed(scoped: Mirror) -> None:
    sync(scoped, observed(namespace="one"), version=1, scope="one")
    assert not scoped.synced
    assert scoped.plan_writes(10) == []
    sync(scoped, observed(namespace="two"), version=1, scope="two")
    assert len(scoped.plan_writes(10)) == 2


def test_the_list_of_one_namespace_removes_nothing_of_another(scoped: Mirror) -> None:
    sync(scoped, observed(namespace="one"), version=1, scope="one")
    sync(scoped, observed(namespace="two"), version=2, scope="two")
    sync(scoped, version=3, scope="one")
    assert [str(record.key) for record in scoped.records] == ["two/vicuna-0"]


def test_an_outage_of_one_namespace_holds_up_its_own_expiry_alone(
    scoped: Mirror, clock: FakeClock
) -> None:
    for scope in ("one", "two"):
        shown = observed(namespace=scope, heartbeat="t1", spec=spec(host=scope))
        sync(scoped, shown, version=1, scope=scope)
    for _ in range(int(2 * TIMEOUT)):
        clock.advance(1.0)
        scoped.fail_list(scoped.begin_list("one"), "forbidden")
        shown = observed(namespace="two", heartbeat="t1", spec=spec(host="two"))
        sync(scoped, shown, version=1, scope="two")
    assert phase_of(scoped, namespace="one") is Phase.HEALTHY
    assert phase_of(scoped, namespace="two") is Phase.UNHEALTHY


def test_the_oldest_view_and_any_failure_count(scoped: Mirror, clock: FakeClock) -> None:
    sync(scoped, version=1, scope="one")
    sync(scoped, version=1, scope="two")
    lose_sight(scoped, clock, 10.0)
    sync(scoped, version=1, scope="two")
    assert scoped.age == 10.0
    scoped.fail_list(scoped.begin_list("two"), "forbidden")
    assert scoped.failure == "forbidden"


def test_each_scope_is_listed_by_its_own_schedule(scoped: Mirror, clock: FakeClock) -> None:
    sync(scoped, version=1, scope="one")
    assert (scoped.next_list("one"), scoped.next_list("two")) == (INTERVAL, 0.0)
    sync(scoped, observed(namespace="two", heartbeat="t1"), version=1, scope="two")
    assert scoped.next_list("two") == TIMEOUT / 2


# -- how far the view can be trusted -------------------------------------------------------------


def test_the_view_is_synced_with_the_first_whole_list(mirror: Mirror) -> None:
    assert mirror.state() == ViewState(synced=False, age=0.0, stale=False, failure=None)
    mirror.fail_list(mirror.begin_list(""), "refused")
    assert mirror.state() == ViewState(synced=False, age=0.0, stale=True, failure="refused")
    sync(mirror, version=1)
    assert mirror.state() == ViewState(synced=True, age=0.0, stale=False, failure=None)


def test_a_failed_list_changes_no_record(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(heartbeat="t1"), version=1)
    for _ in range(int(3 * TIMEOUT)):
        clock.advance(1.0)
        mirror.fail_list(mirror.begin_list(""), "refused")
        mirror.attend()
    assert phase_of(mirror) is Phase.HEALTHY
    assert mirror.state() == ViewState(True, 3 * TIMEOUT, True, "refused")


def test_an_outage_is_not_made_up_for_afterwards(mirror: Mirror, clock: FakeClock) -> None:
    dead = observed(heartbeat="t1")
    sync(mirror, dead, version=1)
    watch(mirror, clock, 4.0)
    for _ in range(100):
        clock.advance(1.0)
        mirror.fail_list(mirror.begin_list(""), "refused")
    sync(mirror, dead, version=1)
    watch(mirror, clock, TIMEOUT - 4 - 1)
    assert phase_of(mirror) is Phase.HEALTHY
    watch(mirror, clock, 1.0)
    assert phase_of(mirror) is Phase.UNHEALTHY


def test_without_any_proof_the_view_turns_stale(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, version=1)
    lose_sight(mirror, clock, 1.5 * INTERVAL)
    assert not mirror.state().stale
    lose_sight(mirror, clock, 1.0)
    assert mirror.state().stale


def test_a_list_proves_the_moment_at_which_it_began(mirror: Mirror, clock: FakeClock) -> None:
    listing = mirror.begin_list("")
    lose_sight(mirror, clock, 5.0)
    mirror.end_list(listing, {}, 1)
    assert mirror.age == 5.0


def test_a_list_of_the_watch_itself_proves_nothing(mirror: Mirror, clock: FakeClock) -> None:
    sync(mirror, observed(), version=1)
    lose_sight(mirror, clock, 5.0)
    mirror.changed(observed(), run=RUN, listed=True)
    assert mirror.age == 5.0
    mirror.changed(observed(), run=RUN)
    assert mirror.age == 0.0


def test_the_next_look_is_at_the_next_local_deadline(mirror: Mirror, records: Records) -> None:
    assert mirror.attend() == 1.0
    record = records.put(key("plain", ""), "", spec(heartbeat_timeout=0.25), created=0.0)
    records.beat(record)
    assert mirror.attend() == 0.25


def test_the_pods_of_a_namespace_are_told_of_by_the_view_that_holds_it(
    records: Records, clock: FakeClock
) -> None:
    mirror = Mirror(records, scopes=("a", "b"), resync_interval=2.0)
    clock.advance(4)
    mirror.pods_views["a"].prove(clock.monotonic())
    mirror.pods_views["b"].interrupt("HTTP 403")
    seen, unseen = ViewState(True, 0.0, False, None), ViewState(False, 4.0, True, "HTTP 403")
    assert (mirror.pods_state("a"), mirror.pods_state("b")) == (seen, unseen)
    assert mirror.pods_state() == unseen
    whole = Mirror(records)
    assert whole.pods_state("a") == whole.pods_state() == ViewState(False, 0.0, False, None)
    assert Mirror(records, follows_pods=False).pods_state("a") is None
