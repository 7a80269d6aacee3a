"""A rollout: the old ones are gone, the new ones are not there yet."""

from __future__ import annotations

import json
import select
from contextlib import ExitStack
from http.client import HTTPConnection

from support.cluster import Cluster
from support.kubelet import Kubelet
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually

WAIT_SECONDS = 12


def nobody(operator: OperatorProcess) -> str:
    """Why select gives nobody; AssertionError if it does."""
    answer = operator.get("/api/v1/select", model="m")
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    detail: str = answer.json()["detail"]
    return detail


def roll_out(kubelet: Kubelet, operator: OperatorProcess) -> None:
    """Two pods serve; then they are being deleted, and their successors start."""
    for number in range(2):
        kubelet.run(f"old-{number}", ip=f"10.1.0.{number + 1}")
    eventually(lambda: len(operator.instances(healthy=True)) == 2)
    for number in range(2):
        kubelet.create(f"new-{number}")
        kubelet.report(f"new-{number}", ip=f"10.1.1.{number + 1}", started=False)
        kubelet.delete(f"old-{number}")
    eventually(lambda: len(operator.instances()) == 4)


class Waiting:
    """A router that waits for an instance; its request was read when it is made."""

    def __init__(self, operator: OperatorProcess) -> None:
        url = operator.http.base_url
        self._connection = HTTPConnection(url.host, url.port, timeout=WAIT_SECONDS)
        self._connection.request("GET", f"/api/v1/select?model=m&wait={WAIT_SECONDS}")
        for _ in range(3):  # what came before on other connections was read by then
            assert operator.get("/livez").status_code == 200
        assert not self.is_answered

    @property
    def is_answered(self) -> bool:
        """Whether the answer is there."""
        readable, _, _ = select.select([self._connection.sock], [], [], 0)
        return bool(readable)

    def answer(self) -> tuple[int, str]:
        """Its status, and the name of the instance."""
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())["name"]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@replay(without="termination-check")
def test_between_the_old_and_the_new_pods_nobody_is_given_out_and_the_answer_says_why(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    roll_out(kubelet, operator)
    with proof:
        eventually(lambda: nobody(operator), within=1)
        said = nobody(operator)
        for number in range(2):
            assert f"default/old-{number} is Draining (PodTerminating)" in said
            assert f"default/new-{number} is Starting (PodStarting)" in said
        for number in range(2):
            kubelet.finish(f"old-{number}")
        eventually(lambda: len(operator.instances()) == 2, within=2)
        assert "default/new-0 is Starting (PodStarting)" in nobody(operator)
        kubelet.report("new-0", ip="10.1.1.1", ready=True)
        eventually(lambda: operator.selects() == "new-0", within=1)


@replay(without="registration-check")
def test_between_workers_that_said_goodbye_and_those_that_were_not_heard_nobody_is_given_out(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("old", beat="1")
    eventually(lambda: operator.selects() == "old")
    cluster.create("new")
    eventually(lambda: len(operator.instances()) == 2)
    operator.deregister("old")
    cluster.beat("old")
    with proof:
        said = eventually(lambda: nobody(operator), within=1)
        assert "default/old is Unhealthy (Deregistered)" in said
        assert "default/new is Starting (AwaitingFirstHeartbeat)" in said
        cluster.beat("new")
        eventually(lambda: operator.selects() == "new", within=1)


@replay(without="waking")
def test_who_waits_through_a_rollout_gets_the_new_pod_as_soon_as_it_is_ready(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    roll_out(kubelet, operator)
    eventually(lambda: nobody(operator))

    with ExitStack() as closing:
        waiting = [Waiting(operator) for _ in range(3)]
        for each in waiting:
            closing.callback(each.close)
        kubelet.report("new-1", ip="10.1.1.2", ready=True)
        with proof:
            eventually(lambda: all(each.is_answered for each in waiting), within=1)
            assert [each.answer() for each in waiting] == [(200, "new-1")] * 3
