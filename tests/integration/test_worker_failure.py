"""Workers in pods, and workers that say why they cannot answer, on the real API server."""

from __future__ import annotations

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

WHY = "GET /health: HTTP 500, 3 times in a row"
POD = {"name": "vicuna-0", "uid": "6f1c7a52-6a3e-4f0f-9d61-b1e0a1a0c001"}
OTHER_POD = {"name": "llama-0", "uid": "6f1c7a52-6a3e-4f0f-9d61-b1e0a1a0c002"}


def test_the_resource_of_a_worker_in_a_pod_goes_with_the_pod(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    mark = cluster.audit_mark()
    name = operator.register(pod=POD)["name"]
    assert cluster.get(name)["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", **POD}
    ]
    operator.register(200, pod=POD)
    eventually(lambda: cluster.phase(name) == "Healthy")
    written = [entry.resource for entry in cluster.writes_on(name, mark)]
    assert written.count("modelinstances") == 1
    assert set(written) <= {"modelinstances", "modelinstances/status"}


def test_an_address_that_another_pod_takes_is_not_called_under_the_old_name(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    old = operator.register(model="vicuna", host="10.0.0.5", pod=POD)["name"]
    assert operator.selects("vicuna") == old
    operator.register(model="llama", host="10.0.0.5", pod=OTHER_POD)
    assert operator.selects("vicuna") is None
    eventually(lambda: cluster.condition(old)["reason"] == "PodReplaced")
    assert "Another pod is at host 10.0.0.5" in cluster.kubectl("describe", "mi", old)


def test_describe_tells_what_the_worker_says(cluster: Cluster, operator: OperatorProcess) -> None:
    registered = operator.register()
    name, incarnation = registered["name"], registered["incarnation"]
    eventually(lambda: cluster.phase(name) == "Healthy")
    operator.beat(incarnation, failure=WHY)
    assert operator.selects() is None
    eventually(lambda: cluster.condition(name)["reason"] == "WorkerNotReady")
    described = cluster.kubectl("describe", "mi", name)
    assert f"The worker says: {WHY}" in described
    mark = cluster.audit_mark()
    operator.beat(incarnation, failure=WHY)
    operator.beat(incarnation)
    assert operator.selects() == name
    eventually(lambda: cluster.phase(name) == "Healthy")
    eventually(lambda: len(cluster.writes_on(name, mark)) == 1)
