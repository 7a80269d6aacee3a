"""From the chart and the image of the version before to these, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import CRDS, POD_START_SECONDS, RealCluster, Release
from e2e.people import Town, instance
from support.waiting import eventually

PREVIOUS_CHART = Path(__file__).parent / "fixtures/modelinstance-operator-0.1.0.tgz"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def release(cluster: RealCluster, previous_image: str) -> Iterator[Release]:
    """The version before, as it was installed then, with a value of its user's."""
    with cluster.clean():
        release = Release(cluster, cluster.add_namespace("home"))
        release.install(
            *release.of_image(previous_image), "--set=heartbeatTimeoutSeconds=600",
            chart=PREVIOUS_CHART,
        )  # fmt: skip
        yield release


def arguments(release: Release) -> list[str]:
    """What the operator is run with."""
    (container,) = release.cluster.get("deployment", release.name, release.namespace)["spec"][
        "template"
    ]["spec"]["containers"]
    found: list[str] = container["args"]
    return found


def uids(cluster: RealCluster) -> list[str]:
    """The CRDs' uids: a new one would mean that all instances had been lost."""
    return [cluster.get("crd", name)["metadata"]["uid"] for name in CRDS]


def known(release: Release, namespace: str) -> dict[str, tuple[Any, ...]]:
    """Of each instance what no upgrade may change."""
    return {
        item["metadata"]["name"]: (
            item["metadata"]["uid"],
            item["metadata"]["generation"],
            item["spec"],
            item["status"]["phase"],
            item["status"]["incarnation"],
            {c["type"]: c["lastTransitionTime"] for c in item["status"]["conditions"]},
        )
        for item in release.cluster.all("modelinstances", "-n", namespace)
    }


def test_upgrade_and_rollback_keep_what_is_stored(release: Release, image: str) -> None:
    cluster, users = release.cluster, release.cluster.add_namespace("users")
    town = Town(cluster, release, users, image)
    town.add_router()
    cluster.apply(
        instance("beating", users),
        instance("silent", users, heartbeat={"timeoutSeconds": 1}),
        instance("starting", users),
        instance("draining", users, rotation="Draining"),
        instance("trusted", users, modelName="trusted", heartbeat={"required": False}),
    )
    phases = {"beating": "Healthy", "silent": "Unhealthy", "starting": "Starting",
              "draining": "Draining", "trusted": "Healthy"}  # fmt: skip
    eventually(lambda: all(cluster.phase(name, users) for name in phases))
    for name in ("beating", "silent"):
        cluster.beat(name, users)
    eventually(lambda: {name: cluster.phase(name, users) for name in phases} == phases, 5)
    before, crds = known(release, users), uids(cluster)
    assert town.selects("m") == "beating"
    pod = release.pod()

    release.upgrade(
        *release.of_image(image), "--set=resyncIntervalSeconds=30", "--set=logLevel=debug"
    )
    assert eventually(release.pod, POD_START_SECONDS) != pod
    assert {"--heartbeat-timeout=600", "--resync-interval=30", "--log-level=debug"} <= set(
        arguments(release)
    )
    assert uids(cluster) == crds
    assert "removeAfterSeconds" in cluster.kubectl(
        "explain", "instanceregistry.spec", "--recursive"
    ), "the CRDs are those of the new chart"
    eventually(lambda: town.selects("m") == "beating")
    assert known(release, users) == before
    town.add_worker("worker-0", "new")
    eventually(lambda: town.call("new") == (200, "worker-0"), POD_START_SECONDS)
    (registered,) = town.get("/api/v1/instances?model=new")[1]["items"]
    cluster.await_phase("Healthy", registered["name"], users)
    assert release.test()

    release.rollback(1)
    eventually(release.pod, POD_START_SECONDS)
    assert "--resync-interval=30" not in arguments(release)
    assert "--heartbeat-timeout=600" in arguments(release)
    eventually(lambda: town.selects("m") == "beating")
    after = known(release, users)
    assert registered["name"] in after
    assert {name: after[name] for name in before} == before
    cluster.beat("starting", users)
    cluster.await_phase("Healthy", "starting", users)
