"""The files that routers read: the same instances in any order give the same text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.client.watching import Instance
from modelinstance.export import plain
from modelinstance.export.envoy import MOST_WEIGHT, EnvoyEndpoints
from modelinstance.export.litellm import LiteLLM
from modelinstance.export.production_stack import ProductionStack
from modelinstance.export.rendering import BaseError, Render

A = Instance(
    namespace="n", name="a", model="vicuna", aliases=("lora",), host="10.0.0.5", port=8000,
    address="http://10.0.0.5:8000", weight=1.0, healthy=True, phase="Healthy", reason="PodReady",
    incarnation="0123456789abcdef",
)  # fmt: skip
B = replace(
    A, name="b", aliases=(), host="fd00::5", address="http://[fd00::5]:8000/v1", weight=0.25
)
DNS = replace(A, name="c", host="llama.example", address="https://llama.example:8000")


def test_litellm() -> None:
    text = LiteLLM({"general_settings": {"x": 1}, "model_list": [{"model_name": "own"}]})([B, A])
    assert (
        text.text
        == """\
general_settings:
  x: 1
model_list:
- model_name: own
- model_name: lora
  litellm_params:
    model: openai/lora
    api_base: http://10.0.0.5:8000/v1
    api_key: none
    weight: 1.0
  model_info:
    id: n/a/lora
- model_name: vicuna
  litellm_params:
    model: openai/vicuna
    api_base: http://10.0.0.5:8000/v1
    api_key: none
    weight: 1.0
  model_info:
    id: n/a/vicuna
- model_name: vicuna
  litellm_params:
    model: openai/vicuna
    api_base: http://[fd00::5]:8000/v1
    api_key: none
    weight: 0.25
  model_info:
    id: n/b/vicuna
