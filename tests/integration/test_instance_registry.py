"""The one InstanceRegistry object: a summary of the registry, and its settings."""

from __future__ import annotations

from typing import Any

import pytest

from support.cluster import HOME, OPERATOR, Cluster
from support.operator_process import Start
from support.waiting import eventually


def summary(cluster: Cluster) -> dict[str, Any]:
    """The status of the InstanceRegistry."""
    found: dict[str, Any] = cluster.registry().get("status", {})
    return found


def columns(cluster: Cluster) -> list[str]:
    """What kubectl shows of it, but for the age."""
    return cluster.kubectl("get", "ireg", "-n", HOME, "--no-headers").split()[:-1]


def test_the_summary_follows_the_registry_and_is_written_on_change_only(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    eventually(lambda: columns(cluster) == ["default", "Live", "0", "0", "0"])
    cluster.create("a", beat="0")
    cluster.create("b")
    cluster.create("c", modelName="other")
    eventually(lambda: columns(cluster) == ["default", "Live", "2", "3", "1"])
    mark = cluster.audit_mark()
    cluster.beat("a")
    cluster.patch("b", {"spec": {"weight": 7}})
    eventually(lambda: cluster.get("b")["status"]["observedGeneration"] == 2)
    cluster.delete("a")
    eventually(lambda: columns(cluster) == ["default", "Live", "2", "2", "0"])
    written = [e for e in cluster.writes(mark) if e.resource == "instanceregistries/status"]
    assert len(written) == 1
    assert operator.metric("models") == 2


def test_its_timeout_holds_at_once_for_instances_that_name_none(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", beat="0")
    cluster.create("own", beat="0", timeout=300)
    eventually(lambda: len(operator.instances(healthy=True)) == 2)
    generation = cluster.patch_registry({"heartbeat": {"timeoutSeconds": 1}})["metadata"][
        "generation"
    ]
    eventually(lambda: operator.phase("a") == "Unhealthy")
    assert operator.phase("own") == "Healthy"
    eventually(lambda: summary(cluster)["observedGeneration"] == generation)
    generation = cluster.patch_registry({"heartbeat": None})["metadata"]["generation"]
    eventually(lambda: summary(cluster)["observedGeneration"] == generation)
    cluster.beat("a")
    cluster.create("timer", beat="0", timeout=2)
    eventually(lambda: operator.phase("timer") == "Unhealthy")
    assert operator.phase("a") == "Healthy", "the default holds again"


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_flag_and_a_variable_go_before_its_timeout(
    by: str, cluster: Cluster, start_operator: Start
) -> None:
    if by == "flag":
        operator = start_operator(cluster, "--heartbeat-timeout=300")
    else:
        operator = start_operator(cluster, env={"MODELINSTANCE_HEARTBEAT_TIMEOUT": "300"})
    cluster.create("a", beat="0")
    generation = cluster.patch_registry({"heartbeat": {"timeoutSeconds": 1}})["metadata"][
        "generation"
    ]
    eventually(lambda: summary(cluster)["observedGeneration"] == generation)
    cluster.create("timer", beat="0", timeout=2)
    eventually(lambda: operator.phase("timer") == "Unhealthy")
    assert operator.phase("a") == "Healthy"


def test_when_it_is_deleted_it_is_made_anew_and_its_settings_are_the_defaults(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.patch_registry({"heartbeat": {"timeoutSeconds": 1}})
    cluster.create("a", beat="0")
    eventually(lambda: operator.phase("a") == "Unhealthy")
    uid = cluster.registry()["metadata"]["uid"]
    mark = cluster.audit_mark()
    cluster.kubectl("delete", "ireg", "default", "-n", HOME, "--timeout=10s")
    eventually(lambda: cluster.registry()["metadata"]["uid"] != uid)
    assert cluster.registry()["spec"] == {}
    eventually(lambda: summary(cluster).get("instances") == 1)
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    cluster.create("timer", beat="0", timeout=2)
    eventually(lambda: operator.phase("timer") == "Unhealthy")
    assert operator.phase("a") == "Healthy"
    created = [e for e in cluster.writes(mark) if e.verb == "create"]
    assert [(e.resource, e.code) for e in created] == [("instanceregistries", 201)]


def test_one_in_another_namespace_is_neither_read_nor_written(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    other = {
        "apiVersion": "modelinstance.dev/v1alpha1",
        "kind": "InstanceRegistry",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"heartbeat": {"timeoutSeconds": 1}},
    }
    mark = cluster.audit_mark()
    cluster.apply(other)
    cluster.create("a", beat="0")
    cluster.create("timer", beat="0", timeout=2)
    eventually(lambda: cluster.phase("timer") == "Unhealthy")
    assert operator.phase("a") == "Healthy"
    text = cluster.kubectl("get", "ireg", "default", "-n", "default", "-o", "yaml")
    assert "status" not in text
    cluster.kubectl("delete", "ireg", "default", "-n", "default")
    written = [e for e in cluster.writes(mark, OPERATOR) if e.resource.startswith("instancereg")]
    assert {e.namespace for e in written} <= {HOME}
