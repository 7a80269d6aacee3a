"""Under which names an engine is found, from what it lists."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.agent.models import MAX_ALIASES, Served, UnreadableModelsError, served


def listing(*entries: Any) -> dict[str, Any]:
    """An answer of ``GET /v1/models``; an entry is a name, or a name and whose adapter it is."""
    data = [
        {"id": entry} if isinstance(entry, str) else {"id": entry[0], "parent": entry[1]}
        for entry in entries
    ]
    return {"object": "list", "data": data}


@pytest.mark.parametrize(
    ("entries", "model", "aliases", "expected"),
    [
        (["m"], None, (), Served("m")),
        (["m", "m-alias"], None, (), Served("m", ("m-alias",))),
        ([("lora", "m"), ("m", None)], None, (), Served("m", ("lora",))),
        ([("lora", "m")], None, (), Served("lora")),
        (["m", "n"], "n", (), Served("n", ("m",))),
        (["/models/m"], "m", (), Served("m", ("/models/m",))),
        (["m", "m"], None, ("b", "a", "m"), Served("m", ("b", "a"))),
        ([" odd", "m", "a\nb", "x" * 254], None, (), Served("m", (), (" odd", "a\nb", "x" * 254))),
        ([" odd"], "m", (), Served("m", (), (" odd",))),
        (["m", "half \ud800"], None, (), Served("m", (), ("half \ud800",))),
    ],
)
def test_the_names(
    entries: list[Any], model: str | None, aliases: tuple[str, ...], expected: Served
) -> None:
    assert served(listing(*entries), model=model, aliases=aliases) == expected


def test_as_many_aliases_as_a_registry_takes_in_their_order() -> None:
    names = [f"lora-{number}" for number in range(30)]
    found = served(listing("m", *names), aliases=["own"])
    assert found.aliases == ("own", *names[: MAX_ALIASES - 1])
    assert found.left_out == tuple(names[MAX_ALIASES - 1 :])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "it is no list of models"),
        ([], "it is no list of models"),
        ({"data": {}}, "it is no list of models"),
        ({"data": []}, "it names no model"),
        ({"data": [" "]}, "an entry of it has no id"),
        ({"data": [{"id": 7}]}, "an entry of it has no id"),
        ({"data": [{"id": " "}]}, "it names no model that a registry takes"),
    ],
)
def test_what_names_no_model_is_refused(body: Any, why: str) -> None:
    with pytest.raises(UnreadableModelsError, match=f"^{re.escape(why)}$"):
        served(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["data", "id", "parent", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_answer_makes_it_fail_otherwise(body: Any) -> None:
    try:
        found = served(body)
    except UnreadableModelsError:
        return
    assert found.model
    assert found.model not in found.aliases
