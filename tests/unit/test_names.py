from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.names import SUGGESTIONS, Names
from unit.costs import calls_of

LLAMA = "meta-llama/Llama-3.1-8B"
QWEN = "Qwen/Qwen2.5-7B"
KNOWN = [LLAMA, QWEN, "vicuna", "vicuna@llm", "bge:m3"]

some_names = st.lists(
    st.text("aAbB-./@:ß", min_size=1, max_size=10) | st.sampled_from(KNOWN),
    max_size=20,
    unique=True,
)


def names_of(known: list[str]) -> Names:
    names = Names()
    for name in known:
        names.add(name)
    return names


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (LLAMA.lower(), LLAMA),
        (LLAMA.upper(), LLAMA),
        ("Llama-3.1-8B", LLAMA),
        ("llama-3.1-8b", LLAMA),
        ("someone-else/Llama-3.1-8B", LLAMA),
        ("meta-llama/Llama-3.1-8", LLAMA),
        ("meta-lama/Llama-3.1-8B", LLAMA),
        ("llama-3-8b", LLAMA),
        ("qwen2.5-7b", QWEN),
        ("Qwen/Qwen-2.5-7B", QWEN),
        ("qwen/qwen2.5-72b", QWEN),
        ("Vicuna", "vicuna"),
        ("vicunna", "vicuna"),
        ("vicua", "vicuna"),
        ("bicuna", "vicuna"),
        ("vicuna@lm", "vicuna@llm"),
        ("bge-m3", "bge:m3"),
    ],
)
def test_the_name_that_was_meant_comes_first(asked: str, meant: str) -> None:
    assert names_of(KNOWN).near(asked)[0] == meant


@pytest.mark.parametrize("asked", ["gpt-4o", "x", "/", "", "mixtral", "m" * 253])
def test_what_resembles_nothing_gets_no_suggestion(asked: str) -> None:
    assert names_of(KNOWN).near(asked) == []


def test_without_names_there_is_nothing_near() -> None:
    assert Names().near("vicuna") == []


@pytest.mark.parametrize(
    "known", [["a/llama", "b/llama"], ["Llama", "llama"], ["a/Llama", "llama", "b/LLAMA"]]
)
def test_names_that_differ_in_owner_or_case_alone_are_all_suggested(known: list[str]) -> None:
    assert sorted(names_of(known).near("c/llama")) == sorted(known)


def test_there_are_few_suggestions() -> None:
    assert len(names_of([f"vicuna-{size}b" for size in range(50)]).near("vicuna-7")) == SUGGESTIONS


@given(some_names, st.text(max_size=10))
def test_a_look_up_leaves_nothing_behind(known: list[str], asked: str) -> None:
    names = names_of(known)
    before = deepcopy(vars(names))
    assert set(names.near(asked)) <= set(known)
    assert vars(names) == before


@given(some_names, st.integers(0, 20))
def test_names_that_came_and_went_leave_nothing_behind(everyone: list[str], kept: int) -> None:
    names = names_of(everyone)
    for name in everyone[kept:]:
        names.discard(name)
    assert vars(names) == vars(names_of(everyone[:kept]))


@given(some_names)
def test_a_known_name_is_near_itself(known: list[str]) -> None:
    names = names_of(known[:SUGGESTIONS])
    assert all(name in names.near(name) for name in known[:SUGGESTIONS])


def test_a_look_up_costs_the_same_with_many_names() -> None:
    costs = []
    for others in (100, 20_000):
        names = names_of([*KNOWN, *(f"model-{number:05}" for number in range(others))])
        costs.append(calls_of(lambda names=names: names.near("someone/vicunna")))  # type: ignore[misc]
    assert costs[1] <= 1.2 * costs[0]
