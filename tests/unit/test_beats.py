from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance.registry.mirror.beats import MAX_BYTES, REMEMBERED, AnnotationBeats, Beat


def judge(*shown: str | None, applied: str | None = None) -> list[Beat]:
    """What a resource's values amount to, in turn."""
    beats = AnnotationBeats()
    return [beats.observe(value, applied) for value in shown]


@pytest.mark.parametrize(
    ("shown", "applied", "judged"),
    [
        ([None], None, [Beat.UNCHANGED]),
        (["a"], None, [Beat.ACCEPTED]),
        (["a"], "a", [Beat.APPLIED]),
        (["a"], "b", [Beat.ACCEPTED]),
        (["a", "a"], None, [Beat.ACCEPTED, Beat.UNCHANGED]),
        (["a", "b"], None, [Beat.ACCEPTED, Beat.ACCEPTED]),
        (["a", "b"], "b", [Beat.ACCEPTED, Beat.APPLIED]),
        (["a", "b", "a"], None, [Beat.ACCEPTED, Beat.ACCEPTED, Beat.REPEATED]),
        (["a", None], None, [Beat.ACCEPTED, Beat.REMOVED]),
        (["a", None, "a"], None, [Beat.ACCEPTED, Beat.REMOVED, Beat.REPEATED]),
        ([""], None, [Beat.EMPTY]),
        (["  \t"], None, [Beat.EMPTY]),
        (["", None, ""], None, [Beat.EMPTY, Beat.REMOVED, Beat.EMPTY]),
        (["x" * MAX_BYTES], None, [Beat.ACCEPTED]),
        (["x" * (MAX_BYTES + 1)], None, [Beat.OVERSIZED]),
        (["é" * (MAX_BYTES // 2)], None, [Beat.ACCEPTED]),
        (["é" * (MAX_BYTES // 2 + 1)], None, [Beat.OVERSIZED]),
        (["x" * 100_000] * 2, None, [Beat.OVERSIZED, Beat.UNCHANGED]),
    ],
)
def test_only_a_value_that_was_not_there_before_is_a_beat(
    shown: list[str | None], applied: str | None, judged: list[Beat]
) -> None:
    assert judge(*shown, applied=applied) == judged


def test_an_applied_value_is_no_beat_when_it_comes_back_after_another_apply() -> None:
    beats = AnnotationBeats()
    assert beats.observe("manifest", "manifest") is Beat.APPLIED
    assert beats.observe("alive", "manifest") is Beat.ACCEPTED
    assert beats.observe("manifest", "other") is Beat.REPEATED


def test_the_first_value_is_remembered_for_good() -> None:
    later = [str(number) for number in range(10 * REMEMBERED)]
    assert judge("first", *later, "first")[-1] is Beat.REPEATED


def test_the_latest_values_are_remembered() -> None:
    shown = [str(number) for number in range(10 * REMEMBERED)]
    for again in shown[-REMEMBERED:-1]:
        assert judge(*shown, again)[-1] is Beat.REPEATED


def test_a_value_that_came_back_counts_as_shown_lately() -> None:
    shown = [str(number) for number in range(REMEMBERED + 1)]
    assert judge(*shown, shown[1], "new", shown[1])[-1] is Beat.REPEATED


def test_a_remembered_value_is_no_beat_and_a_new_one_is() -> None:
    beats = AnnotationBeats()
    beats.remember("found")
    assert beats.observe("found", None) is Beat.UNCHANGED
    assert beats.observe("new", None) is Beat.ACCEPTED
    assert beats.observe("found", None) is Beat.REPEATED


def test_a_remembered_absence_is_known() -> None:
    beats = AnnotationBeats()
    beats.remember(None)
    assert beats.observe(None, None) is Beat.UNCHANGED
    assert beats.observe("new", None) is Beat.ACCEPTED


def test_an_oversized_value_that_was_found_at_start_is_not_counted_later() -> None:
    beats = AnnotationBeats()
    beats.remember("x" * 100_000)
    assert beats.observe("x" * 100_000, None) is Beat.UNCHANGED


@given(
    st.lists(st.sampled_from([None, "", " ", "a", "b", "c", "y" * 300]), max_size=40),
    st.sampled_from([None, "a", "c"]),
)
def test_no_value_beats_twice_among_few(shown: list[str | None], applied: str | None) -> None:
    judged = judge(*shown, applied=applied)
    accepted = [value for value, beat in zip(shown, judged, strict=True) if beat is Beat.ACCEPTED]
    assert len(accepted) == len(set(accepted))
    assert applied not in accepted
    assert set(accepted) <= {"a", "b", "c"}
