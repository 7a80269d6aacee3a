from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.selectors import MAX_LENGTH, SelectorError, is_label, parse

LABELS = {"tier": "gold", "zone": "a", "empty": "", "example.com/role": "chat", "in": "notin"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        # equality
        ("tier=gold", True),
        ("tier==gold", True),
        ("tier=Gold", False),
        ("tier==silver", False),
        ("tier!=silver", True),
        ("tier!=gold", False),
        ("empty=", True),
        ("empty==", True),
        ("tier=", False),
        ("tier!=", True),
        # a key that is missing
        ("missing=gold", False),
        ("missing=", False),
        ("missing!=gold", True),
        ("missing!=", True),
        ("missing in (gold)", False),
        ("missing in ()", False),
        ("missing notin (gold)", True),
        ("missing notin ()", True),
        # sets
        ("tier in (gold)", True),
        ("tier in (silver,gold)", True),
        ("tier in (silver)", False),
        ("tier notin (silver,bronze)", True),
        ("tier notin (silver,gold)", False),
        ("empty in ()", True),
        ("empty in (,x)", True),
        ("empty in (x,)", True),
        ("empty notin (x, )", False),
        # existence
        ("tier", True),
        ("missing", False),
        ("empty", True),
        ("!tier", False),
        ("!missing", True),
        ("! missing", True),
        # prefixes, and keys that are words of the syntax
        ("example.com/role=chat", True),
        ("example.com/role in (chat)", True),
        ("!example.com/role", False),
        ("role=chat", False),
        ("a.b/c!=d", True),
        ("in", True),
        ("in in (notin)", True),
        ("in=notin", True),
        ("notin", False),
        # all of several
        ("tier=gold,zone=a", True),
        ("tier=gold,zone=b", False),
        ("tier=gold,zone!=b,zone in (a,c),empty,!missing,missing notin (x)", True),
        ("tier,tier=gold,tier=silver", False),
        ("tier=,zone=a", False),
        # whitespace
        ("  tier = gold ", True),
        ("tier\t==\ngold\r\n,\tzone  !=  b", True),
        ("tier in(gold)", True),
        (" tier  in\t( gold , silver ) , zone notin ( b ) ", True),
        # everything
        ("", True),
        (" \t\r\n", True),
    ],
)
def test_a_selector_matches_as_in_kubernetes(selector: str, matches: bool) -> None:
    assert parse(selector)(LABELS) is matches


@pytest.mark.parametrize(
    "selector",
    [f"{'k' * 63}=v", f"k={'v' * 63}", f"{'p' * 253}/k", "0.1.2.domain/99", "a-b_c.D=e-f_g.H"],
    ids=lambda selector: selector[:20],
)
def test_the_longest_and_oddest_legal_names_are_read(selector: str) -> None:
    assert not parse(selector)(LABELS)


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (",", ","),
        ("tier,", "tier,"),
        ("tier=gold,", "tier=gold,"),
        ("tier in (gold),", "tier in (gold),"),
        (",tier", ",tier"),
        ("tier,,zone", ",zone"),
        ("tier=gold zone=a", "tier=gold zone=a"),
        ("tier zone", "tier zone"),
        ("zone=a,tier=gold||x=y", "tier=gold||x=y"),
        ("tier==gold==x", "tier==gold==x"),
        ("!tier=gold", "!tier=gold"),
        ("!", "!"),
        ("=gold", "=gold"),
        ("tier>1", "tier>1"),
        ("tier in gold", "tier in gold"),
        ("tier in (gold", "tier in (gold"),
        ("tier in (gold))", "tier in (gold))"),
        ("tier in ((gold))", "tier in ((gold))"),
        ("tier nott in (gold)", "tier nott in (gold)"),
        ("(", "("),
        ("tier in (gold silver)", "gold silver"),
        ("tier in (-gold)", "-gold"),
        (f"tier in ({'v' * 64})", "v" * 64),
        ("-tier=gold", "-tier=gold"),
        ("tier-=gold", "tier-=gold"),
        ("_tier", "_tier"),
        ("tier=gold-", "tier=gold-"),
        ("tier=göld", "tier=göld"),
        ("tïer", "tïer"),
        ("tier\xa0=gold", "tier"),
        ("tier=gold\x00", "tier=gold"),
        ("a/b/c", "a/b/c"),
        ("/a", "/a"),
        ("a/", "a/"),
        ("Example.com/role", "Example.com/role"),
        ("a..b/c", "a..b/c"),
        ("a-.b/c", "a-.b/c"),
        ("a_b/c", "a_b/c"),
        ("k" * 64, "k" * 40),
        (f"k={'v' * 64}", "k=vvvv"),
        (f"{'p' * 254}/k", "p" * 40),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read_is_shown_beside_what_to_write(selector: str, shown: str) -> None:
    with pytest.raises(SelectorError, match=r": write (for example tier=gold|at most 63)") as error:
        parse(selector)
    assert shown in str(error.value)


def test_the_greatest_length_is_named() -> None:
    assert parse(" " * MAX_LENGTH)({})
    with pytest.raises(SelectorError, match=f"{MAX_LENGTH + 1} characters: write at most 4096"):
        parse(" " * (MAX_LENGTH + 1))


def up_to_the_limit(piece: str, start: str = "", end: str = "") -> str:
    return (start + piece * MAX_LENGTH)[: MAX_LENGTH - len(end)] + end


