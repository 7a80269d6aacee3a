from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.mirror.outbox import JITTER, MAX_BACKOFF_SECONDS
from modelinstance.registry.mirror.pacing import (
    BURST_SECONDS,
    MAX_PAUSE_SECONDS,
    MAX_REFUSALS,
    MIN_PAUSE_SECONDS,
    Pace,
    WriteResult,
)

RATE = 100.0
ANSWERS = set(WriteResult) - {WriteResult.THROTTLED, WriteResult.UNAVAILABLE}
REFUSALS = {WriteResult.FORBIDDEN, WriteResult.UNAUTHORIZED}


@pytest.fixture
def pace() -> Pace:
    """One that has written, so that it is not at its first burst."""
    made = Pace(Random(1), RATE)
    made.spend(made.allowed(0.0))
    return made


def pause_of(pace: Pace, now: float) -> float:
    """How long it pauses from then on, to a hundredth."""
    return next(h / 100 for h in range(20_000) if not pace.is_paused(now + h / 100))


def test_it_begins_with_a_burst_and_goes_on_at_its_rate() -> None:
    pace = Pace(Random(1), RATE)
    assert pace.allowed(7.0) == RATE * BURST_SECONDS
    pace.spend(pace.allowed(7.0))
    assert pace.allowed(7.0) == 0
    assert pace.allowed(7.055) == 5
    assert pace.allowed(1000.0) == RATE * BURST_SECONDS, "idle time is not saved up"


def test_it_says_how_long_the_rate_holds_it_up(pace: Pace) -> None:
    assert pace.wait(0.0) == pytest.approx(1 / RATE)
    assert pace.allowed(0.011) == 1
    assert pace.wait(0.011) == 0.0


def test_a_low_rate_still_writes_one_at_a_time() -> None:
    pace = Pace(Random(1), 1.0)
    assert pace.allowed(0.0) == 1
    pace.spend(1)
    assert pace.allowed(0.9) == 0
    assert pace.allowed(1.1) == 1


def test_a_new_rate_holds_from_now_on(pace: Pace) -> None:
    pace.set_rate(10.0)
    assert pace.allowed(0.05) == 0
    assert pace.allowed(0.15) == 1


@given(
    rate=st.floats(1, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 50)), max_size=100),
)
def test_no_stretch_of_time_has_more_than_its_share(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    pace, now = Pace(Random(1), rate), 0.0
    begun: list[tuple[float, int]] = []
    for pause, wanted in steps:
        now += pause
        writes = min(wanted, pace.allowed(now))
        pace.spend(writes)
        begun.append((now, writes))
    for first, (since, _) in enumerate(begun):
        total = 0
        for until, writes in begun[first:]:
            total += writes
            assert total <= rate * (until - since) + max(rate * BURST_SECONDS, 1.0) + 1e-6


@pytest.mark.parametrize("result", sorted(ANSWERS))
def test_what_concerns_one_write_alone_holds_up_no_other(pace: Pace, result: WriteResult) -> None:
    pace.ended(result, 0.0, 30.0)
    assert not pace.is_paused(0.0)
    assert pace.allowed(0.05) == 5


def test_an_api_server_that_is_away_is_tried_less_and_less_often_by_one_write(pace: Pace) -> None:
    now, expected = 0.0, MIN_PAUSE_SECONDS
    for _ in range(10):
        pace.ended(WriteResult.UNAVAILABLE, now)
        assert pace.wait(now) is None
        pause = pause_of(pace, now)
        assert expected <= pause <= expected * (1 + JITTER) + 0.01
        now, expected = now + pause, min(2 * expected, MAX_PAUSE_SECONDS)
        assert pace.allowed(now + 1) == 1
        pace.spend(1)
        assert pace.allowed(now + 2) == 0, "it is under way"
    assert expected == MAX_PAUSE_SECONDS


def test_full_speed_comes_back_with_the_first_good_answer(pace: Pace) -> None:
    for now in (0.0, 10.0, 20.0):
        pace.ended(WriteResult.UNAVAILABLE, now)
    assert pace.allowed(30.0) == 1
    pace.spend(1)
    pace.ended(WriteResult.WRITTEN, 30.0)
    assert pace.allowed(31.0) == RATE * BURST_SECONDS
    pace.ended(WriteResult.UNAVAILABLE, 32.0)
    assert pause_of(pace, 32.0) <= MIN_PAUSE_SECONDS * (1 + JITTER) + 0.01


def test_those_that_were_under_way_together_count_once(pace: Pace) -> None:
    for _ in range(20):
        pace.ended(WriteResult.UNAVAILABLE, 0.0)
    pace.ended(WriteResult.WRITTEN, 0.0)
    assert MIN_PAUSE_SECONDS <= pause_of(pace, 0.0) <= MIN_PAUSE_SECONDS * (1 + JITTER) + 0.01
    assert pace.allowed(10.0) == 1, "one that was written before says nothing of now"


def test_a_time_that_was_asked_for_is_kept_and_not_cut_short(pace: Pace) -> None:
    pace.ended(WriteResult.THROTTLED, 0.0, 7.0)
    pace.ended(WriteResult.THROTTLED, 0.0, 2.0)
    assert 7.0 <= pause_of(pace, 0.0) <= 10.51
    pace.ended(WriteResult.THROTTLED, 0.5, 20.0)
    assert 20.0 <= pause_of(pace, 0.5) <= 30.01
    assert pace.allowed(40.0) == 1


def test_nobody_can_ask_for_ever(pace: Pace) -> None:
    pace.ended(WriteResult.THROTTLED, 0.0, 1e9)
    assert pause_of(pace, 0.0) <= MAX_BACKOFF_SECONDS * (1 + JITTER)


def test_being_throttled_without_a_time_is_a_pause_too(pace: Pace) -> None:
    pace.ended(WriteResult.THROTTLED, 0.0)
    assert pause_of(pace, 0.0) >= MIN_PAUSE_SECONDS


@pytest.mark.parametrize("result", sorted(ANSWERS - REFUSALS))
def test_any_word_about_the_write_itself_ends_the_probing(pace: Pace, result: WriteResult) -> None:
    pace.ended(WriteResult.UNAVAILABLE, 0.0)
    assert pace.allowed(10.0) == 1
    pace.spend(1)
    pace.ended(result, 10.0)
    assert pace.allowed(11.0) == RATE * BURST_SECONDS


@pytest.mark.parametrize("result", sorted(REFUSALS))
def test_a_server_that_has_just_started_refuses_everything_for_a_moment(
    pace: Pace, result: WriteResult
) -> None:
    pace.ended(WriteResult.UNAVAILABLE, 0.0)
    now = 0.0
    for _ in range(MAX_REFUSALS):
        now += 10.0
        assert pace.allowed(now) == 1
        pace.spend(1)
        pace.ended(result, now)
        assert pace.is_paused(now)
    now += 10.0
    pace.spend(pace.allowed(now))
    pace.ended(result, now)
    assert pace.allowed(now + 1) == RATE * BURST_SECONDS, "that is how it is, then"


def test_a_probe_that_nobody_waits_for_any_more_is_sent_again(pace: Pace) -> None:
    pace.ended(WriteResult.UNAVAILABLE, 0.0)
    assert pace.allowed(10.0) == 1
    pace.spend(1)
    pace.abandon()
    assert pace.allowed(11.0) == 1
