"""What is gone, or going, is not given out."""

from __future__ import annotations

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.kubelet import Kubelet
from support.line import Line, everything, instance_watches
from support.operator_process import Start
from support.replay import Proof, replay
from support.waiting import eventually

RESYNC_SECONDS = 1
HISTORY_IS_GONE = {
    "type": "ERROR",
    "object": {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410},
}
"""What a watch begins with that asks for what was compacted: no event tells of that any more."""


def watches(line: Line) -> int:
    """How often the watch of instances was asked for."""
    return sum(instance_watches(r.method, r.path, r.query) for r in line._seen.requests)


@replay(without="resync-removal")
def test_an_instance_that_was_deleted_while_the_watch_was_cut_is_gone_within_one_resync(
    cluster: Cluster, start_operator: Start, proof: Proof, background: BackgroundLoop
) -> None:
    line = Line(cluster, background)
    for name in ("a", "b"):
        cluster.create(name, beat="1")
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}", server=line.url)
    eventually(lambda: len(operator.instances(healthy=True)) == 2)
    eventually(lambda: watches(line) > 0)
    line.respond(instance_watches, 200, HISTORY_IS_GONE)
    held = line.hold(everything)
    line.fall()
    before = watches(line)
    line.rise()
    cluster.delete("a")
    eventually(held.reached.is_set)
    eventually(lambda: watches(line) > before)  # later on it would go on, and tell
    assert operator.phase("a") == "Healthy", "nobody has told"
    line.clear()
    with proof:
        eventually(lambda: operator.instances().keys() == {"default/b"}, within=RESYNC_SECONDS)
        assert {operator.selects() for _ in range(10)} == {"b"}


@replay(without="deletion-check")
def test_an_instance_that_waits_for_its_finalizers_is_not_given_out(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", beat="1")
    eventually(lambda: operator.selects() == "a")
    cluster.patch("a", {"metadata": {"finalizers": ["example.com/slow"]}})
    cluster.delete("a")
    cluster.beat("a")
    with proof:
        eventually(lambda: operator.selects() is None, within=1)
        assert operator.instances()["default/a"]["reason"] == "Deleting"


@replay(without="termination-check")
def test_a_pod_that_is_being_deleted_is_not_given_out_although_it_is_ready(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    kubelet.run()
    eventually(lambda: operator.selects() == "p")
    kubelet.delete()
    kubelet.report(ready=True)
    with proof:
        eventually(lambda: operator.selects() is None, within=1)
        assert operator.instances()["default/p"]["reason"] == "PodTerminating"
