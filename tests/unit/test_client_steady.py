"""What stays in use although the registry does not select it any more, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.client.steady import Steady
from modelinstance.client.watching import Instance, Snapshot

HOLD = 30.0
A = Instance(
    namespace="n", name="a", model="m", aliases=(), host="10.0.0.1", port=1,
    address="http://10.0.0.1:1", weight=1.0, healthy=True, phase="Healthy", reason="PodReady",
    incarnation="0123456789abcdef",
)  # fmt: skip
B = replace(A, name="b", host="10.0.0.2", address="http://10.0.0.2:1")
OTHER = replace(A, name="other", model="other", host="10.0.0.3", address="http://10.0.0.3:1")
HEIR = replace(A, name="heir", model="other")
"""Another instance where A was."""


def silent(instance: Instance) -> Instance:
    return replace(instance, healthy=False, phase="Unhealthy", reason="HeartbeatExpired")


def snapshot(*instances: Instance, fresh: bool = False, durable: bool = False) -> Snapshot:
    return Snapshot({each.key: each for each in instances}, fresh, durable)


def used(steady: Steady, now: float) -> set[str]:
    return {instance.name for instance in steady.choose(now).selected.values()}


@pytest.fixture
def steady() -> Steady:
    made = Steady(HOLD)
    made.hear(snapshot(A, B, fresh=True), 0.0)
    return made


def test_one_of_several_that_falls_silent_is_given_up_at_once(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), B), 1.0)
    assert used(steady, 1.0) == {"b"}
    steady.hear(snapshot(A, B), 2.0)
    assert used(steady, 2.0) == {"a", "b"}


def test_the_last_that_fall_silent_are_kept_for_a_time(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B), OTHER), 1.0)
    choice = steady.choose(1.0)
    assert choice.selected.keys() == {"n/a", "n/b", "n/other"}
    assert choice.kept == {
        "n/a": "n/a is Unhealthy: HeartbeatExpired",
        "n/b": "n/b is Unhealthy: HeartbeatExpired",
    }
    assert choice.kept_until == 31.0
    steady.hear(snapshot(silent(A), silent(B), OTHER), 20.0)
    assert used(steady, 30.9) == {"a", "b", "other"}
    assert used(steady, 31.0) == {"other"}
    assert steady.choose(31.0).kept_until is None


def test_one_that_lives_again_ends_what_was_kept(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B)), 1.0)
    steady.hear(snapshot(silent(A), B), 2.0)
    assert used(steady, 2.0) == {"b"}


@pytest.mark.parametrize(
    "end",
    [
        replace(A, healthy=False, phase="Draining", reason="DrainRequested"),
        replace(A, healthy=False, phase="Disabled", reason="Disabled"),
        replace(A, healthy=False, phase="Terminating", reason="Deleting"),
        replace(A, healthy=False, phase="Conflicted", reason="AddressConflict"),
        replace(A, healthy=False, phase="Unhealthy", reason="Deregistered"),
        replace(A, healthy=False, phase="Unhealthy", reason="WorkerNotReady"),
        replace(A, weight=0.0),
        replace(silent(A), address="http://10.0.0.9:1"),
        None,
    ],
)
def test_what_was_ended_is_given_up_even_as_the_last(end: Instance | None) -> None:
    steady = Steady(HOLD)
    steady.hear(snapshot(A, fresh=True), 0.0)
    steady.hear(snapshot(*([end] if end else [])), 1.0)
    assert used(steady, 1.0) == set()


def test_what_a_registry_lacks_that_was_read_anew_is_kept_for_a_time(steady: Steady) -> None:
    steady.lose(5.0)
    steady.hear(snapshot(fresh=True), 10.0)
    assert used(steady, 10.0) == {"a", "b"}
    steady.hear(snapshot(A), 12.0)
    assert used(steady, 12.0) == {"a", "b"}, "b is not known yet, though a is"
    assert steady.choose(12.0).kept == {"n/b": "the registry lists no such instance"}
    assert used(steady, 40.0) == {"a"}


def test_what_a_cluster_does_not_list_is_gone(steady: Steady) -> None:
    steady.lose(5.0)
    steady.hear(snapshot(A, OTHER, fresh=True, durable=True), 10.0)
    assert used(steady, 10.0) == {"a", "other"}
    assert steady.choose(10.0).durable


def test_what_may_have_been_forgotten_is_gone_once_a_cluster_has_spoken(steady: Steady) -> None:
    steady.hear(snapshot(A, fresh=True), 10.0)
    assert used(steady, 10.0) == {"a", "b"}
    steady.hear(snapshot(A, fresh=True, durable=True), 11.0)
    assert used(steady, 11.0) == {"a"}


def test_a_cluster_is_not_believed_that_the_last_ones_are_silent(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B), fresh=True, durable=True), 1.0)
    assert used(steady, 30.9) == {"a", "b"}
    assert used(steady, 31.0) == set()


@pytest.mark.parametrize("heir", [HEIR, replace(HEIR, healthy=False, phase="Starting")])
def test_what_is_missing_is_given_up_when_another_has_come_to_its_place(
    steady: Steady, heir: Instance
) -> None:
    steady.hear(snapshot(heir, fresh=True), 1.0)
    assert "a" not in used(steady, 1.0)
    assert "b" in used(steady, 1.0)


def test_what_is_missing_is_given_up_when_another_comes_to_its_place_later(
    steady: Steady,
) -> None:
    steady.hear(snapshot(fresh=True), 1.0)
    steady.hear(snapshot(OTHER), 2.0)
    assert used(steady, 2.0) == {"a", "b", "other"}
    steady.hear(snapshot(replace(OTHER, host=A.host, address=A.address)), 3.0)
    assert used(steady, 3.0) == {"b", "other"}, "the pod of that instance was replaced"
    steady.hear(snapshot(), 4.0)
    assert used(steady, 4.0) == {"b"}, "what was given up does not come back"


@pytest.mark.parametrize("heir", [HEIR, replace(HEIR, healthy=False, phase="Starting")])
def test_the_last_that_falls_silent_is_given_up_when_another_has_come_to_its_place(
    heir: Instance,
) -> None:
    steady = Steady(HOLD)
    steady.hear(snapshot(A, fresh=True), 0.0)
    steady.hear(snapshot(silent(A)), 1.0)
    assert used(steady, 1.0) == {"a"}
    steady.hear(snapshot(silent(A), heir), 2.0)
    assert "a" not in used(steady, 2.0)


def test_one_that_falls_silent_where_another_is_heard_from_is_given_up() -> None:
    steady = Steady(HOLD)
    steady.hear(snapshot(A, fresh=True), 0.0)
    steady.hear(snapshot(A, HEIR), 1.0)
    steady.hear(snapshot(silent(A), HEIR), 2.0)
    assert used(steady, 2.0) == {"heir"}


def test_the_models_of_one_worker_are_kept_although_they_share_its_place() -> None:
    steady = Steady(HOLD)
    steady.hear(snapshot(A, HEIR, fresh=True), 0.0)
    steady.hear(snapshot(silent(A), silent(HEIR)), 1.0)
    assert used(steady, 1.0) == {"a", "heir"}
    steady.hear(snapshot(A, HEIR), 2.0)
    steady.hear(snapshot(fresh=True), 3.0)
    steady.hear(snapshot(HEIR), 4.0)
    assert used(steady, 4.0) == {"a", "heir"}, "one model registers after the other"
    assert used(steady, 33.0) == {"heir"}


def test_the_end_of_what_is_kept_as_silent_is_believed(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B)), 1.0)
    steady.hear(snapshot(silent(B)), 2.0)
    assert used(steady, 2.0) == {"b"}


def test_no_hold_runs_while_the_registry_is_away(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B)), 1.0)
    steady.lose(10.0)
    assert used(steady, 1000.0) == {"a", "b"}
    steady.hear(snapshot(silent(A), silent(B), fresh=True), 1000.0)
    assert used(steady, 1029.0) == {"a", "b"}, "it has to be said anew, without a break"
    assert used(steady, 1030.0) == set()


def test_what_ran_out_before_a_loss_does_not_come_back(steady: Steady) -> None:
    steady.hear(snapshot(silent(A), silent(B)), 1.0)
    steady.lose(100.0)
    steady.hear(snapshot(silent(A), silent(B), fresh=True), 200.0)
    assert used(steady, 200.0) == set()


def test_without_a_hold_the_last_answer_counts() -> None:
    steady = Steady(0.0)
    steady.hear(snapshot(A, fresh=True), 0.0)
    steady.hear(snapshot(fresh=True), 1.0)
    assert used(steady, 1.0) == set()


STATES = st.sampled_from(["healthy", "silent", "drained", "absent"])
STEPS = st.lists(st.tuples(STATES, STATES, st.booleans(), st.floats(0.1, 50)), max_size=20)


@given(steps=STEPS)
def test_what_is_selected_is_used_and_what_is_drained_is_not(
    steps: list[tuple[str, str, bool, float]],
) -> None:
    steady, now = Steady(HOLD), 0.0
    for state_a, state_b, fresh, seconds in steps:
        now += seconds
        told, drained, selected = [], set(), set()
        for each, state in ((A, state_a), (B, state_b)):
            if state == "healthy":
                told.append(each)
                selected.add(each.name)
            elif state == "silent":
                told.append(silent(each))
            elif state == "drained":
                told.append(replace(each, healthy=False, phase="Draining"))
                drained.add(each.name)
        steady.hear(snapshot(*told, fresh=fresh), now)
        now_used = used(steady, now)
        assert selected <= now_used
        assert not drained & now_used
        assert used(steady, now + HOLD) == selected
        steady.hear(snapshot(*told), now)
