"""Routers tell how their calls ended: what fails is out long before its silence would tell."""

from __future__ import annotations

import time

from support.cluster import Cluster
from support.faulty_operator import with_probation
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

TIMEOUT_SECONDS = 600
PROBATION_SECONDS = 2
NAMES = ("a", "b", "c")


def serve(cluster: Cluster, operator: OperatorProcess) -> None:
    """Three instances of one model, heard just now, whose silence would tell late."""
    for name in NAMES:
        cluster.create(name, beat="0", timeout=TIMEOUT_SECONDS)
    eventually(lambda: set(cluster.phases().values()) == {"Healthy"})
    eventually(lambda: len(operator.instances(healthy=True)) == len(NAMES))


def incarnation(operator: OperatorProcess, name: str = "a") -> str:
    shown: str = operator.instances()[f"default/{name}"]["incarnation"]
    return shown


def reason(operator: OperatorProcess, name: str = "a") -> str:
    shown: str = operator.instances()[f"default/{name}"]["reason"]
    return shown


def never_picked(operator: OperatorProcess, name: str = "a") -> bool:
    return name not in {operator.selects() for _ in range(30)}


def test_two_reporters_take_out_what_a_third_uses_well_and_one_alone_cannot(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    serve(cluster, operator)
    one = incarnation(operator)
    operator.report(one, "success", reporter="router-0")
    operator.report(one, reporter="router-1", count=1000)
    assert reason(operator) == "HeartbeatReceived"
    assert cluster.phase("a") == "Healthy"

    mark = cluster.audit_mark()
    operator.report(one, reporter="router-2")
    assert reason(operator) == "CallsFailing"
    assert never_picked(operator)
    ready = eventually(lambda: cluster.condition("a")["status"] == "False") and cluster.condition()
    assert ready["reason"] == "CallsFailing"
    assert "Routers report that calls to http://a.example:8000 fail" in ready["message"]
    assert cluster.phase("a") == "Unhealthy"
    uid = cluster.get("a")["metadata"]["uid"]
    eventually(lambda: "CallsFailing" in {each["reason"] for each in cluster.events(uid)})
    eventually(lambda: [entry.verb for entry in cluster.writes_on("a", mark)] == ["patch"])
    assert operator.metric("ejections_total") == 1
    assert operator.metric("reports_total", outcome="failure", result="accepted") == 2
    assert {cluster.phase(name) for name in ("b", "c")} == {"Healthy"}


def test_a_restart_keeps_it_out_and_no_report_of_a_success_revives_it(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    serve(cluster, first)
    first.report(incarnation(first))
    eventually(lambda: cluster.condition("a")["reason"] == "CallsFailing")
    first.kill()
    mark = cluster.audit_mark()
    second = start_operator(cluster)
    assert reason(second) == "CallsFailing"
    for number in range(3):
        second.report(incarnation(second), "success", reporter=f"router-{number}", count=1000)
    cluster.beat("a")
    stays(lambda: reason(second) == "CallsFailing" and never_picked(second), seconds=1)
    assert cluster.writes_on("a", mark) == []


def test_it_returns_by_its_heartbeats_after_its_time(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster, **with_probation(PROBATION_SECONDS))
    serve(cluster, operator)

    def returns_by_a_beat() -> bool:
        cluster.beat("a")
        return reason(operator) == "HeartbeatReceived"

    began = time.monotonic()
    operator.report(incarnation(operator))
    assert reason(operator) == "CallsFailing"
    eventually(returns_by_a_beat, within=PROBATION_SECONDS)
    assert time.monotonic() - began >= PROBATION_SECONDS
    eventually(lambda: cluster.phase("a") == "Healthy")

    operator.report(incarnation(operator))
    stays(lambda: reason(operator) == "CallsFailing", seconds=PROBATION_SECONDS + 1)
    eventually(lambda: cluster.condition("a")["reason"] == "CallsFailing")
    eventually(returns_by_a_beat, within=PROBATION_SECONDS)
    eventually(lambda: cluster.phase("a") == "Healthy")


def test_a_report_on_an_earlier_incarnation_changes_nothing_and_is_counted(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    serve(cluster, operator)
    early = incarnation(operator)
    cluster.patch("a", {"spec": {"host": "elsewhere.example"}})
    eventually(lambda: incarnation(operator) != early)
    eventually(lambda: cluster.get("a")["status"]["incarnation"]["host"] == "elsewhere.example")
    cluster.beat("a")
    eventually(lambda: operator.phase("a") == "Healthy")
    eventually(lambda: cluster.phase("a") == "Healthy")
    mark = cluster.audit_mark()
    operator.report(early, status=404)
    items = [{"incarnation": each, "outcome": "timeout"} for each in (early, incarnation(operator))]
    answer = operator.http.post("/api/v1/reports", json={"reporter": "r", "items": items}).json()
    assert [item["result"] for item in answer["items"]] == ["unknown", "accepted"]
    assert operator.phase("a") == "Healthy"
    assert operator.metric("reports_total", outcome="failure", result="unknown") == 1
    assert operator.metric("reports_total", outcome="timeout", result="unknown") == 1
    assert operator.metric("ejections_total") == 0
    assert cluster.writes_on("a", mark) == []


def test_what_saturates_is_not_emptied(cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(cluster)
    serve(cluster, operator)
    for reporter in ("router-0", "router-1"):
        for name in NAMES:
            operator.report(incarnation(operator, name), "timeout", reporter=reporter, count=100)
    assert [reason(operator, name) for name in NAMES].count("CallsFailing") == 1
    assert operator.selects() is not None
