"""Everything that was installed can be taken away again, in whatever state the operator is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from support.cluster import API, HOME, ROOT, Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually

NAMESPACE = f"/api/v1/namespaces/{HOME}"


def leave(operator: OperatorProcess) -> None:
    """Let the operator run."""


@pytest.mark.parametrize("end", [leave, OperatorProcess.stop, OperatorProcess.kill])
def test_the_registry_object_the_namespace_and_the_crds_go_by_themselves(
    end: Callable[[OperatorProcess], object], own_cluster: Cluster, start_operator: Start
) -> None:
    cluster, up = own_cluster, end is leave
    operator = start_operator(cluster, "--resync-interval=1")
    cluster.create("a", beat="0")
    cluster.create("b", namespace=HOME)
    eventually(lambda: cluster.registry()["status"]["healthy"] == 1)
    eventually(lambda: cluster.phase("a") == "Healthy" and cluster.phase("b", HOME) == "Starting")
    end(operator)
    for found in (*cluster.instances().values(), cluster.registry()):
        assert "finalizers" not in found["metadata"]

    cluster.kubectl("delete", "ireg", "default", "-n", HOME, "--timeout=10s")
    if up:
        eventually(cluster.registry)
        end_namespace_under_an_operator(cluster, operator)
    end_namespace(cluster)
    if up:
        eventually(lambda: operator.instances().keys() == {"default/a"})

    cluster.kubectl("delete", "-k", str(ROOT / "crds"), "--timeout=30s")
    eventually(lambda: cluster.request("GET", f"{API}/modelinstances").status_code == 404)
    if up:
        eventually(lambda: operator.readyz()["view"]["stale"])
        assert operator.get("/livez").status_code == 200
        cluster.install()
        cluster.create("a", beat="0")
        eventually(lambda: cluster.phase("a") == "Healthy", within=6)
        eventually(cluster.registry)


def end_namespace_under_an_operator(cluster: Cluster, operator: OperatorProcess) -> None:
    """Begin to delete the namespace: nothing is made anew in it."""
    cluster.request("DELETE", NAMESPACE)
    mark = cluster.audit_mark()
    cluster.kubectl("delete", "ireg", "default", "-n", HOME, "--timeout=10s")

    def refused() -> int:
        return sum(e.verb == "create" and e.code == 403 for e in cluster.audit(mark))

    eventually(lambda: refused() >= 2)
    assert "because it is being terminated" in operator.log()
    with pytest.raises(LookupError):
        cluster.registry()
    assert operator.readyz()["ready"]
    assert operator.selects("m") == "a"


def end_namespace(cluster: Cluster) -> None:
    """Delete the namespace and all in it, as the namespace controller does."""
    cluster.request("DELETE", NAMESPACE)
    kinds = "mi,ireg,serviceaccounts,roles,rolebindings"
    cluster.kubectl("delete", kinds, "--all", "-n", HOME, "--timeout=10s")
    namespace = yaml.safe_load(cluster.kubectl("get", "ns", HOME, "-o", "yaml"))
    namespace["spec"]["finalizers"] = []
    assert cluster.request("PUT", f"{NAMESPACE}/finalize", json=namespace).status_code == 200
    eventually(lambda: cluster.request("GET", NAMESPACE).status_code == 404)
