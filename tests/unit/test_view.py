from __future__ import annotations

import pytest

from modelinstance.registry.health.record import Record
from modelinstance.registry.mirror.view import (
    MIN_GAP_SECONDS,
    PATIENCE,
    QUIET_SECONDS,
    PodsView,
    View,
    ViewState,
)
from modelinstance.registry.records.records import Records
from unit.builders import put

INTERVAL = 60.0
LEFT = 20.0
"""Seconds to the only deadline of a view with a deadline."""


@pytest.fixture
def view() -> View:
    """A view that was listed at 0 and has no deadlines."""
    view = View(0.0, 0.0)
    view.prove_by_list(0.0, 0.0, 1)
    return view


@pytest.fixture
def record(records: Records, view: View) -> Record:
    """A record that expires on the view's timeline at 20."""
    record = put(records)
    view.timeline.schedule(record, LEFT)
    return record


def test_time_does_not_run_by_itself(view: View, record: Record) -> None:
    assert view.next_list(500.0, INTERVAL) == 0.0
    assert view.timeline.now == 0.0


def test_time_runs_up_to_each_proof(view: View, record: Record) -> None:
    view.prove(5.0, 5.0)
    assert view.timeline.now == 5.0
    view.prove_by_list(12.0, 12.0, 1)
    assert view.timeline.now == 12.0


def test_nothing_is_proven_before_the_first_list() -> None:
    view = View(0.0, 0.0)
    view.prove(5.0, 5.0)
    before = view.listed
    view.prove_by_list(8.0, 8.0, 1)
    assert (before, view.listed) == (False, True)
    assert view.timeline.now == 0.0
    view.prove(9.0, 9.0)
    assert view.timeline.now == 1.0


def test_a_proof_of_an_earlier_moment_adds_nothing(view: View, record: Record) -> None:
    view.prove(5.0, 5.0)
    view.prove_by_list(3.0, 3.0, 1)
    assert view.timeline.now == 5.0
    view.prove(6.0, 6.0)
    assert view.timeline.now == 6.0
    assert view.age(6.0) == 0.0


def test_an_outage_is_nobodys_silence(view: View, record: Record) -> None:
    view.prove(2.0, 2.0)
    view.interrupt("connection refused")
    view.prove(9.0, 9.0)
    assert view.timeline.now == 2.0
    view.prove(10.0, 10.0)
    assert view.timeline.now == 3.0


def test_an_outage_ends_with_the_first_list(view: View, record: Record) -> None:
    view.interrupt("connection refused")
    during = view.failure
    view.prove_by_list(9.0, 9.0, 1)
    assert (during, view.failure) == ("connection refused", None)
    assert view.timeline.now == 0.0
    view.prove_by_list(10.0, 10.0, 1)
    assert view.timeline.now == 1.0


def test_an_event_does_not_say_that_lists_work_again(view: View) -> None:
    view.interrupt("forbidden")
    view.prove(9.0, 9.0)
    assert view.failure == "forbidden"


def test_a_proof_that_comes_much_later_than_wanted_is_capped(view: View, record: Record) -> None:
    view.prove(1000.0, 1000.0)
    assert view.timeline.now == LEFT / 2 * PATIENCE
    assert list(view.timeline.pop_due()) == []


@pytest.mark.parametrize("left", [1.6, 2.0, 3.0, 120.0])
def test_a_late_proof_alone_expires_nothing_that_had_some_time_left(
    records: Records, view: View, left: float
) -> None:
    view.timeline.schedule(put(records), left)
    view.prove(1000.0, 1000.0)
    assert list(view.timeline.pop_due()) == []


def test_without_deadlines_the_whole_gap_counts(view: View) -> None:
    view.prove(1000.0, 1000.0)
    assert view.timeline.now == 1000.0


def test_a_proof_is_wanted_half_the_way_to_the_next_deadline(view: View, record: Record) -> None:
    assert view.next_list(0.0, INTERVAL) == LEFT / 2
    view.prove(8.0, 8.0)
    assert view.next_list(8.0, INTERVAL) == (LEFT - 8.0) / 2
    assert view.next_list(10.0, INTERVAL) == (LEFT - 8.0) / 2 - 2.0