@pytest.mark.parametrize(
    "selector",
    [
        up_to_the_limit("a"),
        up_to_the_limit("a."),
        up_to_the_limit("a-", end="/"),
        up_to_the_limit("a.a-", end="/a"),
        up_to_the_limit("a/"),
        up_to_the_limit("!"),
        up_to_the_limit(" ", end="?"),
        up_to_the_limit(" ", "a", "?"),
        up_to_the_limit(" ", "a in", "?"),
        up_to_the_limit(" ", "a in (", "?"),
        up_to_the_limit(" ", "a notin (x", "("),
        up_to_the_limit(",", "a in ("),
        up_to_the_limit("a in ("),
        up_to_the_limit("a,", end="?"),
        up_to_the_limit("a=b ,", end="?"),
        up_to_the_limit("a=b, " + " " * 400, end="?"),
        up_to_the_limit(" in notin"),
        up_to_the_limit("a" * 63 + " "),
        up_to_the_limit(("a" * 252 + "-./") * 2),
    ],
    ids=range(19),
)
def test_no_selector_takes_long_to_refuse(selector: str) -> None:
    assert len(selector) == MAX_LENGTH
    start = time.process_time()
    with pytest.raises(SelectorError):
        parse(selector)
    assert time.process_time() - start < 0.5


KEYS = ["tier", "a.b/tier", "in", "notin", "x"]
VALUES = ["", "gold", "in", "g-o_l.d", "0"]


@dataclass(frozen=True)
class Requirement:
    """One requirement, as a naive evaluator sees it."""

    key: str
    operator: str
    values: tuple[str, ...]

    def tokens(self) -> Iterator[str]:
        """The words and signs; between two of them whitespace may stand."""
        if self.operator == "!":
            yield from ("!", self.key)
        elif self.operator in {"in", "notin"}:
            yield from (f"{self.key} {self.operator}", "(")
            for number, value in enumerate(self.values):
                yield from ((",", value) if number else (value,))
            yield ")"
        elif self.operator == "exists":
            yield self.key
        else:
            yield from (self.key, self.operator, self.values[0])

    def holds(self, labels: Mapping[str, str]) -> bool:
        if self.operator in {"exists", "!"}:
            return (self.key in labels) == (self.operator == "exists")
        values = self.values if self.operator in {"in", "notin"} else self.values[:1]
        has_one = self.key in labels and labels[self.key] in values
        return has_one == (self.operator in {"=", "==", "in"})


requirements = st.lists(
    st.builds(
        Requirement,
        st.sampled_from(KEYS),
        st.sampled_from(["=", "==", "!=", "in", "notin", "exists", "!"]),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple),
    ),
    max_size=4,
)
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))


@given(requirements, labels, st.data())
def test_a_selector_means_what_a_naive_evaluator_says(
    wanted: list[Requirement], labels: dict[str, str], data: st.DataObject
) -> None:
    space = st.sampled_from(["", "", " ", "\t "])
    text = ",".join(
        "".join(data.draw(space) + token for token in requirement.tokens())
        for requirement in wanted
    )
    assert parse(text)(labels) == all(requirement.holds(labels) for requirement in wanted)


@given(st.text("ab =!,()in./-\n", max_size=30))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    with suppress(SelectorError):
        assert parse(text)(LABELS) in {True, False}


# -- labels --------------------------------------------------------------------------------------


def naively(key: str, value: str) -> bool:
    """Kubernetes' rules for labels, one after the other."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    small, word = letters + "0123456789", letters + letters.upper() + "0123456789"
    prefix, slash, name = key.rpartition("/")
    if slash:
        parts = prefix.split(".")
        if len(prefix) > 253 or not all(
            part and set(part) <= set(small + "-") and part[0] in small and part[-1] in small
            for part in parts
        ):
            return False
    for text in (name, value):
        if text and (text[0] not in word or text[-1] not in word):
            return False
        if len(text) > 63 or not set(text) <= set(word + "-_."):
            return False
    return bool(name)


@given(
    st.text("aZ0-_./=", max_size=8) | st.sampled_from(["tier", "a.b/c"]),
    st.text("aZ0-_./=", max_size=8) | st.sampled_from(["", "gold"]),
)
def test_a_label_is_what_kubernetes_takes(key: str, value: str) -> None:
    assert is_label(key, value) is naively(key, value)


@pytest.mark.parametrize(
    ("key", "value", "fits"),
    [
        ("k" * 63, "v" * 63, True),
        ("k" * 64, "v", False),
        ("k", "v" * 64, False),
        ("p" * 253 + "/k", "v", True),
        ("p" * 254 + "/k", "v", False),
        ("", "v", False),
        ("/k", "v", False),
        ("a/b/c", "v", False),
        ("A.b/c", "v", False),
        ("a=b", "c", False),
        ("a", "b=c", False),
        ("tier", "gold\n", False),
        ("tier\n", "gold", False),
        ("ti\u0435r", "gold", False),
        ("tier", "g\u0663ld", False),
        ("tier", "gold,zone=a", False),
        (" tier", "gold", False),
    ],
)
def test_a_label_has_its_bounds(key: str, value: str, fits: bool) -> None:
    assert is_label(key, value) is fits


@given(st.text("aZ0-_./", min_size=1, max_size=8), st.text("aZ0-_.", max_size=8))
def test_every_label_can_be_selected(key: str, value: str) -> None:
    if is_label(key, value):
        assert parse(f"{key}={value}")({key: value})
