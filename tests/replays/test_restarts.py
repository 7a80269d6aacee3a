"""An operator that was down for long comes up: it gives out who is there, and not who was."""

from __future__ import annotations

from support.cluster import Cluster
from support.operator_process import Start
from support.replay import Proof, replay
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 5


@replay(without="memory-of-the-dead")
def test_whoever_was_dead_or_was_deleted_meanwhile_does_not_come_back_with_the_operator(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    first = start_operator(cluster)
    for name in ("dead", "silent-since", "alive", "deleted"):
        cluster.create(name, beat="1", timeout=TIMEOUT_SECONDS)
    with Workers(cluster, "alive"):
        with Workers(cluster, "silent-since", "deleted"):
            phases = {
                "dead": "Unhealthy", "silent-since": "Healthy", "alive": "Healthy",
                "deleted": "Healthy",
            }  # fmt: skip
            eventually(lambda: cluster.phases() == phases, within=TIMEOUT_SECONDS)
            assert first.stop() == 0
        cluster.delete("deleted")
        second = start_operator(cluster, ready=False)
        eventually(lambda: second.get("/readyz").status_code == 200, within=5)
        with proof:
            assert second.instances().keys() == {
                "default/dead", "default/silent-since", "default/alive",
            }  # fmt: skip
            stays(lambda: second.phase("dead") == "Unhealthy", 0.5)
            assert second.instances()["default/dead"]["reason"] == "HeartbeatExpired"
            eventually(lambda: second.phase("silent-since") == "Unhealthy", within=TIMEOUT_SECONDS)
            assert {second.selects() for _ in range(10)} == {"alive"}
            assert second.phase("dead") == "Unhealthy"
