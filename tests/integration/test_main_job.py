"""What a user sees: apply, beat, silence, recovery, change, deletion."""

from __future__ import annotations

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually


def test_an_instance_is_starting_until_its_first_heartbeat(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.apply(cluster.manifest("a"))
    eventually(lambda: cluster.phase("a") == "Starting")
    assert operator.selects("m") is None
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.selects("m") == "a"


def test_silence_makes_unhealthy_and_a_new_heartbeat_heals(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", timeout=2)
    eventually(lambda: cluster.beat("a") and operator.selects("m") == "a")
    eventually(lambda: operator.selects("m") is None)
    eventually(lambda: cluster.condition("a")["reason"] == "HeartbeatExpired")
    eventually(lambda: cluster.beat("a") and cluster.phase("a") == "Healthy")


def test_creation_change_and_deletion_reach_the_endpoint_and_the_status(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", host="Fd00::5", scheme="https", basePath="/llm", aliases=["z", "b"])
    shown = eventually(lambda: operator.instances()["default/a"])
    assert shown == {
        "namespace": "default",
        "name": "a",
        "model": "m",
        "aliases": ["b", "z"],
        "host": "fd00::5",
        "port": 8000,
        "address": "https://[fd00::5]:8000/llm",
        "weight": 1.0,
        "phase": "Starting",
        "healthy": False,
        "reason": "AwaitingFirstHeartbeat",
        "message": shown["message"],
        "incarnation": shown["incarnation"],
        "load": None,
        "heartbeatAgeSeconds": None,
    }
    eventually(lambda: cluster.get("a").get("status", {}).get("address") == shown["address"])

    cluster.beat("a")
    eventually(lambda: operator.instances()["default/a"]["healthy"])
    cluster.patch("a", {"spec": {"weight": 50}})
    eventually(lambda: operator.instances()["default/a"]["weight"] == 0.5)
    assert operator.phase("a") == "Healthy"

    cluster.patch("a", {"spec": {"port": 8001}})
    eventually(lambda: operator.instances()["default/a"]["port"] == 8001)
    assert operator.phase("a") == "Starting", "another address has to report for itself"
    eventually(lambda: cluster.get("a")["status"]["address"] == "https://[fd00::5]:8001/llm")
    assert cluster.phase("a") == "Starting"

    cluster.delete("a")
    eventually(lambda: not operator.instances())
    assert operator.get("/api/v1/select", model="m").status_code == 404


def test_a_heartbeat_in_the_same_edit_as_a_new_address_is_not_one_of_it(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", beat="first")
    eventually(lambda: operator.selects("m") == "a")
    annotation = {"annotations": {"modelinstance.dev/heartbeat": "second"}}
    cluster.patch("a", {"metadata": annotation, "spec": {"host": "moved.example"}})
    eventually(lambda: operator.instances()["default/a"]["host"] == "moved.example")
    assert operator.phase("a") == "Starting"
    cluster.beat("a")
    eventually(lambda: operator.selects("m") == "a")


def test_a_name_that_is_used_again_has_to_report_for_itself(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a")
    cluster.beat("a", "value")
    eventually(lambda: cluster.phase("a") == "Healthy")
    cluster.delete("a")
    cluster.create("a")
    eventually(lambda: cluster.phase("a") == "Starting")
    assert operator.selects("m") is None
    cluster.beat("a", "value")
    eventually(lambda: operator.selects("m") == "a")


@pytest.mark.parametrize("rotation", ["Draining", "Disabled"])
def test_only_an_active_instance_is_selected(
    rotation: str, cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", beat="0")
    cluster.create("b", beat="0")
    eventually(lambda: len(operator.instances(healthy=True)) == 2)
    cluster.patch("a", {"spec": {"rotation": rotation}})
    eventually(lambda: operator.phase("a") == rotation)
    assert {operator.selects("m") for _ in range(20)} == {"b"}
    eventually(lambda: cluster.condition("a")["reason"] == rotation)
    cluster.patch("a", {"spec": {"rotation": "Active"}})
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.phase("a") == "Healthy"


def test_without_required_heartbeats_an_instance_is_healthy_once_it_is_seen(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", heartbeat={"required": False}, timeout=1)
    eventually(lambda: operator.selects("m") == "a")
    eventually(lambda: cluster.condition("a")["reason"] == "HeartbeatNotRequired")
    cluster.create("timer", modelName="other", beat="0", timeout=1)
    eventually(lambda: operator.phase("timer") == "Unhealthy")
    assert operator.selects("m") == "a", "its timeout does not matter"
    cluster.patch("a", {"spec": {"heartbeat": {"required": True}}})
    eventually(lambda: cluster.phase("a") == "Starting")


def test_an_instance_that_waits_for_a_foreign_finalizer_is_not_selected(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", beat="0")
    eventually(lambda: operator.selects("m") == "a")
    cluster.patch("a", {"metadata": {"finalizers": ["example.com/hold"]}})
    cluster.delete("a")
    eventually(lambda: operator.selects("m") is None)
    assert operator.phase("a") == "Terminating"
    eventually(lambda: cluster.condition("a")["reason"] == "Deleting")
    cluster.beat("a")
    cluster.patch("a", {"spec": {"weight": 7}})
    eventually(lambda: operator.instances()["default/a"]["weight"] == 0.07)
    assert operator.selects("m") is None
    cluster.patch("a", {"metadata": {"finalizers": None}})
    eventually(lambda: not operator.instances())
