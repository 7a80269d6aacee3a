"""The status as tools read it: kubectl wait, Helm, GitOps health checks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually


def status_of(cluster: Cluster, generation: int) -> dict[str, Any]:
    """The status, once it is about that generation."""
    status = cluster.get("a").get("status", {})
    assert status["observedGeneration"] == generation
    found: dict[str, Any] = status
    return found


def age(condition: dict[str, Any]) -> timedelta:
    """How long ago its last transition was, by this machine's clock as the operator's."""
    return datetime.now(UTC) - datetime.fromisoformat(condition["lastTransitionTime"])


def test_kubectl_waits_for_readiness(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.create("a")
    eventually(lambda: cluster.phase("a") == "Starting")
    wait = ("wait", "--for=condition=Ready", "mi/a")
    assert "timed out" in cluster.kubectl(*wait, "--timeout=1s", check=False)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(cluster.kubectl, *wait, "--timeout=30s")
        cluster.beat("a")
        assert "condition met" in waiting.result()
    cluster.patch("a", {"spec": {"rotation": "Draining"}})
    cluster.kubectl("wait", "--for=condition=Ready=false", "mi/a", "--timeout=30s")
    cluster.kubectl("wait", "--for=condition=Draining", "mi/a", "--timeout=30s")
    cluster.patch("a", {"spec": {"rotation": "Active"}})
    cluster.kubectl(*wait, "--timeout=30s")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Healthy", "mi/a", "--timeout=30s")


@pytest.mark.parametrize("beat", ["0", None], ids=["healthy", "starting"])
def test_an_edit_that_changes_no_phase_is_observed_and_nothing_else_moves(
    beat: str | None, cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", beat=beat)
    before = eventually(lambda: status_of(cluster, 1))
    eventually(lambda: age(before["conditions"][0]) > timedelta(seconds=2))
    cluster.patch("a", {"spec": {"weight": 7}})
    after = eventually(lambda: status_of(cluster, 2))
    assert [c.pop("observedGeneration") for c in after["conditions"]] == [2]
    assert [c.pop("observedGeneration") for c in before["conditions"]] == [1]
    assert {**after, "observedGeneration": 1} == before


def test_the_time_of_a_condition_is_that_of_its_last_change_of_status(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a")
    starting = eventually(lambda: cluster.condition("a"))
    eventually(lambda: age(starting) > timedelta(seconds=2))
    cluster.patch("a", {"spec": {"rotation": "Disabled"}})
    eventually(lambda: cluster.phase("a") == "Disabled")
    disabled = cluster.condition("a")
    assert disabled["reason"] != starting["reason"]
    assert disabled["lastTransitionTime"] == starting["lastTransitionTime"], "never was ready"
    cluster.patch("a", {"spec": {"rotation": "Active"}})
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert cluster.condition("a")["lastTransitionTime"] > starting["lastTransitionTime"]


def test_only_conditions_that_something_sets_are_there(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    def conditions() -> dict[str, str]:
        return {c["type"]: c["status"] for c in cluster.get("a")["status"]["conditions"]}

    cluster.create("a", beat="0")
    eventually(lambda: conditions() == {"Ready": "True"})
    cluster.patch("a", {"spec": {"rotation": "Draining"}})
    eventually(lambda: conditions() == {"Ready": "False", "Draining": "True"})
    cluster.patch("a", {"spec": {"rotation": "Disabled"}})
    eventually(lambda: conditions() == {"Ready": "False"})


def test_messages_hold_no_ages_and_the_status_stands_still(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    """Ages are in the endpoint's answers: in a status they would be wrong or a write each."""
    cluster.create("a", timeout=2, beat="0")
    cluster.create("healthy", beat="0")
    cluster.create("starting")
    phases = {"a": "Unhealthy", "healthy": "Healthy", "starting": "Starting"}
    eventually(lambda: cluster.phases() == phases)

    def look() -> dict[str, dict[str, Any]]:
        return {item["name"]: item for item in operator.instances().values()}

    before, stored = look(), cluster.instances()
    assert {it["phase"] for it in before.values()} == {"Unhealthy", "Healthy", "Starting"}
    eventually(
        lambda: (
            look()["healthy"]["heartbeatAgeSeconds"] > before["healthy"]["heartbeatAgeSeconds"] + 2
        )
    )
    for name, shown in look().items():
        assert shown["message"] == before[name]["message"]
        if name != "starting":
            assert shown["heartbeatAgeSeconds"] > before[name]["heartbeatAgeSeconds"]
    assert cluster.instances() == stored
    assert before["a"]["message"].startswith("No heartbeat within 2 s;")
