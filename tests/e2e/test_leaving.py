"""Taken out without a trace, and without what belongs to users; also after a hard death."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import CRDS, RealCluster, Release
from e2e.people import instance
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def release(cluster: RealCluster, image: str) -> Iterator[Release]:
    """The chart for the whole cluster, with a healthy instance in its namespace and in another."""
    with cluster.clean():
        release = Release(cluster, cluster.add_namespace("home"))
        release.install(*release.of_image(image))
        for namespace in (release.namespace, cluster.add_namespace("users")):
            cluster.apply(instance("a", namespace, host=f"{namespace}.example"))
            cluster.await_phase("Starting", "a", namespace)
            cluster.beat("a", namespace)
            cluster.await_phase("Healthy", "a", namespace)
        eventually(
            lambda: (
                cluster.get("instanceregistry", "default", release.namespace)["status"]["healthy"]
                == len(cluster.all("modelinstances"))
            )
        )
        yield release


def objects(cluster: RealCluster) -> list[dict[str, Any]]:
    """All objects of our resources."""
    return [item for kind in CRDS for item in cluster.all(kind)]


def test_uninstall_leaves_what_is_the_users_and_nothing_else(release: Release, image: str) -> None:
    cluster = release.cluster
    before = objects(cluster)
    assert {item["kind"] for item in before} == {"ModelInstance", "InstanceRegistry"}
    release.uninstall()
    cluster.await_nothing_left()
    assert objects(cluster) == before
    assert not any("finalizers" in item["metadata"] for item in before)
    assert cluster.installed_crds() == set(CRDS)
    release.install(
        *release.of_image(image), "--set=logLevel=warning"
    )  # as if it had never been away
    cluster.await_phase("Healthy", "a", release.namespace)


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_the_crds_can_be_deleted(killed: bool, release: Release) -> None:
    if killed:
        release.kill()
    release.cluster.remove("crds", *CRDS)
    assert release.cluster.installed_crds() == set()
    if not killed:
        release.upgrade()  # brings the CRDs again, and finds them

        def applied() -> bool:
            release.cluster.apply(instance("b", release.namespace))
            return True

        eventually(applied, 10)  # the resource is soon served again
        release.cluster.await_phase("Starting", "b", release.namespace, 10)


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_the_operators_namespace_can_be_deleted(killed: bool, release: Release) -> None:
    if killed:
        release.kill()
    release.cluster.remove("namespace", release.namespace)
    assert release.namespace not in release.cluster.kubectl("get", "namespaces", "-o", "name")
    assert release.cluster.installed_crds() == set(CRDS)
