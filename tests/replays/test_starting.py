"""Who is registered but cannot answer yet is not given out."""

from __future__ import annotations

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.engine import HEALTH, FakeEngine
from support.kubelet import Kubelet
from support.operator_process import Start
from support.replay import Proof, replay
from support.waiting import eventually, stays

LOOPBACK = "--allowed-network=127.0.0.0/8"


@replay(without="waiting-for-the-first-beat")
def test_an_instance_that_was_applied_is_not_given_out_before_its_first_beat(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("a")
    eventually(operator.instances)
    with proof:
        stays(lambda: operator.selects() is None, 0.5)
        assert operator.instances()["default/a"]["reason"] == "AwaitingFirstHeartbeat"
        cluster.beat("a")
        eventually(lambda: operator.selects() == "a", within=1)


@replay(without="probe-check")
def test_an_engine_that_loads_its_model_is_not_given_out_before_its_probe_passes(
    cluster: Cluster, start_operator: Start, proof: Proof, background: BackgroundLoop
) -> None:
    engine = background.enter(FakeEngine("a"))
    engine.fail(HEALTH, 503)
    operator = start_operator(cluster, LOOPBACK)
    cluster.create(
        "a", host=engine.host, port=engine.port, heartbeat={"required": False},
        probe={"path": HEALTH, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 10},
    )  # fmt: skip
    eventually(operator.instances)
    with proof:
        stays(lambda: operator.selects() is None, 1.5)
        assert operator.instances()["default/a"]["reason"] == "AwaitingFirstProbe"
        engine.heal()
        eventually(lambda: operator.selects() == "a", within=2)


@replay(without="readiness-check")
def test_a_pod_that_has_an_address_is_not_given_out_before_it_is_ready(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    kubelet.create()
    kubelet.report(started=False)
    eventually(operator.instances)
    with proof:
        stays(lambda: operator.selects() is None, 0.5)
        kubelet.report(started=True, ready=False)
        eventually(lambda: operator.instances()["default/p"]["reason"] == "PodNotReady", within=1)
        assert operator.selects() is None
        kubelet.report(ready=True)
        eventually(lambda: operator.selects() == "p", within=1)
