"""The truth beside the chaos test: what it forbids, what it leaves open, and what it counts."""

from __future__ import annotations

import pytest

from chaos.outages import Outages
from chaos.truth import (
    AT_ONCE_SECONDS,
    REPAIR_SECONDS,
    SWEEP_SECONDS,
    TIMEOUT_SECONDS,
    Fact,
    Truth,
    Word,
)
from support.waiting import PATIENCE

AT_ONCE = PATIENCE * AT_ONCE_SECONDS
REPAIR = PATIENCE * REPAIR_SECONDS
LIMIT = TIMEOUT_SECONDS + PATIENCE * SWEEP_SECONDS
A, HOST = "a", "a.example"


@pytest.fixture
def truth() -> Truth:
    """One that knows of an instance that is heard at 100."""
    made = Truth(Outages())
    said(made, Word.CREATE, 99, host=HOST)
    said(made, Word.BEAT, 100)
    return made


def said(truth: Truth, word: Word, sent: float, over: float | None = None, **more: str) -> Fact:
    """Something was said and acknowledged."""
    fact = truth.say(A, word, sent, **more)
    truth.acknowledge(A, fact, sent if over is None else over)
    return fact


def forbids(truth: Truth, at: float, *, took: float = 0.0, host: str = HOST) -> str | None:
    return truth.forbids(A, host, at, at + took)


def test_one_that_is_heard_may_be_given_out(truth: Truth) -> None:
    assert forbids(truth, 101) is None


def test_one_that_nobody_has_said_anything_of_is_left_alone(truth: Truth) -> None:
    assert truth.forbids("other", HOST, 1, 1) is None


@pytest.mark.parametrize("word", [Word.GONE, Word.OUT], ids=str)
def test_what_the_api_server_acknowledged_holds_a_moment_later(truth: Truth, word: Word) -> None:
    said(truth, word, 101, 102)
    assert forbids(truth, 102 + 0.9 * AT_ONCE) is None
    assert str(word) in (forbids(truth, 102 + 1.1 * AT_ONCE) or "")


@pytest.mark.parametrize("word", [Word.DRAIN, Word.LEAVE], ids=str)
def test_what_the_operator_acknowledged_holds_at_once_whatever_is_out(
    truth: Truth, word: Word
) -> None:
    truth.outages.begin(100.5)
    said(truth, word, 101, 102)
    assert forbids(truth, 102) is None, "it was asked for before"
    assert str(word) in (forbids(truth, 102.001) or "")


@pytest.mark.parametrize(
    ("word", "back"),
    [
        (Word.GONE, Word.ENTER), (Word.OUT, Word.IN), (Word.DRAIN, Word.UNDRAIN),
        (Word.DRAIN, Word.ENTER), (Word.LEAVE, Word.ENTER),
    ],
    ids=str,
)  # fmt: skip
def test_what_may_have_lifted_it_leaves_it_open(truth: Truth, word: Word, back: Word) -> None:
    said(truth, word, 101, 102)
    lifting = truth.say(A, back, 109)
    assert forbids(truth, 108.9) is not None
    assert forbids(truth, 108.9, took=0.2) is None, "it was under way before the answer came"
    assert forbids(truth, 110) is None
    truth.settle(111, 111)
    assert forbids(truth, 111) is None
    said(truth, Word.BEAT, 112)
    again = said(truth, word, 112, 113)
    assert forbids(truth, 113 + 1.1 * AT_ONCE) is not None
    truth.refuse(A, again)
    assert forbids(truth, 113 + 1.1 * AT_ONCE) is None
    truth.refuse(A, lifting)
    assert forbids(truth, 113 + 1.1 * AT_ONCE) is not None


def test_a_beat_lifts_no_deregistration(truth: Truth) -> None:
    said(truth, Word.LEAVE, 101)
    said(truth, Word.BEAT, 102)
    assert forbids(truth, 103) is not None


def test_what_was_not_answered_forbids_nothing(truth: Truth) -> None:
    truth.say(A, Word.GONE, 101)
    truth.settle(103, 104)
    assert forbids(truth, 110) is None


def test_what_was_missed_in_an_outage_is_repaired_within_a_resync(truth: Truth) -> None:
    truth.outages.begin(101)
    said(truth, Word.GONE, 102)
    assert forbids(truth, 120) is None, "nobody can see it"
    truth.outages.end(130)
    assert forbids(truth, 130 + 0.9 * REPAIR) is None
    assert forbids(truth, 130 + 1.1 * REPAIR) is not None


