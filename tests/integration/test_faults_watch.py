"""A watch that is cut, loses its history or falls silent: LISTs make up for it."""

from __future__ import annotations

import pytest

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.line import Line, everything, instance_watches
from support.operator_process import OperatorProcess, Start
from support.truth import equals_truth
from support.waiting import eventually

RESYNC_SECONDS = 5
"""More than kopf may rest before it connects again, lest a slow one be taken for a silent one."""
HISTORY_IS_GONE = {
    "type": "ERROR",
    "object": {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410},
}
"""The event that a watch begins with which asks for what was compacted: list anew."""


@pytest.fixture
def line(cluster: Cluster, background: BackgroundLoop) -> Line:
    return Line(cluster, background)


@pytest.fixture
def operator(cluster: Cluster, line: Line, start_operator: Start) -> OperatorProcess:
    """An operator on that line which has seen and written everything: a, b and c are Healthy."""
    for name in ("a", "b", "c"):
        cluster.create(name, beat="1")
    started = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}", server=line.url)
    eventually(lambda: equals_truth(cluster, started))
    assert started.phase("a") == started.phase("b") == "Healthy"
    return started


def change_behind_its_back(cluster: Cluster) -> None:
    """One is deleted, one re-created under its name, one edited, one added."""
    cluster.delete("a")
    cluster.delete("b")
    cluster.create("b")
    cluster.patch("c", {"spec": {"weight": 7}})
    cluster.create("d")


def check_truth(cluster: Cluster, operator: OperatorProcess) -> bool:
    assert equals_truth(cluster, operator)
    assert operator.phase("b") == "Starting", "it has not reported for itself"
    assert operator.phase("c") == "Healthy"
    assert operator.instances().keys() == {"default/b", "default/c", "default/d"}
    return True


def repairs(operator: OperatorProcess) -> dict[str, float]:
    kinds = ("added", "changed", "removed")
    return {kind: operator.metric("resync_repairs_total", kind=kind) for kind in kinds}


def test_a_cut_watch_costs_nothing_for_longer_than_one_resync(
    cluster: Cluster, operator: OperatorProcess, line: Line
) -> None:
    line.fall()
    eventually(lambda: operator.readyz()["view"]["failure"], within=RESYNC_SECONDS)
    change_behind_its_back(cluster)
    readiness = operator.get("/readyz")
    assert readiness.status_code == 200
    assert readiness.json()["reason"].startswith("answering from memory: LIST")
    assert operator.phase("a") == "Healthy", "the memory is kept"
    line.rise()
    eventually(lambda: check_truth(cluster, operator), within=RESYNC_SECONDS)
    eventually(lambda: operator.readyz()["reason"] == "the view is current")
    cluster.create("e", beat="1")
    eventually(lambda: operator.phase("e") == "Healthy")
    assert operator.metric("watch_restarts_total") == 0


def test_a_deletion_that_fell_out_of_the_history_is_repaired_by_the_next_list(
    cluster: Cluster, operator: OperatorProcess, line: Line
) -> None:
    line.respond(instance_watches, 200, HISTORY_IS_GONE)
    held = line.hold(everything)
    line.fall()
    line.rise()
    change_behind_its_back(cluster)
    eventually(held.reached.is_set)
    line.release(held)
    eventually(lambda: repairs(operator)["removed"] == 1, within=RESYNC_SECONDS)
    line.clear()
    eventually(lambda: check_truth(cluster, operator), within=RESYNC_SECONDS)
    assert repairs(operator)["removed"] == 1
    assert operator.metric("watch_restarts_total") == 0


def test_a_silent_watch_is_made_up_for_counted_and_started_again(
    cluster: Cluster, operator: OperatorProcess, line: Line
) -> None:
    before = repairs(operator)
    silent = line.hold(instance_watches)
    line.cut()
    eventually(silent.reached.is_set)
    held = line.hold(everything)
    change_behind_its_back(cluster)
    line.release(held)
    eventually(lambda: check_truth(cluster, operator), within=RESYNC_SECONDS)
    found = {kind: number - before[kind] for kind, number in repairs(operator).items()}
    assert found == {"added": 2, "changed": 1, "removed": 1}
    eventually(lambda: operator.readyz()["view"]["stale"] is False)
    eventually(lambda: operator.metric("watch_restarts_total") >= 1, within=3 * RESYNC_SECONDS)
    assert "the watch does not tell of changes: starting it again" in operator.log()
    line.release(silent)
    eventually(lambda: operator.readyz()["watching"])
    cluster.create("e", beat="1")
    eventually(lambda: equals_truth(cluster, operator))
    assert operator.phase("e") == "Healthy"