"""
    )
    assert LiteLLM()([]).text == "model_list: []\n"


@pytest.mark.parametrize("name", ["os.environ/LITELLM_MASTER_KEY", "*", "team/*"])
def test_litellm_gets_no_name_in_which_it_reads_something_else(name: str) -> None:
    made = LiteLLM()([replace(A, aliases=(name,)), B])
    entries = yaml.safe_load(made.text)["model_list"]
    assert [entry["model_name"] for entry in entries] == ["vicuna", "vicuna"]
    assert made.left_out == {A.key: f"LiteLLM reads something else in a name like {name}"}


def test_production_stack() -> None:
    made = ProductionStack({"routing_logic": "session", "session_key": "user"})([DNS, B, A])
    assert json.loads(made.text) == {
        "service_discovery": "static",
        "routing_logic": "session",
        "session_key": "user",
        "static_backends": "http://10.0.0.5:8000,https://llama.example:8000,"
        "http://10.0.0.5:8000,https://llama.example:8000",
        "static_models": "lora,lora,vicuna,vicuna",
    }
    assert made.left_out == {"n/b": "that router takes no URL like http://[fd00::5]:8000"}
    comma = ProductionStack()([replace(A, model="a,b", aliases=())])
    assert comma.left_out == {"n/a": "that router takes no name with a comma, like a,b"}
    single = ProductionStack()([replace(A, address="http://vicuna:8000")])
    assert single.left_out.keys() == {"n/a"}


def test_envoy() -> None:
    made = EnvoyEndpoints("vicuna")([DNS, B, A, replace(A, name="z", weight=0.5)])
    body = json.loads(made.text)
    assert re.fullmatch("[0-9a-f]{16}", body.pop("version_info"))
    assert body == {
        "type_url": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": "vicuna",
                "endpoints": [
                    {"lb_endpoints": [endpoint("10.0.0.5", 100), endpoint("fd00::5", 25)]}
                ],
            }
        ],
    }
    assert made.left_out == {"n/c": "Envoy resolves no name here, like llama.example"}
    (empty,) = json.loads(EnvoyEndpoints("vicuna")([]).text)["resources"]
    assert empty["endpoints"] == [], "an assignment without endpoints, not a missing one"


def endpoint(host: str, weight: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": 8000}}
    return {"endpoint": {"address": address}, "load_balancing_weight": weight}


def test_plain() -> None:
    assert json.loads(plain.render([B, A]).text) == {
        "instances": [
            {
                "namespace": "n", "name": "a", "model": "vicuna", "aliases": ["lora"],
                "address": "http://10.0.0.5:8000", "weight": 1.0,
            },
            {
                "namespace": "n", "name": "b", "model": "vicuna", "aliases": [],
                "address": "http://[fd00::5]:8000/v1", "weight": 0.25,
            },
        ]
    }  # fmt: skip


@pytest.mark.parametrize("form", [LiteLLM, ProductionStack])
def test_a_base_has_to_hold_settings(form: Callable[[Any], Render]) -> None:
    bases: tuple[Any, ...] = ([], "text", 3)
    for base in bases:
        with pytest.raises(BaseError, match="not settings by name"):
            form(base)
    with pytest.raises(BaseError, match="model_list is a str, not a list"):
        LiteLLM({"model_list": "x"})


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
HOSTS = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(["a", "a.example", "localhost", "x-y.z.example"])
)


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    host = draw(HOSTS)
    port = draw(st.integers(1, 65535))
    shown = f"[{host}]" if ":" in host else host
    return Instance(
        namespace=draw(st.sampled_from(["n", "m"])), name=draw(st.sampled_from("abcdef")),
        model=draw(NAMES), aliases=tuple(draw(st.lists(NAMES, max_size=3))), host=host, port=port,
        address=f"http://{shown}:{port}{draw(st.sampled_from(['', '/v1', '/a']))}",
        weight=draw(st.floats(0.01, 1e9)), healthy=True, phase="Healthy", reason="PodReady",
        incarnation="0123456789abcdef",
    )  # fmt: skip


SETS = st.lists(instances(), max_size=6, unique_by=lambda each: each.key)


@pytest.mark.parametrize(
    ("form", "parse"),
    [
        (LiteLLM({"a": 1}), yaml.safe_load),
        (ProductionStack(), json.loads),
        (EnvoyEndpoints("m"), json.loads),
        (plain.render, json.loads),
    ],
    ids=["litellm", "vllm-router", "envoy-file", "json"],
)
@given(listed=SETS, seed=st.integers())
def test_any_instances_give_one_text_that_can_be_read(
    form: Render, parse: Callable[[str], Any], listed: list[Instance], seed: int
) -> None:
    made = form(listed)
    shuffled = [*listed]
    Random(seed).shuffle(shuffled)
    assert form(shuffled).text == made.text
    assert isinstance(parse(made.text), dict)
    assert made.left_out.keys() <= {each.key for each in listed}


@given(listed=SETS)
def test_production_stack_has_a_model_for_each_backend_that_the_router_takes(
    listed: list[Instance],
) -> None:
    body = json.loads(ProductionStack()(listed).text)
    backends, models = (body[key].split(",") for key in ("static_backends", "static_models"))
    assert len(backends) == len(models)
    assert not any("[" in backend for backend in backends)


@given(listed=SETS)
def test_litellm_has_an_entry_for_each_name_of_each_instance(listed: list[Instance]) -> None:
    entries = yaml.safe_load(LiteLLM()(listed).text)["model_list"]
    named = sorted(name for each in listed for name in each.names if "*" not in name)
    assert sorted(entry["model_name"] for entry in entries) == named
    assert all(entry["litellm_params"]["api_base"].endswith("/v1") for entry in entries)


@given(listed=SETS)
def test_envoys_weights_fit(listed: list[Instance]) -> None:
    (assignment,) = json.loads(EnvoyEndpoints("m")(listed).text)["resources"]
    weights = [
        each["load_balancing_weight"]
        for locality in assignment["endpoints"]
        for each in locality["lb_endpoints"]
    ]
    assert all(weight >= 1 for weight in weights)
    assert sum(weights) <= MOST_WEIGHT
