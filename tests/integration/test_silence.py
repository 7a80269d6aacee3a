"""Silence of many at once is not taken for that of single workers, and that of one always is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.cluster import HOME, Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually

TIMEOUT = 2
NAMES = ["a", "b", "c", "d"]


def create(cluster: Cluster, *names: str, **spec: Any) -> None:
    """Instances that were heard just now, and will be silent soon."""
    for name in names:
        cluster.create(name, beat="0", timeout=TIMEOUT, **spec)


def reasons(cluster: Cluster) -> dict[str, str]:
    """The reasons in the statuses by name."""
    return {
        item["metadata"]["name"]: condition["reason"]
        for item in cluster.instances().values()
        for condition in item.get("status", {}).get("conditions", ())
        if condition["type"] == "Ready"
    }


def all_are(cluster: Cluster, reason: str, *names: str) -> bool:
    return reasons(cluster) == dict.fromkeys(names or NAMES, reason)


def limit(cluster: Cluster, **settings: int) -> None:
    """Set the numbers in the InstanceRegistry."""
    cluster.patch_registry({"correlatedSilence": settings})


def test_all_silent_at_once_stay_selectable_and_resource_event_and_metrics_say_so(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    mark = cluster.audit_mark()
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "CorrelatedSilence"))
    assert set(cluster.phases().values()) == {"Degraded"}
    for kind in ("Ready", "Degraded"):
        assert cluster.condition("a", kind)["status"] == "True"
    assert operator.selects() in NAMES
    shown = operator.instances()["default/a"]
    assert (shown["phase"], shown["healthy"]) == ("Degraded", True)
    assert operator.metric("frozen_instances") == 4
    assert operator.metric("silence_outages_total") == 1
    assert operator.metric("instances", model="m", phase="Degraded") == 4
    eventually(lambda: "CorrelatedSilence" in cluster.kubectl("describe", "mi", "a"))
    eventually(lambda: "CorrelatedSilence" in cluster.kubectl("describe", "ireg", "-n", HOME))
    assert "CorrelatedSilence: Instances of model m fell silent at once" in operator.log()

    for name in NAMES:
        cluster.beat(name)
    eventually(lambda: all_are(cluster, "HeartbeatReceived"))
    assert operator.metric("frozen_instances") == 0
    eventually(lambda: "CorrelatedSilenceEnded" in cluster.kubectl("describe", "ireg", "-n", HOME))
    statuses = [entry for entry in cluster.writes(mark) if entry.name == "a"]
    assert len(statuses) <= 4, "one for each of Healthy, Degraded and Healthy, and a spare one"


def test_the_silence_of_one_is_not_hidden_by_the_health_of_others(
    cluster: Cluster, start_operator: Start
) -> None:
    start_operator(cluster)
    create(cluster, "a")
    for name in NAMES[1:]:
        cluster.create(name, beat="0")
    eventually(lambda: reasons(cluster).get("a") == "HeartbeatExpired")
    assert cluster.phase("b") == "Healthy"


def test_it_ends_when_its_time_is_up(cluster: Cluster, start_operator: Start) -> None:
    start_operator(cluster)
    eventually(cluster.registry)
    limit(cluster, maxSeconds=3)
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "CorrelatedSilence"))
    eventually(lambda: all_are(cluster, "HeartbeatExpired"), within=4)


@pytest.mark.parametrize(
    "settings",
    [{"maxSeconds": 0}, {"minInstances": 5}],
    ids=["switched off", "not enough of them"],
)
def test_the_numbers_are_those_of_the_instance_registry(
    settings: dict[str, int], cluster: Cluster, start_operator: Start
) -> None:
    start_operator(cluster)
    eventually(cluster.registry)
    limit(cluster, **settings)
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "HeartbeatExpired"))


def test_silence_alone_is_frozen(cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(cluster)
    create(cluster, *NAMES, "e", "f")
    eventually(lambda: all_are(cluster, "CorrelatedSilence", *NAMES, "e", "f"))
    operator.drain("a")
    operator.deregister("b")
    cluster.delete("c")
    cluster.patch("d", {"spec": {"rotation": "Disabled"}})
    left = {
        "a": "DrainRequested", "b": "Deregistered", "d": "Disabled",
        "e": "CorrelatedSilence", "f": "CorrelatedSilence",
    }  # fmt: skip
    eventually(lambda: reasons(cluster) == left)
    eventually(lambda: operator.metric("frozen_instances") == 2)
    assert operator.selects() in {"e", "f"}


def test_a_restart_leaves_it_as_it_is(cluster: Cluster, start_operator: Start) -> None:
    first = start_operator(cluster)
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "CorrelatedSilence"))
    first.kill()
    mark, before = cluster.audit_mark(), cluster.instances()
    second = start_operator(cluster)
    assert second.phase("a") == "Degraded"
    assert second.metric("frozen_instances") == 4
    cluster.beat("a")
    eventually(lambda: reasons(cluster)["a"] == "HeartbeatReceived")
    assert cluster.get("b")["status"] == before["default/b"]["status"]
    assert not cluster.writes_on("b", mark)


def silences(cluster: Cluster, operator: OperatorProcess, times: int) -> None:
    """Let an instance be heard and fall silent so often."""
    for _ in range(times):
        cluster.beat("a")
        eventually(lambda: operator.instances()["default/a"]["heartbeatAgeSeconds"] < 1)
        eventually(lambda: operator.instances()["default/a"]["heartbeatAgeSeconds"] > 1.2)
        eventually(lambda: not operator.instances()["default/a"]["healthy"])


def test_who_comes_and_goes_has_to_be_well_for_a_while_and_is_written_no_more(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    cluster.create("a", timeout=1)
    silences(cluster, first, 3)
    eventually(lambda: reasons(cluster) == {"a": "Flapping"})
    mark = cluster.audit_mark()
    silences(cluster, first, 2)
    assert reasons(cluster) == {"a": "Flapping"}
    first.kill()
    second = start_operator(cluster)
    since = time.monotonic()
    while second.phase("a") == "Unhealthy" and time.monotonic() < since + 150:
        cluster.beat("a")
        assert cluster.writes_on("a", mark) == []
    assert time.monotonic() - since > 20, "thirty, less what the start took"
    eventually(lambda: reasons(cluster) == {"a": "HeartbeatReceived"})
    assert len(cluster.writes_on("a", mark)) == 1
