"""What an agent says of its engine: never a life that is not proven, never a death in doubt."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelinstance.agent.models import Served
from modelinstance.agent.state import Completion, EngineState, Word
from modelinstance.agent.streak import Streak
from modelinstance.client import Load

SERVED = Served("m", ("n",))
LOAD = Load(1, 2, 0.5)
HEALTH = "GET /health: HTTP 500"
COMPLETION = "POST /v1/completions: no answer within 10 s"
DONE = Completion("m")
FAILED = Completion("m", COMPLETION, timed_out=True)
BUSY = Completion("m", COMPLETION, True, 1, 2)


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
    state.completed(DONE, 0)
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
    state.completed(DONE, 0)
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
    state.completed(DONE, 0)
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
    state.completed(DONE, 100)
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
    state.completed(Completion("m", COMPLETION, True, before, after), 0)
    word = state.word()
    assert word is not None
    assert word.failure == ("" if busy else COMPLETION)
    state.completed(Completion("m", "POST /v1/completions: HTTP 500", False, before, after), 0)
    word = state.word()
    assert word is not None
    assert word.failure == "POST /v1/completions: HTTP 500", "an error is one, busy or not"


NOTHING_YET = "it serves 'n' now, and has completed nothing by that name yet"


def test_other_aliases_need_no_completion() -> None:
    state = proven()
    renamed = Served("m", ("x",))
    state.answered(renamed, None)
    assert state.word() == Word(renamed)
    assert not state.wants_completion(0)


def test_another_model_is_not_well_until_it_has_completed_by_its_own_name() -> None:
    state = proven()
    other = Served("n")
    state.answered(other, LOAD)
    unproven = Word(other, failure=NOTHING_YET)
    assert state.word() == unproven
    for completion in (DONE, FAILED, Completion("n", COMPLETION, True, 1, 2)):
        assert state.wants_completion(0)
        state.completed(completion, 0)
        state.answered(other, LOAD)
        assert state.word() == unproven
    assert state.wants_completion(0), "busy or not"
    state.failed(HEALTH)
    assert state.word() == unproven, "not even silence: the old one has to go"
    state.answered(other, LOAD)
    assert state.wants_completion(0)
    state.completed(Completion("n"), 0)
    assert state.word() == Word(other, LOAD)
    assert not state.wants_completion(0)


def test_what_the_old_model_failed_at_is_not_held_against_another() -> None:
    state = proven()
    for _ in range(3):
        state.completed(FAILED, 0)
    state.answered(Served("n"), None)
    assert state.word() == Word(Served("n"), failure=NOTHING_YET)
    for _ in range(3):
        state.completed(Completion("n", COMPLETION), 0)
    assert state.word() == Word(Served("n"), failure=f"{COMPLETION}, 3 times in a row")


def test_a_model_that_comes_back_has_to_complete_again() -> None:
    state = proven()
    state.answered(Served("n"), LOAD)
    state.answered(SERVED, LOAD)
    word = state.word()
    assert word is not None
    assert word.failure.startswith("it serves 'm' now")
    state.completed(DONE, 0)
    assert state.word() == Word(SERVED, LOAD)


def test_without_completions_another_model_is_taken_at_its_word() -> None:
    state = state_of(interval=0)
    state.answered(SERVED, LOAD)
    state.answered(Served("n"), LOAD)
    assert state.word() == Word(Served("n"), LOAD)


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
NAMES = {"well": SERVED, "renamed": Served("n"), "adapted": Served("m", ("x",))}
COMPLETIONS_OF = {
    "completes": DONE,
    "stalls": FAILED,
    "is busy": BUSY,
    "completes as n": replace(DONE, model="n"),
    "stalls as n": replace(FAILED, model="n"),
    "is busy as n": replace(BUSY, model="n"),
}
EVENTS = st.lists(st.sampled_from(["ill", *NAMES, *COMPLETIONS_OF]), max_size=60)


def take(state: EngineState, event: str) -> None:
    """Let something happen."""
    if event == "ill":
        state.failed(HEALTH)
    elif event in NAMES:
        state.answered(NAMES[event], LOAD)
    else:
        state.completed(COMPLETIONS_OF[event], 0)


class Rules:
    """A small reading of the rules, beside the code."""

    def __init__(self, failures: int, successes: int) -> None:
        self.failures, self.successes = failures, successes
        self.bad = {ROUTES: 0, COMPLETIONS: 0}
        self.good = {ROUTES: 0, COMPLETIONS: 0}
        self.failed: set[str] = set()
        self.served: Served | None = None
        self.proof = self.another = self.doubted = False

    def take(self, event: str) -> bool:
        """Whether it is a completion that succeeded by the name of the model that is served."""
        if event in NAMES:
            self._serve(NAMES[event])
            self._count(ROUTES, well=True)
        elif event == "ill":
            self._count(ROUTES, well=False)
            self.doubted |= ROUTES in self.failed
        else:
            completion = COMPLETIONS_OF[event]
            if self.served is None or completion.model != self.served.model:
                return False
            self._count(COMPLETIONS, well=completion != replace(FAILED, model=completion.model))
            enough = not completion.trouble or (completion.found_it_busy and not self.another)
            if enough and ROUTES not in self.failed:
                self.proof, self.another, self.doubted = True, False, False
            return not completion.trouble
        return False

    def _serve(self, served: Served) -> None:
        if self.served is not None and served.model != self.served.model:
            self.another = True
            self.bad[COMPLETIONS] = self.good[COMPLETIONS] = 0
            self.failed.discard(COMPLETIONS)
        self.served = served

    def _count(self, kind: str, *, well: bool) -> None:
        if well:
            self.bad[kind], self.good[kind] = 0, self.good[kind] + 1
            if self.good[kind] >= self.successes:
                self.failed.discard(kind)
        else:
            self.good[kind], self.bad[kind] = 0, self.bad[kind] + 1
            if self.bad[kind] >= self.failures:
                self.failed.add(kind)

    @property
    def trouble(self) -> str:
        if ROUTES in self.failed:
            return HEALTH
        return COMPLETION if self.failed else ""


@given(EVENTS, st.integers(1, 4), st.integers(1, 3))
@example(["well", "completes", "renamed", "ill", "is busy as n", "completes as n"], 3, 1)
@example(["well", "completes", "renamed", "completes", "well", "completes as n"], 1, 1)
def test_what_is_said_follows_from_what_came_in_a_row(
    events: list[str], failures: int, successes: int
) -> None:
    state, rules = state_of(failures=failures, successes=successes), Rules(failures, successes)
    for event in events:
        take(state, event)
        completed = rules.take(event)
        word = state.word()
        if rules.served is None or not rules.proof:
            assert word is None
            continue
        assert word is None or word.served == rules.served
        if rules.trouble:
            assert word is not None
            assert word.failure.startswith(rules.trouble)
            assert word.load is None
        elif rules.another:
            assert word is not None, "the old model has to be told away, not left to silence"
            assert word.failure, "another model is not well before it has completed"
        elif rules.doubted:
            assert word is not None
            assert word.failure
        elif any(rules.bad.values()):
            assert word is None or word.failure, "in doubt nothing good is said"
        elif completed:
            assert word == Word(rules.served, LOAD), "a completion settles it"
