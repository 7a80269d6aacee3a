"""Objects belong to their users: the operator writes statuses, and waits in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import HOME, Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

MANAGER = "modelinstance-operator"
TIMEOUT = 6
"""Long enough to see, on a slow machine, that it is Healthy meanwhile."""


def written_by_operator(metadata: dict[str, Any]) -> list[tuple[str, str, set[str]]]:
    """What the operator owns of an object: subresource, operation and top-level fields."""
    return [
        (entry.get("subresource", ""), entry["operation"], set(entry["fieldsV1"]))
        for entry in metadata["managedFields"]
        if entry["manager"] == MANAGER
    ]


def test_of_a_users_object_nothing_but_the_status_is_ever_written(
    cluster: Cluster, start_operator: Start
) -> None:
    mark = cluster.audit_mark()
    operator = start_operator(cluster, "--remove-after=1")
    manifest = cluster.manifest("a", timeout=TIMEOUT)
    manifest["metadata"]["labels"] = {"tier": "gold"}
    manifest["metadata"]["annotations"] = {"example.com/note": "mine"}
    cluster.apply(manifest)
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    eventually(lambda: cluster.phase("a") == "Unhealthy", within=TIMEOUT)
    said = {"host": "a.example", "weight": 3, "labels": {"tier": "silver"}, "aliases": ["b"]}
    assert operator.register(200, **said)["name"] == "a"
    eventually(lambda: cluster.phase("a") == "Healthy")
    operator.drain("a")
    eventually(lambda: cluster.phase("a") == "Draining")
    operator.deregister("a")
    eventually(lambda: cluster.phase("a") == "Unhealthy")
    stays(lambda: cluster.phase("a") == "Unhealthy", 2)
    cluster.patch("a", {"spec": {"rotation": "Draining"}})
    eventually(lambda: cluster.phase("a") == "Draining")

    metadata = cluster.get("a")["metadata"]
    assert metadata.keys() == {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
        "labels", "annotations", "managedFields",
    }  # fmt: skip
    assert metadata["labels"] == {"tier": "gold"}
    assert metadata["annotations"].keys() == {
        "example.com/note",
        "modelinstance.dev/heartbeat",
        "kubectl.kubernetes.io/last-applied-configuration",
    }
    assert metadata["generation"] == 2, "applied, and drained"
    assert written_by_operator(metadata) == [("status", "Apply", {"f:status"})]

    registry = cluster.registry()["metadata"]
    assert not {"finalizers", "annotations", "labels", "ownerReferences"} & registry.keys()
    assert sorted(written_by_operator(registry)) == [
        ("", "Update", {"f:spec"}),
        ("status", "Apply", {"f:status"}),
    ]
    assert {(e.verb, e.resource) for e in cluster.writes(mark)} == {
        ("create", "instanceregistries"),
        ("patch", "instanceregistries/status"),
        ("patch", "modelinstances/status"),
    }


@pytest.mark.parametrize("end", [OperatorProcess.stop, OperatorProcess.kill])
def test_nothing_holds_an_object_when_the_operator_is_gone(
    end: Callable[[OperatorProcess], object], cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", beat="0")
    eventually(lambda: cluster.phase("a") == "Healthy")
    eventually(lambda: cluster.registry()["status"]["instances"] == 1)
    end(operator)
    assert "deleted" in cluster.kubectl("delete", "modelinstance", "a", "--timeout=5s")
    assert "deleted" in cluster.kubectl("delete", "ireg", "default", "-n", HOME, "--timeout=5s")
    assert not cluster.instances()


def test_what_happened_while_the_operator_was_down_is_right_after_its_start(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    for name in ("changed", "deleted", "recreated"):
        cluster.apply(cluster.manifest(name, beat="in-the-manifest"))
        cluster.beat(name)
    eventually(lambda: cluster.phases() == dict.fromkeys(cluster.phases(), "Healthy"))
    assert first.stop() == 0
    cluster.apply(cluster.manifest("changed", weight=7, aliases=["other"]))
    cluster.kubectl("delete", "mi", "deleted", "recreated")
    cluster.apply(cluster.manifest("recreated", beat="in-the-manifest"))
    cluster.apply(cluster.manifest("applied"))
    second = start_operator(cluster)
    found = {i["name"]: (i["phase"], i["weight"]) for i in second.instances().values()}
    assert found == {
        "changed": ("Healthy", 0.07),
        "recreated": ("Starting", 1.0),
        "applied": ("Starting", 1.0),
    }
    assert second.selects("other") == "changed"
    eventually(lambda: cluster.get("changed")["status"]["observedGeneration"] == 2)
    expected = {"changed": "Healthy", "recreated": "Starting", "applied": "Starting"}
    eventually(lambda: cluster.phases() == expected)
