"""What an operator makes of the cluster that it finds when it starts."""

from __future__ import annotations

import time
from typing import Any

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually

TIMEOUT = 10


def phases(operator: OperatorProcess) -> dict[str, str]:
    """The phases by name."""
    return {item["name"]: item["phase"] for item in operator.instances().values()}


def test_every_instance_is_taken_up_where_its_status_left_it(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    cluster.create("dead", beat="0", timeout=1)
    cluster.create("beats-meanwhile", beat="0", timeout=1)
    cluster.create("alive", beat="0")
    cluster.create("falls-silent", timeout=TIMEOUT)
    cluster.create("edited", beat="0")
    cluster.create("moved", beat="0")
    cluster.create("disabled", beat="0", rotation="Disabled")
    cluster.create("draining", beat="0", rotation="Draining")
    cluster.create("never-seen")
    cluster.create("at-its-word", heartbeat={"required": False})
    cluster.create("deleted", beat="0")
    before = {
        "dead": "Unhealthy", "beats-meanwhile": "Unhealthy", "alive": "Healthy",
        "falls-silent": "Starting", "edited": "Healthy", "moved": "Healthy",
        "disabled": "Disabled", "draining": "Draining", "never-seen": "Starting",
        "at-its-word": "Healthy", "deleted": "Healthy",
    }  # fmt: skip
    eventually(lambda: cluster.phases() == before)
    cluster.beat("falls-silent")
    beaten = time.monotonic()
    eventually(lambda: cluster.phase("falls-silent") == "Healthy")
    first.kill()

    cluster.beat("beats-meanwhile")
    cluster.patch("edited", {"spec": {"weight": 7}})
    cluster.patch("moved", {"spec": {"host": "10.0.0.9"}})
    cluster.delete("deleted")
    cluster.create("new", beat="0")
    cluster.create("new-and-mute")
    eventually(lambda: time.monotonic() > beaten + TIMEOUT, within=TIMEOUT)
    mark, started = cluster.audit_mark(), time.monotonic()
    second = start_operator(cluster)
    after: dict[str, Any] = {
        **before, "falls-silent": "Healthy", "moved": "Starting",
        "new": "Healthy", "new-and-mute": "Starting",
    }  # fmt: skip
    del after["deleted"]
    assert phases(second) == after
    eventually(lambda: cluster.phases() == after)
    eventually(lambda: cluster.get("edited")["status"]["observedGeneration"] == 2)
    assert second.instances()["default/edited"]["weight"] == 0.07
    assert cluster.get("moved")["status"]["incarnation"]["host"] == "10.0.0.9"
    expected = {"edited", "moved", "new", "new-and-mute"}
    eventually(lambda: {entry.name for entry in cluster.writes(mark)} - {"default"} == expected)

    eventually(lambda: second.phase("falls-silent") == "Unhealthy", within=TIMEOUT)
    assert time.monotonic() - started >= TIMEOUT, "it had a full timeout to be heard"
    after["falls-silent"] = "Unhealthy"
    assert phases(second) == after

    for name in ("dead", "beats-meanwhile", "falls-silent"):  # lest they be silent again at once
        cluster.patch(name, {"spec": {"heartbeat": {"timeoutSeconds": 600}}})
    for name in ("dead", "beats-meanwhile", "falls-silent", "never-seen", "moved"):
        cluster.beat(name)
        after[name] = "Healthy"
    eventually(lambda: phases(second) == after, within=1)


def test_an_instance_that_returns_into_rotation_after_a_restart_is_heard_anew(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    for name in ("disabled", "draining"):
        cluster.create(name, beat="0", rotation=name.capitalize())
    eventually(lambda: cluster.phases() == {"disabled": "Disabled", "draining": "Draining"})
    assert first.stop() == 0
    second = start_operator(cluster)
    for name in ("disabled", "draining"):
        cluster.patch(name, {"spec": {"rotation": "Active"}})
    eventually(lambda: phases(second) == {"disabled": "Starting", "draining": "Starting"})
    for name in ("disabled", "draining"):
        cluster.beat(name)
    eventually(lambda: phases(second) == {"disabled": "Healthy", "draining": "Healthy"})


def test_a_status_that_was_written_for_another_object_of_that_name_is_ignored(
    cluster: Cluster, start_operator: Start
) -> None:
    """As it comes with an object that was moved from another cluster, status and all."""
    first = start_operator(cluster)
    cluster.create("a", beat="0")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert first.stop() == 0
    copied = cluster.get("a")
    cluster.delete("a")
    metadata = {"name": "a", "namespace": "default"}
    created = cluster.request(
        "POST", cluster.path("a").rpartition("/")[0], json={**copied, "metadata": metadata}
    ).json()
    restored = {**created, "status": copied["status"]}
    assert cluster.request("PUT", f"{cluster.path('a')}/status", json=restored).status_code == 200
    assert cluster.phase("a") == "Healthy"
    second = start_operator(cluster)
    assert second.phase("a") == "Starting"
    eventually(lambda: cluster.phase("a") == "Starting")
    uid = cluster.get("a")["metadata"]["uid"]
    assert cluster.get("a")["status"]["incarnation"]["uid"] == uid


def test_a_restart_writes_nothing_of_a_worker_that_cannot_answer(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    registered = first.register()
    name = registered["name"]
    first.beat(registered["incarnation"], failure="HTTP 500")
    eventually(lambda: cluster.condition(name)["reason"] == "WorkerNotReady")
    first.stop()
    mark = cluster.audit_mark()
    second = start_operator(cluster)
    assert second.instances()[f"default/{name}"]["reason"] == "WorkerNotReady"
    cluster.create("later")
    eventually(lambda: cluster.phase("later") == "Starting")
    assert not cluster.writes_on(name, mark)
    assert "HTTP 500" in cluster.condition(name)["message"]
    second.beat(second.instances()[f"default/{name}"]["incarnation"])
    eventually(lambda: cluster.phase(name) == "Healthy")
