"""The API server goes away and comes back: routers are served from memory meanwhile."""

from __future__ import annotations

import time
from typing import Any

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.truth import equals_truth
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 4
RESYNC_SECONDS = 4


def answer_without_it(operator: OperatorProcess, until_age: float) -> list[dict[str, Any]]:
    """What /readyz says, and whom select gives, until the view is that old."""
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + 5 * until_age
    while not seen or seen[-1]["view"]["ageSeconds"] < until_age:
        assert time.monotonic() < deadline, seen[-1]
        answer = operator.get("/readyz")
        chosen = {operator.selects("m") for _ in range(5)}
        seen.append({**answer.json(), "status": answer.status_code, "chosen": chosen})
        assert operator.get("/livez").status_code == 200
        time.sleep(0.1)
    return seen


def test_an_outage_is_served_from_memory_and_nobody_expires_because_of_it(
    own_cluster: Cluster, start_operator: Start
) -> None:
    cluster = own_cluster
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}")
    cluster.create("beats", timeout=TIMEOUT_SECONDS)
    cluster.create("falls-silent", timeout=TIMEOUT_SECONDS, host="b.example")
    cluster.create("is-late", timeout=2 * TIMEOUT_SECONDS, host="c.example", modelName="late")
    cluster.create("taken-at-its-word", heartbeat={"required": False}, modelName="other")
    with Workers(cluster, "beats"):
        with Workers(cluster, "falls-silent", "is-late"):
            eventually(lambda: len(operator.instances(healthy=True)) == 4)
            eventually(lambda: equals_truth(cluster, operator))
            mark = cluster.audit_mark()
            cluster.plane.kill_apiserver()

        seen = answer_without_it(operator, until_age=1.5 * TIMEOUT_SECONDS)
        assert {each["status"] for each in seen} == {200}, "memory is what it is needed for now"
        assert all(each["chosen"] <= {"beats", "falls-silent"} for each in seen)
        ages = [each["view"]["ageSeconds"] for each in seen]
        oldest = ages.index(max(ages))
        assert oldest == len(ages) - 1, "the view only grows older"
        assert seen[-1]["view"]["stale"] is True
        assert seen[-1]["reason"].startswith("answering from memory: LIST modelinstances: ")
        assert operator.get("/api/v1/instances").headers["Modelinstance-View-Stale"] == "true"
        assert operator.metric("view_stale") == 1
        assert operator.metric("expiries_total") == 0
        assert operator.selects("other") == "taken-at-its-word"

        cluster.plane.start_apiserver()
        eventually(lambda: not operator.readyz()["view"]["stale"], within=RESYNC_SECONDS)
        assert operator.phase("is-late") == "Healthy", "it has the time left that it had before"
        with Workers(cluster, "is-late"):
            eventually(
                lambda: operator.phase("falls-silent") == "Unhealthy", within=TIMEOUT_SECONDS
            )
            eventually(lambda: equals_truth(cluster, operator), within=RESYNC_SECONDS)
            assert operator.phase("beats") == "Healthy"
            assert operator.metric("expiries_total") == 1
            writes = [w for w in cluster.writes(mark) if w.resource == "modelinstances/status"]
            assert {write.name for write in writes} == {"falls-silent"}
            assert len([write for write in writes if write.code == 200]) == 1
            cluster.create("new", host="d.example", beat="1")
            eventually(lambda: operator.phase("new") == "Healthy")
    assert operator.metric("watch_restarts_total") == 0


def test_an_api_server_that_answers_with_errors_is_an_outage_too(
    own_cluster: Cluster, start_operator: Start
) -> None:
    """As it does without its etcd: that means "cannot tell", never "empty"."""
    cluster = own_cluster
    for name in ("a", "b"):
        cluster.create(name, beat="1")
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}")
    eventually(lambda: equals_truth(cluster, operator))
    cluster.plane.kill_etcd()
    seen = answer_without_it(operator, until_age=2 * RESYNC_SECONDS)
    assert {each["status"] for each in seen} == {200}
    assert all(each["chosen"] <= {"a", "b"} for each in seen)
    assert len(operator.instances()) == 2
    cluster.plane.start_etcd()
    eventually(lambda: operator.readyz()["reason"] == "the view is current", within=5)
    cluster.delete("a")
    eventually(lambda: equals_truth(cluster, operator), within=RESYNC_SECONDS)


def test_nobody_expires_because_the_api_server_stood_still(
    own_cluster: Cluster, start_operator: Start
) -> None:
    """Beats hang or fail meanwhile; the LIST that hung with them is no proof of silence."""
    cluster = own_cluster
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}")
    cluster.create("beats", timeout=TIMEOUT_SECONDS)
    with Workers(cluster, "beats", interval=0.25 * TIMEOUT_SECONDS):
        eventually(lambda: operator.phase("beats") == "Healthy")
        eventually(lambda: equals_truth(cluster, operator))
        for _ in range(2):
            cluster.plane.pause_apiserver()
            seen = answer_without_it(operator, until_age=1.5 * TIMEOUT_SECONDS)
            cluster.plane.resume_apiserver()
            assert {each["status"] for each in seen} == {200}
            assert all(each["chosen"] == {"beats"} for each in seen)
            stays(lambda: operator.phase("beats") == "Healthy", 1.5 * TIMEOUT_SECONDS)
        assert operator.metric("expiries_total") == 0
