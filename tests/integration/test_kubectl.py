"""How the resources look and feel with kubectl."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.cluster import HOME, Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

CRDS = ["modelinstances.modelinstance.dev", "instanceregistries.modelinstance.dev"]


def test_the_columns_say_what_an_owner_asks_first(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", modelName="vicuna", beat="0")
    cluster.create("b", modelName="vicuna", host="fd00::5", scheme="https", basePath="/v1")
    eventually(lambda: cluster.phase("a") == "Healthy" and cluster.phase("b") == "Starting")
    header, *rows = cluster.kubectl("get", "modelinstances").splitlines()
    assert header.split() == ["NAME", "MODEL", "ADDRESS", "PHASE", "REASON", "SINCE", "AGE"]
    first, second = (row.split() for row in rows)
    assert first[:5] == ["a", "vicuna", "http://a.example:8000", "Healthy", "HeartbeatReceived"]
    assert second[:5] == [
        "b", "vicuna", "https://[fd00::5]:8000/v1", "Starting", "AwaitingFirstHeartbeat",
    ]  # fmt: skip
    for row in (first, second):
        assert all(re.fullmatch(r"\d+s", age) for age in row[5:]), row


@pytest.mark.parametrize("kinds", ["mi,ireg", "model-serving", "modelinstance,instanceregistry"])
def test_short_names_and_the_category_lead_to_both_resources(
    kinds: str, cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", namespace=HOME)
    assert set(cluster.kubectl("get", kinds, "-n", HOME, "-o", "name").split()) == {
        "modelinstance.modelinstance.dev/a",
        "instanceregistry.modelinstance.dev/default",
    }


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("spec.modelName=one", {"a"}),
        ("spec.host=b.example", {"b"}),
        ("spec.rotation=Draining", {"b"}),
        ("status.phase=Healthy", {"a"}),
        ("spec.modelName=one,status.phase=Draining", set()),
    ],
)
def test_field_selectors_find_instances(
    selector: str, names: set[str], cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", modelName="one", beat="0")
    cluster.create("b", modelName="two", rotation="Draining")
    eventually(lambda: cluster.phase("a") == "Healthy" and cluster.phase("b") == "Draining")
    found = cluster.kubectl("get", "mi", "--field-selector", selector, "-o", "name").split()
    assert {name.rpartition("/")[2] for name in found if "/" in name} == names


def test_explain_shows_every_field_of_the_spec(cluster: Cluster) -> None:
    text = cluster.kubectl("explain", "mi.spec")
    schema = _schema(cluster, CRDS[0])["properties"]["spec"]
    assert schema["description"] in text
    for name, field in schema["properties"].items():
        assert re.search(rf"^  {name}\t<", text, re.MULTILINE), name
        assert " ".join(field["description"].split()) in " ".join(text.split()), name


@pytest.mark.parametrize("crd", CRDS)
def test_every_field_has_a_description_and_every_text_and_list_a_bound(
    crd: str, cluster: Cluster
) -> None:
    schema = _schema(cluster, crd)
    fields = dict(_fields(schema, ""))
    assert len(fields) > 5
    assert not [path for path, field in fields.items() if not field.get("description")]
    spec = {path: field for path, field in fields.items() if path.startswith(".spec")}
    assert not [
        path
        for path, field in spec.items()
        if (field["type"] == "string" and not {"maxLength", "enum"} & field.keys())
        or (field["type"] == "array" and "maxItems" not in field)
    ]


def _schema(cluster: Cluster, crd: str) -> dict[str, Any]:
    found = yaml.safe_load(cluster.kubectl("get", "crd", crd, "-o", "yaml"))
    schema: dict[str, Any] = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema by its path; those that Kubernetes itself describes are not ours."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if here in {".apiVersion", ".kind", ".metadata"}:
            continue
        yield here, field
        yield from _fields(field, here)
        yield from _fields(field.get("items", {}), f"{here}[]")
