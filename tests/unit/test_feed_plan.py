"""What a feed does to a router: values in, values out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.client.steady import Choice
from modelinstance.client.watching import Instance
from modelinstance.feed.plan import Wishes, outdated, plan, wishes
from modelinstance.feed.urls import base_of_rank, normalized

A, B, C = (f"http://10.0.0.{number}:8000" for number in (1, 2, 3))
WISHES = Wishes({A: "n/a"}, {B: "n/b is Draining: DrainRequested"}, {})
ONE = Instance(
    namespace="n", name="one", model="m", aliases=(), host="10.0.0.1", port=8000, address=A,
    weight=1.0, healthy=True, phase="Healthy", reason="HeartbeatReceived",
    incarnation="0123456789abcdef",
)  # fmt: skip


@pytest.mark.parametrize(
    ("url", "same"),
    [
        (A, A),
        ("HTTP://10.0.0.1:8000/", A),
        ("http://10.0.0.1:8000//", A),
        ("http://Worker.Example.", "http://worker.example:80"),
        ("https://worker.example", "https://worker.example:443"),
        ("http://[FD00:0::5]:1", "http://[fd00::5]:1"),
        ("http://10.0.0.1:8000/v1", None),
        ("http://10.0.0.1:8000?x=1", None),
        ("http://user@10.0.0.1:8000", None),
        ("http://10.0.0.1:8000@3", None),
        ("http://10.0.0.1:no", None),
        ("http://10.0.0.1:70000", None),
        ("grpc://10.0.0.1:8000", None),
        ("http://[fd00", None),
        ("10.0.0.1:8000", None),
        ("", None),
    ],
)
def test_one_spelling_for_one_worker(url: str, same: str | None) -> None:
    assert normalized(url) == same


@given(st.text(max_size=40))
def test_any_text_has_one_spelling_or_none(text: str) -> None:
    same = normalized(text)
    assert same is None or normalized(same) == same


def test_ranks_have_a_base() -> None:
    assert base_of_rank("http://10.0.0.1:8000@3") == A
    assert base_of_rank("http://user@10.0.0.1:8000") is None
    assert base_of_rank(A) is None


def test_what_is_wanted_is_added_once() -> None:
    assert plan(WISHES, []).adds == {A: "n/a is selected"}
    assert plan(WISHES, [f"{A}/"]).adds == {}
    assert plan(WISHES, [], pending={A}).adds == {}
    assert plan(WISHES, [f"{A}@0", f"{A}@1"]).adds == {}, "its ranks are there"


def test_what_the_registry_refuses_is_removed_with_the_reason_in_the_routers_spelling() -> None:
    todo = plan(WISHES, [f"{B}/", A])
    assert todo.removes == {f"{B}/": "n/b is Draining: DrainRequested"}
    assert not todo.adds
    assert not todo.left


def test_what_others_added_is_left_alone_unless_all_is_ours() -> None:
    odd = f"{C}@1"
    todo = plan(WISHES, [A, C, odd])
    assert not todo.removes
    assert todo.left == {
        C: "it was not added from the registry",
        odd: "it is no plain base URL",
    }
    assert plan(WISHES, [A, C], owned={C}).removes == {C: "the registry lists no such instance"}
    assert plan(WISHES, [A, C, odd], exclusive=True).removes.keys() == {C}


def test_what_may_not_be_known_yet_is_spared() -> None:
    todo = plan(WISHES, [C, B], owned={B, C}, spared={B, C}, exclusive=True)
    assert todo.removes.keys() == {B}, "the registry lists it"
    assert todo.left == {C: "the registry may not know of it yet"}


def test_wishes_are_by_url_whatever_the_instances_are_called() -> None:
    path = replace(ONE, name="path", address=f"{C}/api/v1")
    twin = replace(ONE, name="twin", address="http://10.0.0.1:8000/", healthy=False)
    drained = replace(ONE, name="drained", address=B, healthy=False, phase="Draining", reason="R")
    idle = replace(ONE, name="idle", address=C, weight=0.0)
    listed = {each.key: each for each in (ONE, path, twin, drained, idle)}
    wished = wishes(Choice({"n/one": ONE, "n/path": path}, listed))
    assert wished.wanted == {A: "n/one"}
    assert wished.refused == {B: "n/drained is Draining: R", C: "n/idle has the weight 0"}
    assert wished.unfit == {
        "n/path": f"its address {C}/api/v1 has a path, and routers add their own"
    }


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
def test_the_path_that_routers_add_is_left_out(path: str) -> None:
    one = replace(ONE, address=A + path)
    two = replace(ONE, name="two", address=B + path, weight=0.0)
    wished = wishes(Choice({one.key: one}, {one.key: one, two.key: two}))
    assert wished.wanted == {A: "n/one"}
    assert wished.refused == {B: "n/two has the weight 0"}
    assert not wished.unfit


# -- workers that have changed their model ---------------------------------------------------------

NEW = Wishes({A: "n/a"}, {}, {}, {A: ("new", "alias")}, {"new", "alias", "other"})


@pytest.mark.parametrize(
    ("model", "remembered", "is_outdated"),
    [
        ("old", "old", True),
        ("old", "", False),  # what the engine calls it, for all that is known
        ("old", "new", False),  # it was added for this model: what the engine calls it
        ("new", "old", False),
        ("alias", "old", False),
        ("old", "alias", False),
        ("other", "", True),
        ("other", "new", False),
    ],
)
def test_a_worker_is_outdated_when_its_model_has_changed_since_it_was_added(
    model: str, remembered: str, is_outdated: bool
) -> None:
    found = outdated(NEW, {f"{A}/": model, B: model}, {A: remembered, B: "b"})
    why = f"the router takes it for {model}, and it serves new now"
    assert found == ({f"{A}/": why} if is_outdated else {})


def test_what_is_outdated_is_removed_first_and_added_when_it_has_gone() -> None:
    todo = plan(NEW, [A], outdated={A: "why"})
    assert (todo.adds, todo.removes) == ({}, {A: "why"})
    assert plan(NEW, [], outdated={}).adds.keys() == {A}


def test_wishes_hold_the_names_of_all_that_are_at_a_url() -> None:
    lora = replace(ONE, name="two", model="l", aliases=("x",))
    gone = replace(ONE, name="gone", model="g", healthy=False)
    every = {each.key: each for each in (ONE, lora, gone)}
    wished = wishes(Choice({"n/one": ONE, "n/two": lora}, every))
    assert wished.names == {A: ("m", "l", "x")}
    assert wished.known == {"m", "l", "x", "g"}


URLS = st.sampled_from([A, B, C, f"{A}/", f"{C}@0", "http://other:1"])
SETS = st.sets(st.sampled_from([A, B, C, "http://other:1"]))


@given(
    wanted=SETS, refused=SETS, present=st.sets(URLS), owned=SETS, pending=SETS, spared=SETS,
    exclusive=st.booleans(),
)  # fmt: skip
def test_a_plan_that_is_done_leaves_nothing_to_do(
    wanted: set[str],
    refused: set[str],
    present: set[str],
    owned: set[str],
    pending: set[str],
    spared: set[str],
    exclusive: bool,
) -> None:
    said = Wishes(dict.fromkeys(wanted, "k"), dict.fromkeys(refused - wanted, "why"), {})
    kept = {"owned": owned, "spared": spared, "exclusive": exclusive}
    todo = plan(said, present, pending=pending, **kept)  # type: ignore[arg-type]
    assert todo.removes.keys() | todo.left.keys() <= present
    assert not {normalized(url) for url in todo.removes} & wanted
    assert todo.adds.keys() == {
        url for url in wanted - pending
        if url not in {normalized(each) or base_of_rank(each) for each in present}
    }  # fmt: skip
    after = (present - todo.removes.keys()) | todo.adds.keys()
    again = plan(said, after, pending=pending, **kept)  # type: ignore[arg-type]
    assert not again.adds
    assert not again.removes
    if not exclusive:
        touched = {normalized(url) for url in todo.removes}
        assert touched <= owned | refused, "it removes only what is the feed's"