def test_lists_that_are_only_proofs_keep_a_distance(view: View, record: Record) -> None:
    for second in range(int(LEFT)):
        view.prove(float(second), float(second))
    view.prove_by_list(LEFT - 0.5, LEFT - 0.5, 1)
    assert view.next_list(LEFT - 0.5, INTERVAL) == MIN_GAP_SECONDS


def test_the_deadline_is_reached_in_few_proofs(view: View, record: Record) -> None:
    local, lists = 0.0, 0
    while not list(view.timeline.pop_due()):
        local += view.next_list(local, INTERVAL)
        view.prove_by_list(local, local, 1)
        lists += 1
    assert LEFT <= local <= LEFT + MIN_GAP_SECONDS
    assert lists <= 8


def test_a_resync_is_due_after_its_interval_however_many_events_came(view: View) -> None:
    for second in range(1, 50):
        view.prove(float(second), float(second))
    assert view.next_list(49.0, INTERVAL) == INTERVAL - 49.0
    assert view.next_list(70.0, INTERVAL) == 0.0


def test_the_first_list_is_due_at_once() -> None:
    assert View(5.0, 5.0).next_list(5.0, INTERVAL) == 0.0


def test_the_age_grows_with_the_clock_until_a_proof(view: View) -> None:
    assert view.age(30.0) == 30.0
    view.prove(30.0, 31.0)
    assert view.age(32.0) == 1.0
    assert view.age(30.0) == 0.0


def test_the_age_counts_all_of_a_stop_and_the_deadlines_almost_nothing_of_it(
    view: View, record: Record
) -> None:
    stopped = 3600.0
    assert view.age(stopped) == stopped
    view.prove(1.0, stopped)
    assert view.timeline.now == 1.0
    assert view.age(stopped) == 0.0


def test_the_first_slow_list_is_an_outage_and_lasting_slowness_is_not(
    view: View, record: Record
) -> None:
    slow = MIN_GAP_SECONDS * PATIENCE + 0.1
    view.prove_by_list(4.0, 4.0, 1, took=slow)
    assert view.timeline.now == 0.0
    view.prove(6.0, 6.0)
    assert view.timeline.now == 0.0, "the gap after it holds the rest of the outage"
    view.prove_by_list(8.0, 8.0, 1, took=slow)
    assert view.timeline.now == 2.0
    view.prove_by_list(9.0, 9.0, 1, took=0.1)
    assert view.timeline.now == 3.0


def test_the_first_late_proof_brings_no_deadline_and_lasting_lateness_does(
    view: View, record: Record
) -> None:
    view.timeline.now = LEFT - 1.5
    view.prove(500.0, 500.0)
    assert view.timeline.now < LEFT
    view.prove(1000.0, 1000.0)
    assert view.timeline.now >= LEFT


# -- the view of pods --------------------------------------------------------------------------


def test_pods_are_stale_once_nothing_has_shown_them_for_too_long() -> None:
    pods = PodsView(100.0)
    assert pods.state(100.0, INTERVAL) == ViewState(False, 0.0, False, None)
    pods.prove(101.0)
    most = PATIENCE * min(INTERVAL, QUIET_SECONDS)
    assert pods.state(101.0 + most, INTERVAL) == ViewState(True, most, False, None)
    assert pods.state(102.0 + most, INTERVAL) == ViewState(True, most + 1, True, None)
    pods.prove(102.0 + most)
    assert pods.state(102.0 + most, INTERVAL) == ViewState(True, 0.0, False, None)


def test_however_seldom_is_listed_a_watch_shows_pods_more_often() -> None:
    pods = PodsView(0.0)
    assert pods.state(PATIENCE * QUIET_SECONDS + 1, 3600.0).stale


def test_a_failure_is_told_at_once_and_forgotten_when_pods_are_seen_again() -> None:
    pods = PodsView(0.0)
    pods.interrupt("watch of pods: HTTP 403")
    assert pods.state(1.0, INTERVAL) == ViewState(False, 1.0, False, "watch of pods: HTTP 403")
    pods.prove(2.0)
    assert pods.state(2.0, INTERVAL).failure is None
