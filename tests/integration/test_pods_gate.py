"""The readiness gate of a pod shows whether the registry sends requests there."""

from __future__ import annotations

from support.audit import AuditEntry
from support.cluster import Cluster
from support.kubelet import GATE, Kubelet
from support.operator_process import OperatorProcess
from support.waiting import eventually, stays

OTHER = "example.com/warm"


def shows(kubelet: Kubelet, status: str, reason: str) -> bool:
    """Whether the gate has a status for a reason."""
    gate = kubelet.gate()
    return (gate["status"], gate["reason"]) == (status, reason)


def gate_writes(cluster: Cluster, since: int) -> list[AuditEntry]:
    """The operator's writes of pods' statuses."""
    return [entry for entry in cluster.writes(since) if entry.resource == "pods/status"]


def test_it_is_true_when_the_instance_would_be_selected_and_written_once_a_change(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    mark = cluster.audit_mark()
    kubelet.create(gates=(GATE,))
    eventually(lambda: shows(kubelet, "False", "NotRegistered"))
    kubelet.report(started=False)
    eventually(lambda: shows(kubelet, "False", "PodStarting"))
    assert operator.selects() is None
    kubelet.report(ready=True)
    eventually(lambda: shows(kubelet, "True", "PodReady"))
    assert operator.selects() == "p"
    assert len(gate_writes(cluster, mark)) == 3
    since = kubelet.gate()["lastTransitionTime"]

    mark = cluster.audit_mark()
    kubelet.report(ready=True)  # as a kubelet does that has been told of the gate
    kubelet.patch({"metadata": {"labels": {"seen": "yes"}}})
    eventually(lambda: cluster.get("p")["metadata"]["labels"].get("seen"))
    assert not gate_writes(cluster, mark)
    assert kubelet.gate()["lastTransitionTime"] == since

    kubelet.report(ready=False)
    eventually(lambda: shows(kubelet, "False", "PodNotReady"))
    assert "unready status: [engine]" in kubelet.gate()["message"]
    assert len(gate_writes(cluster, mark)) == 1


def test_whatever_keeps_requests_away_closes_it(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run(gates=(GATE, OTHER))
    eventually(lambda: shows(kubelet, "False", "PodNotReady"))
    assert OTHER in kubelet.gate()["message"]
    kubelet.report(ready=True, others={OTHER: True})
    eventually(lambda: shows(kubelet, "True", "PodReady"))
    cluster.patch("p", {"spec": {"rotation": "Draining"}})
    eventually(lambda: shows(kubelet, "False", "Draining"))
    cluster.patch("p", {"spec": {"rotation": "Active", "weight": 0}})
    eventually(lambda: shows(kubelet, "False", "WeightIsZero"))
    cluster.patch("p", {"spec": {"weight": 1, "heartbeat": {"required": True}}})
    eventually(lambda: shows(kubelet, "False", "AwaitingFirstHeartbeat"))
    cluster.beat("p")
    eventually(lambda: shows(kubelet, "True", "HeartbeatReceived"))
    operator.drain("p")
    eventually(lambda: shows(kubelet, "False", "DrainRequested"))


def test_it_is_set_again_when_somebody_else_sets_it(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run(gates=(GATE,))
    eventually(lambda: shows(kubelet, "True", "PodReady"))
    theirs = {"type": GATE, "status": "False", "reason": "Theirs"}
    kubelet.patch({"status": {"conditions": [theirs]}}, of="/status")
    eventually(lambda: shows(kubelet, "True", "PodReady"))


def test_a_pod_without_it_or_on_its_way_out_is_left_alone(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    mark = cluster.audit_mark()
    kubelet.run("plain", model="plain")
    kubelet.run("p", gates=(GATE,), ip="10.1.0.2")
    eventually(lambda: shows(kubelet, "True", "PodReady"))
    eventually(lambda: operator.selects("plain") == "plain")
    assert [entry.name for entry in gate_writes(cluster, mark)][-1:] == ["p"]
    assert "plain" not in {entry.name for entry in gate_writes(cluster, mark)}
    mark = cluster.audit_mark()
    kubelet.delete()
    eventually(lambda: operator.instances()["default/p"]["reason"] == "PodTerminating")
    stays(lambda: not gate_writes(cluster, mark), 0.5)
