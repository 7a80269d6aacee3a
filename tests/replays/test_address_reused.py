"""Addresses of pods are used again: who had one before is not called there any more."""

from __future__ import annotations

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays

HOST = "10.1.0.9"
DEAD = {"name": "vicuna-0", "uid": "6f1c7a52-6a3e-4f0f-9d61-b1e0a1a0c001"}
YOUNG = {"name": "llama-0", "uid": "6f1c7a52-6a3e-4f0f-9d61-b1e0a1a0c002"}


@replay(without="the-heard-one-holds")
def test_the_address_of_a_dead_instance_is_the_next_ones(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """Of one model: the older one would hold it for ever."""
    operator = start_operator(cluster, "--resync-interval=2")
    cluster.create("old", host=HOST, timeout=1, beat="1")
    eventually(lambda: operator.instances()["default/old"]["reason"] == "HeartbeatExpired")
    cluster.create("new", host=HOST)
    eventually(lambda: operator.phase("new"))
    with proof:
        cluster.beat("new")
        eventually(lambda: operator.selects() == "new", within=1)
        assert operator.instances()["default/old"]["reason"] == "AddressConflict"
        stays(lambda: operator.selects() == "new", 1.5)


@replay(without="displacement")
def test_another_model_is_at_the_address_of_a_pod_that_died_without_a_word(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """Its last beat is fresh, so that only the next pod's word tells that it is gone."""
    operator = start_operator(cluster)
    dead = operator.register(model="vicuna", host=HOST, pod=DEAD)["name"]
    assert operator.selects("vicuna") == dead
    operator.register(model="llama", host=HOST, pod=YOUNG)
    with proof:
        check_displaced(operator, dead)
        eventually(lambda: cluster.condition(dead)["reason"] == "PodReplaced")


def check_displaced(operator: OperatorProcess, dead: str) -> None:
    assert operator.selects("vicuna") is None
    assert operator.instances()[f"default/{dead}"]["reason"] == "PodReplaced"
    assert operator.selects("llama") is not None
