"""The CRDs are missing, at the start or later: "cannot tell" is never "there is nothing"."""

from __future__ import annotations

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.truth import equals_truth
from support.waiting import eventually, stays

RESYNC_SECONDS = 2
RESYNC = f"--resync-interval={RESYNC_SECONDS}"
WHAT_IS_MISSING = (
    "LIST modelinstances: HTTP 404: Not Found; are the CRDs of modelinstance.dev installed?"
)


def delete_crds(cluster: Cluster) -> None:
    cluster.kubectl(
        "delete", "crd", "modelinstances.modelinstance.dev", "instanceregistries.modelinstance.dev"
    )
    eventually(lambda: not cluster._served("modelinstances"))


def says_what_is_missing(operator: OperatorProcess) -> bool:
    answer = operator.get("/readyz")
    assert answer.status_code == 200, "what it knows is served"
    assert answer.json()["reason"] == f"answering from memory: {WHAT_IS_MISSING}"
    assert answer.json()["view"]["stale"] is True
    return True


def test_absent_crds_are_waited_for_and_named(own_cluster: Cluster, start_operator: Start) -> None:
    cluster = own_cluster
    delete_crds(cluster)
    operator = start_operator(cluster, ready=False)

    def waits() -> bool:
        answer = operator.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reason"] == f"waiting for the first full LIST: {WHAT_IS_MISSING}"
        assert operator.get("/livez").status_code == 200
        assert operator.process.poll() is None
        return True

    eventually(waits)
    stays(waits, 2)
    cluster.install()
    operator.wait_ready(within=6)
    eventually(cluster.registry)
    cluster.create("a", beat="1")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.selects("m") == "a"


def test_crds_that_vanish_unseen_leave_the_view_as_it_was(
    own_cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    cluster, line = own_cluster, Line(own_cluster, background)
    cluster.create("a", beat="1")
    cluster.create("b", beat="1")
    operator = start_operator(cluster, RESYNC, server=line.url)
    eventually(lambda: equals_truth(cluster, operator))
    line.fall()
    delete_crds(cluster)
    line.rise()
    eventually(lambda: says_what_is_missing(operator), within=5)
    stays(lambda: operator.selects("m") in {"a", "b"}, RESYNC_SECONDS)
    assert len(operator.instances()) == 2

    cluster.install()
    cluster.create("b")
    cluster.create("c", beat="1")
    eventually(lambda: equals_truth(cluster, operator), within=5 + RESYNC_SECONDS)
    assert operator.phase("b") == "Starting", "another uid has to report for itself"
    eventually(lambda: operator.readyz()["reason"] == "the view is current")
    eventually(lambda: operator.readyz()["watching"])


def test_crds_that_are_deleted_take_their_instances_along_and_heal_when_applied_again(
    own_cluster: Cluster, start_operator: Start
) -> None:
    """Deleting a CRD deletes its objects, and the watch tells so one by one."""
    cluster = own_cluster
    cluster.create("a", beat="1")
    operator = start_operator(cluster, RESYNC)
    eventually(lambda: equals_truth(cluster, operator))
    delete_crds(cluster)
    eventually(lambda: says_what_is_missing(operator), within=RESYNC_SECONDS)
    eventually(lambda: not operator.instances())
    eventually(lambda: not operator.readyz()["watching"], within=5)

    cluster.install()
    cluster.create("a", beat="1")
    eventually(lambda: equals_truth(cluster, operator), within=5 + RESYNC_SECONDS)
    assert operator.selects("m") == "a"
    eventually(lambda: operator.readyz()["reason"] == "the view is current")
    assert operator.metric("watch_restarts_total") >= 1
    cluster.create("b", beat="1")
    eventually(lambda: cluster.phase("b") == "Healthy")
