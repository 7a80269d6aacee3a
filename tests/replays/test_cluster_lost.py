"""The cluster does not know our resources any more: that is "cannot tell", not "there is none"."""

from __future__ import annotations

from pathlib import Path

from support.background import BackgroundLoop
from support.cluster import ROOT, Cluster
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.truth import equals_truth
from support.waiting import eventually, stays

RESYNC_SECONDS = 2
RESYNC = f"--resync-interval={RESYNC_SECONDS}"
WHAT_IS_MISSING = "are the CRDs of modelinstance.dev installed?"


def check_memory(operator: OperatorProcess) -> bool:
    """It has all that it had, and says that this is old."""
    answer = operator.get("/api/v1/instances")
    assert len(answer.json()["items"]) == 2
    assert operator.selects() in {"a", "b"}
    assert operator.get("/api/v1/models").json()["items"][0]["healthy"] == 2
    assert answer.headers["Modelinstance-View-Stale"] == "true"
    assert WHAT_IS_MISSING in operator.readyz()["reason"]
    return True


def ask_again(operator: OperatorProcess) -> None:
    """Wait until it has listed once more, whatever came of it."""

    def lists() -> float:
        return sum(operator.metric("resyncs_total", result=end) for end in ("success", "failure"))

    before = lists()
    eventually(lambda: lists() > before, within=5 + RESYNC_SECONDS)


@replay(without="cannot-tell")
def test_the_crds_are_gone_and_come_back_while_it_runs_and_is_restarted(
    own_cluster: Cluster, start_operator: Start, proof: Proof, background: BackgroundLoop
) -> None:
    cluster, line = own_cluster, Line(own_cluster, background)
    for name in ("a", "b"):
        cluster.create(name, beat="1")
    operator = start_operator(cluster, RESYNC, server=line.url)
    eventually(lambda: equals_truth(cluster, operator))
    line.fall()
    crds = ("modelinstances.modelinstance.dev", "instanceregistries.modelinstance.dev")
    cluster.kubectl("delete", "crd", *crds)
    eventually(lambda: not cluster._served("modelinstances"))
    line.rise()
    ask_again(operator)
    restarted = start_operator(cluster, RESYNC, ready=False)
    eventually(lambda: restarted.get("/livez").status_code == 200)

    def waits() -> bool:
        answer = restarted.get("/readyz")
        assert answer.status_code == 503, "who is not ready is not asked"
        assert answer.json()["view"]["synced"] is False
        return True

    with proof:
        eventually(lambda: check_memory(operator), within=RESYNC_SECONDS)
        stays(lambda: check_memory(operator) and waits(), 2 * RESYNC_SECONDS)
        cluster.install()
        cluster.create("b")
        cluster.create("c", beat="1")
        for each in (operator, restarted):
            eventually(lambda each=each: equals_truth(cluster, each), 5 + RESYNC_SECONDS)  # type: ignore[misc]
            assert each.phase("b") == "Starting", "another uid has to report for itself"
            eventually(lambda each=each: each.readyz()["reason"] == "the view is current")  # type: ignore[misc]


@replay(without="cannot-tell")
def test_etcd_is_emptied_and_filled_again(
    own_cluster: Cluster, start_operator: Start, proof: Proof, tmp_path: Path
) -> None:
    cluster = own_cluster
    for name in ("a", "b"):
        cluster.create(name, beat="1")
    operator = start_operator(cluster, RESYNC)
    eventually(lambda: equals_truth(cluster, operator))
    nothing = tmp_path / "nothing"
    nothing.mkdir(mode=0o700)
    cluster.plane.restore_etcd(nothing)
    for name in ("namespace", "common/serviceaccount", "cluster-wide/rbac"):
        cluster.kubectl("apply", "-f", str(ROOT / f"deploy/{name}.yaml"))
    ask_again(operator)
    with proof:
        eventually(lambda: check_memory(operator), within=RESYNC_SECONDS)
        stays(lambda: check_memory(operator), 2 * RESYNC_SECONDS)
        cluster.install()
        cluster.create("a")
        eventually(lambda: equals_truth(cluster, operator), within=5 + RESYNC_SECONDS)
        assert operator.phase("a") == "Starting"
        eventually(lambda: operator.readyz()["watching"], within=5)
        cluster.beat("a")
        eventually(lambda: cluster.phase("a") == "Healthy", within=4)
