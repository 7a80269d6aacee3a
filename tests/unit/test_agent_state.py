"""What an agent says of its engine: never a life that is not proven, never a death in doubt."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.agent.models import Served
from modelinstance.agent.state import Completion, EngineState, Word
from modelinstance.agent.streak import Streak
from modelinstance.client import Load

SERVED = Served("m", ("n",))
LOAD = Load(1, 2, 0.5)
HEALTH = "GET /health: HTTP 500"
COMPLETION = "POST /v1/completions: no answer within 10 s"
FAILED = Completion(COMPLETION, timed_out=True)


def state_of(
    *, failures: int = 3, successes: int = 1, interval: float = 60.0, seed: int = 1
) -> EngineState:
    return EngineState(
        failure_threshold=failures,
        success_threshold=successes,
        completion_interval=interval,
        random=Random(seed),
    )


def proven(**settings: int) -> EngineState:
    """The state of an engine that has answered all that it was asked, at time 0."""
    state = state_of(**settings)
    state.answered(SERVED, LOAD)
    state.completed(Completion(), 0)
    return state


def test_it_says_nothing_before_a_completion_has_succeeded() -> None:
    state = state_of()
    assert not state.wants_completion(0)
    for _ in range(5):
        state.failed(HEALTH)
        assert state.word() is None
    state.answered(SERVED, LOAD)
    assert state.word() is None
    for _ in range(5):
        assert state.wants_completion(0)
        state.completed(FAILED, 0)
        assert state.word() is None
    state.completed(Completion(), 0)
    assert state.word() == Word(SERVED, LOAD)


def test_without_completions_the_health_route_is_enough() -> None:
    state = state_of(interval=0)
    state.answered(SERVED, LOAD)
    assert not state.wants_completion(0)
    assert state.word() == Word(SERVED, LOAD)
    for _ in range(3):
        state.failed(HEALTH)
    state.answered(SERVED, LOAD)
    assert state.word() == Word(SERVED, LOAD)


def test_a_failure_is_told_from_the_threshold_on_and_silence_kept_before() -> None:
    state = proven()
    for _ in range(2):
        state.failed(HEALTH)
        assert state.word() is None
    for _ in range(3):
        state.failed(HEALTH)
        assert state.word() == Word(SERVED, failure=f"{HEALTH}, 3 times in a row")


def test_a_failure_that_passes_in_time_is_never_told_and_a_completion_is_due_at_once() -> None:
    state = proven()
    state.failed(HEALTH)
    assert not state.wants_completion(1e9), "it would only hang as well"
    state.answered(SERVED, None)
    assert state.word() == Word(SERVED)
    assert state.wants_completion(0)


def test_an_engine_that_has_failed_shows_by_a_completion_that_it_is_back() -> None:
    state = proven()
    for _ in range(3):
        state.failed(HEALTH)
    state.answered(SERVED, LOAD)
    assert state.word() == Word(SERVED, failure=f"{HEALTH}, 3 times in a row")
    assert state.wants_completion(0)
    for _ in range(3):
        state.completed(FAILED, 0)
    assert state.word() == Word(SERVED, failure=f"{COMPLETION}, 3 times in a row")
    state.completed(Completion(), 0)
    assert state.word() == Word(SERVED, LOAD)


def test_a_failed_completion_is_asked_for_again_each_period() -> None:
    state = proven()
    assert not state.wants_completion(47)
    assert state.wants_completion(73), "60 s, and at most a fifth more"
    for count in (1, 2, 3, 4):
        state.completed(FAILED, 100)
        assert state.wants_completion(100)
        word = state.word()
        assert (word is None) == (count < 3)
    state.completed(Completion(), 100)
    assert not state.wants_completion(100)
    assert state.word() == Word(SERVED, LOAD)


@pytest.mark.parametrize(
    ("before", "after", "busy"),
    [(10, 11, True), (10, 10, False), (11, 3, False), (None, 11, False), (10, None, False)],
)
def test_a_saturated_engine_is_not_dead(
    before: float | None, after: float | None, *, busy: bool
) -> None:
    state = proven(failures=1)
    state.completed(Completion(COMPLETION, True, before, after), 0)
    word = state.word()
    assert word is not None
    assert word.failure == ("" if busy else COMPLETION)
    state.completed(Completion("POST /v1/completions: HTTP 500", False, before, after), 0)
    word = state.word()
    assert word is not None
    assert word.failure == "POST /v1/completions: HTTP 500", "an error is one, busy or not"


def test_another_model_is_asked_for_a_completion_of_its_own() -> None:
    state = proven()
    assert not state.wants_completion(0)
    state.answered(Served("m", ("x",)), None)
    assert not state.wants_completion(0)
    state.answered(Served("other"), None)
    assert state.wants_completion(0)


def test_a_message_changes_only_when_another_trouble_has_come_as_often() -> None:
    streak = Streak(failures=2, successes=1)
    streak.fail("a")
    assert (streak.message, streak.doubtful) == ("", True)
    streak.fail("b")
    assert streak.message == "b, the last of 2 failures in a row"
    for trouble in ("a", "b", "a", "b"):
        streak.fail(trouble)
        assert streak.message == "b, the last of 2 failures in a row"
    streak.fail("a")
    streak.fail("a")
    assert streak.message == "a, 2 times in a row"
    streak.succeed()
    assert (streak.message, streak.doubtful) == ("", False)


def test_a_threshold_of_one_counts_nothing() -> None:
    streak = Streak(failures=1, successes=2)
    streak.fail("a")
    assert streak.message == "a"
    streak.succeed()
    assert (streak.message, streak.doubtful) == ("a", True)
    streak.succeed()
    assert (streak.message, streak.doubtful) == ("", False)


ROUTES, COMPLETIONS = "routes", "completions"
KINDS = {"well": ROUTES, "ill": ROUTES}
EVENTS = st.lists(st.sampled_from(["well", "ill", "completes", "stalls", "is busy"]), max_size=60)


def take(state: EngineState, event: str) -> None:
    """Let something happen."""
    match event:
        case "well":
            state.answered(SERVED, LOAD)
        case "ill":
            state.failed(HEALTH)
        case "completes":
            state.completed(Completion(), 0)
        case "stalls":
            state.completed(FAILED, 0)
        case "is busy":
            state.completed(Completion(COMPLETION, True, 1, 2), 0)


class Rules:
    """A small reading of the rules, beside the code."""

    def __init__(self, failures: int, successes: int) -> None:
        self.failures, self.successes = failures, successes
        self.bad = {ROUTES: 0, COMPLETIONS: 0}
        self.good = {ROUTES: 0, COMPLETIONS: 0}
        self.failed: set[str] = set()
        self.named = self.proof = False

    def take(self, event: str) -> None:
        kind = KINDS.get(event, COMPLETIONS)
        if event in {"ill", "stalls"}:
            self.good[kind], self.bad[kind] = 0, self.bad[kind] + 1
            if self.bad[kind] >= self.failures:
                self.failed.add(kind)
        else:
            self.bad[kind], self.good[kind] = 0, self.good[kind] + 1
            if self.good[kind] >= self.successes:
                self.failed.discard(kind)
        self.named |= event == "well"
        self.proof |= event in {"completes", "is busy"} and ROUTES not in self.failed

    @property
    def silent(self) -> bool:
        return not self.named or not self.proof

    @property
    def trouble(self) -> str:
        if ROUTES in self.failed:
            return HEALTH
        return COMPLETION if self.failed else ""


@given(EVENTS, st.integers(1, 4), st.integers(1, 3))
def test_what_is_said_follows_from_what_came_in_a_row(
    events: list[str], failures: int, successes: int
) -> None:
    state, rules = state_of(failures=failures, successes=successes), Rules(failures, successes)
    for event in events:
        take(state, event)
        rules.take(event)
        word = state.word()
        if rules.silent:
            assert word is None
        elif rules.trouble:
            assert word is not None
            assert word.failure.startswith(rules.trouble)
            assert word.load is None
        elif any(rules.bad.values()):
            assert word is None or word.failure, "in doubt nothing good is said"
        elif event == "completes":
            assert word == Word(SERVED, LOAD), "a completion settles it"
