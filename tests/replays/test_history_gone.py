"""etcd was compacted while the watch was cut: it cannot go on from where it was (410 Gone)."""

from __future__ import annotations

from support.background import BackgroundLoop
from support.cluster import API, Cluster
from support.line import Line
from support.operator_process import Start
from support.replay import Proof, replay
from support.truth import equals_truth
from support.waiting import eventually

RESYNC_SECONDS = 2


@replay(without="resync-removal")
def test_what_happened_before_the_compaction_is_found(
    own_cluster: Cluster, start_operator: Start, proof: Proof, background: BackgroundLoop
) -> None:
    cluster, line = own_cluster, Line(own_cluster, background)
    for name in ("a", "b", "c"):
        cluster.create(name, beat="1")
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}", server=line.url)
    eventually(lambda: equals_truth(cluster, operator))
    seen = cluster.request("GET", f"{API}/modelinstances").json()["metadata"]["resourceVersion"]
    line.fall()
    cluster.delete("a")
    cluster.delete("b")
    cluster.create("b")
    cluster.patch("c", {"spec": {"weight": 7}})
    cluster.create("d", beat="1")
    cluster.plane.compact_etcd()
    cluster.plane.restart_apiserver()
    query = {"watch": "true", "resourceVersion": seen, "timeoutSeconds": "1"}

    def is_gone() -> bool:
        told = cluster.request("GET", f"{API}/modelinstances", params=query).text
        assert '"code":410' in told, told
        return True

    eventually(is_gone, within=5)
    line.rise()
    eventually(lambda: not operator.readyz()["view"]["stale"], within=5 + RESYNC_SECONDS)
    with proof:
        eventually(lambda: equals_truth(cluster, operator), within=RESYNC_SECONDS)
        assert operator.instances().keys() == {"default/b", "default/c", "default/d"}
        assert operator.phase("b") == "Starting", "it has not reported for itself"
        eventually(lambda: operator.readyz()["watching"], within=5)
        cluster.create("e", beat="1")
        eventually(lambda: operator.phase("e") == "Healthy")
