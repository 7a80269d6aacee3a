"""What a user sees: apply, beat, silence, recovery, deletion."""

from __future__ import annotations

from support.cluster import Cluster
from support.operator_process import Start
from support.waiting import eventually


def test_an_instance_is_starting_until_its_first_heartbeat(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.apply(cluster.manifest("a"))
    eventually(lambda: cluster.phase("a") == "Starting")
    assert operator.selects("m") is None
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.selects("m") == "a"


def test_silence_makes_unhealthy_and_a_new_heartbeat_heals(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", timeout=2)
    cluster.beat("a")
    eventually(lambda: operator.selects("m") == "a")
    eventually(lambda: operator.selects("m") is None)
    eventually(lambda: cluster.condition("a")["reason"] == "HeartbeatExpired")
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
