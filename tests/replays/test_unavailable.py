"""Who is known but down is not unknown."""

from __future__ import annotations

from support.cluster import Cluster
from support.operator_process import Start
from support.replay import Proof, replay
from support.waiting import eventually


@replay(without="memory-of-the-down")
def test_a_model_whose_instances_are_all_down_is_answered_with_their_reasons_and_not_as_unknown(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("starts", modelName="vicuna-13b")
    cluster.create("silent", modelName="vicuna-13b", beat="1", timeout=1)
    cluster.create("leaves", modelName="vicuna-13b", beat="1")
    cluster.create("disabled", modelName="vicuna-13b", rotation="Disabled")
    eventually(lambda: len(operator.instances()) == 4)
    eventually(lambda: operator.phase("leaves") == "Healthy")
    operator.deregister("leaves")
    eventually(lambda: operator.phase("silent") == "Unhealthy")
    with proof:
        down = operator.get("/api/v1/select", model="vicuna-13b")
        assert down.status_code == 503, down.text
        assert int(down.headers["Retry-After"]) >= 1
        for told in (
            "default/starts is Starting (AwaitingFirstHeartbeat)",
            "default/silent is Unhealthy (HeartbeatExpired)",
            "default/leaves is Unhealthy (Deregistered)",
            "default/disabled is Disabled (Disabled)",
        ):
            assert told in down.json()["detail"]
        unknown = operator.get("/api/v1/select", model="vicuna-13")
        assert unknown.status_code == 404
        assert "Retry-After" not in unknown.headers
        assert "did you mean 'vicuna-13b'?" in unknown.json()["detail"]