def test_an_address_of_the_past_is_not_given_out(truth: Truth) -> None:
    said(truth, Word.MOVE, 101, host="b.example")
    said(truth, Word.BEAT, 102)
    assert "b.example" in (forbids(truth, 102 + 1.1 * AT_ONCE) or "")
    assert forbids(truth, 102 + 1.1 * AT_ONCE, host="b.example") is None


def test_a_new_incarnation_has_to_be_heard(truth: Truth) -> None:
    said(truth, Word.GONE, 101)
    said(truth, Word.CREATE, 102, host="b.example")
    assert forbids(truth, 102 + 1.1 * AT_ONCE, host="b.example") == "never heard"
    truth.say(A, Word.BEAT, 103)
    assert forbids(truth, 102 + 1.1 * AT_ONCE, host="b.example") is None


def test_silence_counts_from_the_last_beat_and_only_in_calm(truth: Truth) -> None:
    assert forbids(truth, 100 + 0.9 * LIMIT) is None
    assert "silent" in (forbids(truth, 100 + 1.1 * LIMIT) or "")
    assert truth.forbids(A, HOST, 100 + 1.1 * LIMIT, 100 + 1.1 * LIMIT, marked=True) is None
    truth.outages.begin(101)
    truth.outages.end(201)
    assert forbids(truth, 200 + 0.9 * LIMIT) is None
    assert forbids(truth, 200 + 1.1 * LIMIT) is not None


def test_silence_counts_from_a_restart_and_not_while_a_beat_may_be_under_way(truth: Truth) -> None:
    truth.restart(110)
    assert forbids(truth, 110 + 0.9 * LIMIT) is None
    assert forbids(truth, 110 + 1.1 * LIMIT) is not None
    truth.say(A, Word.BEAT, 105)
    assert forbids(truth, 110 + 1.1 * LIMIT) is None
    truth.settle(106, 130)
    assert forbids(truth, 130 + 0.9 * LIMIT) is None
    assert forbids(truth, 130 + 1.1 * LIMIT) is not None


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not-stored"])
def test_what_only_an_operator_knew_that_has_ended_counts_no_more(
    truth: Truth, stored: bool
) -> None:
    said(truth, Word.LEAVE, 101)
    truth.store(A, 102, drained=False, left=stored)
    truth.restart(103)
    assert (forbids(truth, 104) is not None) is stored
    assert truth.is_kept_out(A)
    assert (A in truth.lost) is not stored


def test_what_an_operator_acknowledged_that_has_ended_meanwhile_counts_no_more(
    truth: Truth,
) -> None:
    fact = truth.say(A, Word.DRAIN, 101)
    truth.restart(102)
    truth.acknowledge(A, fact, 103)
    assert forbids(truth, 104) is None
    assert truth.is_kept_out(A)


def test_one_is_kept_out_until_what_brings_it_back_is_acknowledged(truth: Truth) -> None:
    assert not truth.is_kept_out(A)
    truth.say(A, Word.DRAIN, 101)
    assert truth.is_kept_out(A)
    truth.settle(102, 102)
    back = truth.say(A, Word.UNDRAIN, 103)
    assert truth.is_kept_out(A)
    truth.acknowledge(A, back, 104)
    assert not truth.is_kept_out(A)


def test_heartbeats_of_the_past_are_not_kept(truth: Truth) -> None:
    for second in range(101, 201):
        said(truth, Word.BEAT, second)
    truth.settle(190, 200)
    assert len(truth.facts[A]) < 15
    assert forbids(truth, 200 + 0.9 * LIMIT) is None


def test_outages_are_told_from_calm() -> None:
    outages = Outages()
    assert outages.calm_since(5) == 0
    outages.begin(10)
    outages.begin(12)
    assert outages.is_open
    assert outages.calm_since(11) is None
    assert outages.calm_between(4, 14) == 6
    outages.end(20)
    outages.begin(30)
    outages.end(31)
    assert outages.calm_since(9) == 0
    assert outages.calm_since(15) is None
    assert outages.calm_since(25) == 20
    assert outages.calm_since(40) == 31
    assert outages.calm_between(0, 40) == 29
    assert outages.calm_between(12, 18) == 0
    assert outages.calm_between(15, 30.5) == 10
