"""The chart at its strictest, in a namespace that allows no less: workers, a router, failures."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import POD_START_SECONDS, RealCluster, Release
from e2e.people import Town, instance
from support.waiting import eventually, stays

STRICT = Path(__file__).with_name("strict-values.yaml")
DEAD_AFTER_SECONDS = 5
"""The heartbeat timeout of the workers here."""
AWAY_SECONDS = 20
"""That of a worker that has to find the way to another pod of the operator meanwhile."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def release(cluster: RealCluster, image: str) -> Iterator[Release]:
    """The chart, mirroring a namespace of users that is not its own."""
    with cluster.clean():
        home, users = cluster.add_namespace("home"), cluster.add_namespace("users")
        tokens = [secrets.token_hex(16), secrets.token_hex(16)]
        for namespace in (home, users):
            cluster.kubectl(
                "create", "secret", "generic", "tokens", "-n", namespace,
                f"--from-literal=tokens={chr(10).join(tokens)}",
            )  # fmt: skip
        release = Release(cluster, home)
        release.install(
            f"--values={STRICT}", *release.of_image(image), f"--set=namespaces={{{users}}}"
        )
        yield release


@pytest.fixture(scope="module")
def town(release: Release, image: str) -> Town:
    """The users, with a router among them."""
    users = release.cluster.namespaces[release.cluster.namespaces.index(release.namespace) + 1]
    secret = release.cluster.kubectl(
        "get", "secret", "tokens", "-n", users, "-o", "go-template={{.data.tokens | base64decode}}"
    )
    town = Town(release.cluster, release, users, image, secret.split()[1])
    town.add_router()
    return town


@pytest.fixture
def restarted(release: Release) -> Iterator[None]:
    """For tests that end the operator's pod: the next finds another one ready."""
    yield
    eventually(release.pod, POD_START_SECONDS)


def test_helm_test_passes(release: Release) -> None:
    told = release.test()
    assert "Phase:          Succeeded" in told
    assert "select its model: 200" in told
    assert "select it no more: 404" in told


def test_a_router_calls_a_worker_that_registered(town: Town) -> None:
    town.add_worker("llama-0", "meta-llama/Llama-3.1-8B")
    eventually(lambda: town.call("meta-llama/Llama-3.1-8B") == (200, "llama-0"), POD_START_SECONDS)
    (found,) = town.get("/api/v1/instances?model=meta-llama/Llama-3.1-8B")[1]["items"]
    resource = town.cluster.instance(found["name"], town.namespace)
    assert resource["spec"]["host"] == found["host"]
    town.cluster.await_phase("Healthy", found["name"], town.namespace)


def test_a_worker_that_is_gone_is_given_to_nobody(town: Town) -> None:
    for name in ("doomed-0", "spared-0"):
        town.add_worker(name, "doomed")
    both = {"doomed-0", "spared-0"}
    eventually(lambda: {town.call("doomed")[1] for _ in range(8)} == both, POD_START_SECONDS)
    town.remove("doomed-0")
    eventually(
        lambda: [town.call("doomed") for _ in range(8)] == [(200, "spared-0")] * 8,
        DEAD_AFTER_SECONDS + 1,
    )

    def phases() -> set[str]:
        return {item["phase"] for item in town.get("/api/v1/instances?model=doomed")[1]["items"]}

    eventually(lambda: phases() == {"Healthy", "Unhealthy"}, DEAD_AFTER_SECONDS + 1)


def test_apply_beat_and_get(town: Town) -> None:
    town.cluster.apply(instance("vicuna-0", town.namespace, modelName="vicuna", host="10.0.0.5"))
    town.cluster.await_phase("Starting", "vicuna-0", town.namespace)
    assert town.selects("vicuna") is None
    town.cluster.beat("vicuna-0", town.namespace)
    town.cluster.kubectl(
        "wait", "--for=condition=Ready", "mi/vicuna-0", "-n", town.namespace, "--timeout=15s"
    )
    shown = town.cluster.kubectl("get", "modelinstances", "vicuna-0", "-n", town.namespace)
    columns = shown.splitlines()[1].split()
    assert columns[:5] == [
        "vicuna-0",
        "vicuna",
        "http://10.0.0.5:8000",
        "Healthy",
        "HeartbeatReceived",
    ]
    assert town.selects("vicuna") == "vicuna-0"
    town.cluster.kubectl("delete", "mi", "vicuna-0", "-n", town.namespace)
    eventually(lambda: town.get("/api/v1/select?model=vicuna")[0] == 404)


def test_without_a_token_nobody_is_let_in(town: Town) -> None:
    stranger = replace(town, token="")
    stranger.add("stranger", "-c", "import signal; signal.pause()")
    assert town.get("/api/v1/models")[0] == 200
    assert stranger.get("/api/v1/models", of="stranger")[0] == 401
    assert stranger.get("/readyz", of="stranger")[0] == 200


def statuses(town: Town) -> dict[str, Any]:
    """The statuses of all that beat by themselves, with what would tell of a write."""
    return {
        item["metadata"]["name"]: (item["status"], item["metadata"]["resourceVersion"])
        for item in town.cluster.all("modelinstances", "-n", town.namespace)
    }


@pytest.mark.usefixtures("restarted")
def test_the_operators_pod_is_deleted(release: Release, town: Town) -> None:
    town.add_worker("steady-0", "steady", timeout=AWAY_SECONDS)
    eventually(lambda: town.call("steady") == (200, "steady-0"), POD_START_SECONDS)
    (found,) = town.get("/api/v1/instances?model=steady")[1]["items"]
    town.cluster.await_phase("Healthy", found["name"], town.namespace)
    before, old = statuses(town)[found["name"]], release.pod()
    release.cluster.kubectl("delete", "pod", old, "-n", release.namespace)
    release.next_pod(old)
    eventually(lambda: town.call("steady") == (200, "steady-0"))
    stays(lambda: town.call("steady") == (200, "steady-0"), AWAY_SECONDS)
    assert statuses(town)[found["name"]] == before, "a restart writes nothing"


def evict(release: Release, pod: str) -> None:
    """Ask for a pod's eviction as `kubectl drain` does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": release.namespace},
    }
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    release.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def allowed(release: Release) -> int:
    """How many evictions the PodDisruptionBudget allows now."""
    budget = release.cluster.get("pdb", release.name, release.namespace)
    if budget["status"].get("observedGeneration") != budget["metadata"]["generation"]:
        raise LookupError("not observed yet")
    disruptions: int = budget["status"]["disruptionsAllowed"]
    return disruptions


@pytest.mark.usefixtures("restarted")
def test_the_operators_pod_is_evicted_as_the_budget_allows(release: Release) -> None:
    old = release.pod()
    eventually(lambda: allowed(release) == 1, POD_START_SECONDS)
    evict(release, old)
    new = release.next_pod(old)

    release.upgrade("--set=podDisruptionBudget.minAvailable=1")
    eventually(lambda: allowed(release) == 0, POD_START_SECONDS)
    with pytest.raises(AssertionError, match="disruption budget"):
        evict(release, new)
    assert release.pod() == new, "neither evicted nor rolled"

    release.upgrade("--set=podDisruptionBudget.minAvailable=null")
    eventually(lambda: allowed(release) == 1, POD_START_SECONDS)
    evict(release, new)
    release.next_pod(new)
