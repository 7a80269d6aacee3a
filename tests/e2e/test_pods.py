"""Deployments whose pods have the label: scaled, and rolled under constant requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from e2e.cluster import POD_START_SECONDS, RealCluster, Release
from e2e.people import Town
from support import audit
from support.waiting import PATIENCE, eventually

GATE = "modelinstance.dev/routable"
MODEL = "vicuna"
KNOWN_SECONDS = 1
"""Within what time a deletion is known to routers: a stated bound."""
END_SECONDS = 10
"""For how long an engine answers yet that is to end: longer than what a test allows of that."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def town(cluster: RealCluster, image: str) -> Iterator[Town]:
    """The users of an operator that mirrors all namespaces, and a router among them."""
    with cluster.clean():
        home, users = cluster.add_namespace("home"), cluster.add_namespace("users")
        release = Release(cluster, home)
        release.install(*release.of_image(image))
        town = Town(cluster, release, users, image)
        town.add_router()
        yield town


def deploy(town: Town, name: str, *, replicas: int, gated: bool) -> None:
    """A Deployment of engines, which never has fewer pods available than it should have."""
    spec = town.pod_spec("/scripts/server.py", END_SECONDS=f"{END_SECONDS}")
    spec["terminationGracePeriodSeconds"] = 20
    spec["readinessGates"] = [{"conditionType": GATE}] if gated else []
    (container,) = spec["containers"]
    container["ports"] = [{"name": "http", "containerPort": 8000}]
    container["readinessProbe"] = {
        "httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1,
    }  # fmt: skip
    labels = {"app": name, "modelinstance.dev/model": MODEL if gated else name}
    town.cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": town.namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )
    rolled_out(town, name)


def rolled_out(town: Town, name: str) -> None:
    """Wait until a Deployment is as it should be."""
    town.cluster.kubectl(
        "rollout", "status", f"deployment/{name}", "-n", town.namespace, "--timeout=150s"
    )


def scale(town: Town, name: str, replicas: int) -> None:
    """``kubectl scale``."""
    town.cluster.kubectl(
        "scale", f"deployment/{name}", "-n", town.namespace, f"--replicas={replicas}"
    )


def healthy(town: Town, model: str) -> set[str]:
    """The names of the instances that routers may call."""
    items = town.get(f"/api/v1/instances?model={model}&healthy=true")[1]["items"]
    return {item["name"] for item in items}


def pods(town: Town, app: str) -> set[str]:
    """The names of the pods of a Deployment that are not being deleted."""
    found = town.cluster.all("pods", "-n", town.namespace, "-l", f"app={app}")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def resources(town: Town, model: str) -> set[str]:
    """The names of the ModelInstances of a model, whatever their health."""
    found = town.cluster.all("modelinstances", "-n", town.namespace)
    return {item["metadata"]["name"] for item in found if item["spec"]["modelName"] == model}


def test_a_deployment_is_scaled(town: Town) -> None:
    deploy(town, "scaled", replicas=1, gated=False)
    eventually(lambda: healthy(town, "scaled") == pods(town, "scaled"), POD_START_SECONDS)
    for replicas in (3, 1, 0, 1):
        scale(town, "scaled", replicas)
        rolled_out(town, "scaled")
        eventually(lambda: len(pods(town, "scaled")) == replicas, POD_START_SECONDS)  # noqa: B023
        eventually(lambda: healthy(town, "scaled") == pods(town, "scaled"), POD_START_SECONDS)
        status, _ = town.get("/api/v1/select?model=scaled")
        assert (status == 200) is (replicas > 0)
    scale(town, "scaled", 0)
    eventually(lambda: not resources(town, "scaled"), 2 * POD_START_SECONDS)


def calls(town: Town) -> list[dict[str, Any]]:
    """What the caller has done, from the first call that was answered."""
    lines = town.cluster.kubectl("logs", "caller", "-n", town.namespace).splitlines()
    made = [json.loads(line) for line in lines]
    first = next((n for n, call in enumerate(made) if call["status"] == 200), len(made))
    return made[first:]


def deletions(town: Town) -> dict[str, datetime]:
    """When each pod of the users was asked to be deleted."""
    assert town.cluster.audit_log is not None
    return {
        entry.name: entry.at
        for entry in audit.read(town.cluster.audit_log)
        if (entry.verb, entry.resource, entry.namespace) == ("delete", "pods", town.namespace)
        and entry.user.startswith("system:")
        and "replicaset" in entry.user
    }


def test_a_rolling_update_under_constant_requests_fails_none(town: Town) -> None:
    if town.cluster.audit_log is None:
        pytest.skip("E2E_AUDIT_LOG names no audit log of this cluster's API server")
    deploy(town, "rolled", replicas=2, gated=True)
    before = pods(town, "rolled")
    assert healthy(town, MODEL) == before, "none is available before it is routable"
    town.add("caller", "/scripts/caller.py", MODEL=MODEL)
    eventually(lambda: {call["name"] for call in calls(town)} == before, POD_START_SECONDS)
    for _ in range(2):
        town.cluster.kubectl("rollout", "restart", "deployment/rolled", "-n", town.namespace)
        rolled_out(town, "rolled")
    after = pods(town, "rolled")
    assert not after & before
    eventually(lambda: {call["name"] for call in calls(town)[-20:]} == after, POD_START_SECONDS)
    made = calls(town)
    assert len(made) > 200
    assert not [call for call in made if call["status"] != 200 or call["why"]]
    gone = deletions(town)
    assert before <= gone.keys()
    late = [
        call for call in made
        if call["name"] in gone
        and call["at"] - gone[call["name"]].timestamp() > PATIENCE * KNOWN_SECONDS
    ]  # fmt: skip
    assert not late
    gates = [
        condition
        for pod in town.cluster.all("pods", "-n", town.namespace, "-l", "app=rolled")
        for condition in pod["status"]["conditions"]
        if condition["type"] == GATE and "deletionTimestamp" not in pod["metadata"]
    ]
    assert [(gate["status"], gate["reason"]) for gate in gates] == [("True", "PodReady")] * 2
