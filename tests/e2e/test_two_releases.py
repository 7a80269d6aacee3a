"""Two installations with scopes of their own, side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from e2e.cluster import CRDS, RealCluster, Release
from e2e.people import Town, instance
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)


STATUSES = ("modelinstances/status", "instanceregistries/status")
TENANT = "e2e-tenant"


def may_install(*namespaces: str) -> list[dict[str, Any]]:
    """What docs/install.md says that somebody needs who installs the chart without the CRDs."""
    group, manifests = "rbac.authorization.k8s.io", list[dict[str, Any]]()
    rules = [
        {"apiGroups": ["modelinstance.dev"], "resources": list(STATUSES), "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
    ]
    for namespace in namespaces:
        metadata = {"name": TENANT, "namespace": namespace}
        manifests.append(
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
        )
        for kind, name in (("Role", TENANT), ("ClusterRole", "admin")):
            manifests.append(
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "RoleBinding",
                    "metadata": {**metadata, "name": f"{TENANT}-{kind.lower()}"},
                    "roleRef": {"apiGroup": group, "kind": kind, "name": name},
                    "subjects": [{"apiGroup": group, "kind": "User", "name": TENANT}],
                }
            )
    return manifests


def test_a_second_release_works_beside_the_first(cluster: RealCluster, image: str) -> None:
    with cluster.clean():
        towns = []
        for position in range(2):
            users = cluster.add_namespace("users")
            release = Release(cluster, cluster.add_namespace("home"))
            if position == 1:
                cluster.apply(*may_install(users, release.namespace))
                release.install_as = TENANT
                may = ("auth", "can-i", "delete", "mi", f"--as={TENANT}", "-n", release.namespace)
                eventually(partial(cluster.kubectl, *may))  # the admin role has taken ours in
            release.install(
                *release.of_image(image),
                f"--set=namespaces={{{users}}}",
                f"--set=crds.install={'true' if position == 0 else 'false'}",
            )
            towns.append(Town(cluster, release, users, image))
        first, second = towns
        for town in towns:
            town.add_router()
            heartbeat = {"timeoutSeconds": 3600}
            cluster.apply(instance("a", town.namespace, host="10.0.0.5", heartbeat=heartbeat))
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
