"""An agent and the operator: what it says is in the resource's status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agent_process import SURE, Scene, sure_of
from support.cluster import Cluster
from support.engine import HEALTH
from support.operator_process import OperatorProcess
from support.waiting import eventually

POD_NAMESPACE = "default"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as made:
        yield made


def selected(operator: OperatorProcess, model: str) -> str:
    """The instance of a model, as soon as it can be called."""
    return eventually(lambda: operator.selects(model) or "")


def ready(cluster: Cluster, name: str) -> tuple[str, str]:
    """The reason and the message of the Ready condition."""
    condition = cluster.condition(name, "Ready")
    assert condition is not None
    return condition["reason"], condition["message"]


def test_its_life_is_told_by_the_resource(
    cluster: Cluster, operator: OperatorProcess, scene: Scene
) -> None:
    engine = scene.engine("org/m", {"id": "lora", "parent": "org/m"})
    agent = scene.agent(engine, operator)
    name = selected(operator, "org/m")
    eventually(lambda: cluster.phase(name) == "Healthy")
    spec = cluster.get(name)["spec"]
    assert (spec["modelName"], spec["aliases"]) == ("org/m", ["lora"])
    assert (spec["host"], spec["port"]) == (engine.host, engine.port)

    engine.fail(HEALTH, 503)
    whys = sure_of("GET /health: HTTP 503")
    eventually(lambda: ready(cluster, name) in {("WorkerNotReady", why) for why in whys}, SURE)
    why = ready(cluster, name)[1]
    assert why in cluster.kubectl("describe", "mi", name)
    assert cluster.kubectl("get", "mi", name, "--no-headers").split()[3:5] == [
        "Unhealthy",
        "WorkerNotReady",
    ]

    engine.heal()
    eventually(lambda: cluster.phase(name) == "Healthy", SURE)

    engine.models = ("org/m",)
    eventually(lambda: not cluster.get(name)["spec"].get("aliases"), SURE)
    assert cluster.phase(name) == "Healthy"

    assert agent.stop() == 0
    eventually(lambda: ready(cluster, name)[0] == "Deregistered")


def test_a_resource_that_is_deleted_comes_again(
    cluster: Cluster, operator: OperatorProcess, scene: Scene
) -> None:
    """Its engine is there; to take it out, its rotation is changed or the pod is deleted."""
    engine = scene.engine()
    scene.agent(engine, operator)
    name = selected(operator, "m")
    eventually(lambda: cluster.phase(name) == "Healthy")
    first = cluster.get(name)["metadata"]["uid"]
    cluster.delete(name)
    eventually(lambda: cluster.get(name)["metadata"]["uid"] != first)
    eventually(lambda: operator.selects("m") == name)


def test_a_pod_owns_the_instance_of_its_agent(
    cluster: Cluster, operator: OperatorProcess, scene: Scene
) -> None:
    engine = scene.engine()
    pod = {"name": "vicuna-0", "uid": "6f3c1b8e-6c2f-4b56-8d0c-6d3b7f1e2a10"}
    scene.agent(
        engine,
        operator,
        env={
            "MODELINSTANCE_POD_NAME": pod["name"],
            "MODELINSTANCE_POD_UID": pod["uid"],
            "MODELINSTANCE_POD_NAMESPACE": POD_NAMESPACE,
        },
    )
    name = selected(operator, "m")
    (owner,) = cluster.get(name)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Pod", pod["name"], pod["uid"])
