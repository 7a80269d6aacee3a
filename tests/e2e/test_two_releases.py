"""Two installations with scopes of their own, side by side."""

from __future__ import annotations

import pytest

from e2e.cluster import CRDS, RealCluster, Release
from e2e.people import Town, instance
from support.waiting import eventually

pytestmark = pytest.mark.timeout(400)


def test_a_second_release_works_beside_the_first(cluster: RealCluster, image: str) -> None:
    with cluster.clean():
        towns = []
        for position in range(2):
            users = cluster.add_namespace("users")
            release = Release(cluster, cluster.add_namespace("home"))
            release.install(
                *release.of_image(image),
                f"--set=namespaces={{{users}}}",
                f"--set=crds.install={'true' if position == 0 else 'false'}",
            )
            towns.append(Town(cluster, release, users, image))
        first, second = towns
        for town in towns:
            town.add_router()
            cluster.apply(instance("a", town.namespace, host="10.0.0.5"))
        for town in towns:
            cluster.await_phase("Starting", "a", town.namespace)
            cluster.beat("a", town.namespace)
            cluster.await_phase("Healthy", "a", town.namespace)
            assert town.selects("m") == "a"
            items = town.get("/api/v1/instances")[1]["items"]
            assert [item["namespace"] for item in items] == [town.namespace]
            assert town.release.test()
        assert {item["metadata"]["namespace"] for item in cluster.all("instanceregistries")} == {
            town.release.namespace for town in towns
        }

        second.release.uninstall()
        assert cluster.installed_crds() == set(CRDS)
        assert first.selects("m") == "a"
        cluster.kubectl("delete", "mi", "a", "-n", first.namespace)
        eventually(lambda: first.selects("m") is None)
        assert cluster.phase("a", second.namespace) == "Healthy", "it is nobody's business now"
