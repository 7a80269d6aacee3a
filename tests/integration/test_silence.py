"""Silence of many at once is not taken for that of single workers, and that of one always is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.cluster import HOME, Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually

TIMEOUT = 5
"""Long enough to see, on a slow machine, what is so for that long only."""
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
    eventually(lambda: all_are(cluster, "CorrelatedSilence"), within=TIMEOUT)
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
    said = "CorrelatedSilence: Instances of model m fell silent at once"
    eventually(lambda: said in operator.log())

    for name in NAMES:
        cluster.beat(name)
    eventually(lambda: all_are(cluster, "HeartbeatReceived"))
    assert operator.metric("frozen_instances") == 0
    statuses = [entry for entry in cluster.writes(mark) if entry.name == "a"]
    assert len(statuses) <= 4, "one for each of Healthy, Degraded and Healthy, and a spare one"
    eventually(lambda: "CorrelatedSilenceEnded" in cluster.kubectl("describe", "ireg", "-n", HOME))


def test_the_silence_of_one_is_not_hidden_by_the_health_of_others(
    cluster: Cluster, start_operator: Start
) -> None:
    start_operator(cluster)
    create(cluster, "a")
    for name in NAMES[1:]:
        cluster.create(name, beat="0")
    eventually(lambda: reasons(cluster).get("a") == "HeartbeatExpired", within=TIMEOUT)
    assert cluster.phase("b") == "Healthy"


def test_it_ends_when_its_time_is_up(cluster: Cluster, start_operator: Start) -> None:
    start_operator(cluster)
    eventually(cluster.registry)
    limit(cluster, maxSeconds=8)
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "CorrelatedSilence"), within=TIMEOUT)
    eventually(lambda: all_are(cluster, "HeartbeatExpired"), within=8)


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
    eventually(lambda: all_are(cluster, "HeartbeatExpired"), within=TIMEOUT)


def test_silence_alone_is_frozen(cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(cluster)
    frozen = ("e", "f", "g")  # as many as make an outage, which lasts then
    create(cluster, *NAMES, *frozen)
    eventually(lambda: all_are(cluster, "CorrelatedSilence", *NAMES, *frozen), within=TIMEOUT)
    operator.drain("a")
    operator.deregister("b")
    cluster.delete("c")
    cluster.patch("d", {"spec": {"rotation": "Disabled"}})
    left = {
        "a": "DrainRequested", "b": "Deregistered", "d": "Disabled",
        **dict.fromkeys(frozen, "CorrelatedSilence"),
    }  # fmt: skip
    eventually(lambda: reasons(cluster) == left)
    eventually(lambda: operator.metric("frozen_instances") == len(frozen))
    assert operator.selects() in frozen


def test_a_restart_leaves_it_as_it_is(cluster: Cluster, start_operator: Start) -> None:
    first = start_operator(cluster)
    create(cluster, *NAMES)
    eventually(lambda: all_are(cluster, "CorrelatedSilence"), within=TIMEOUT)
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

    def heard() -> float:
        return operator.metric("heartbeats_total", channel="annotation", result="accepted")

    for _ in range(times):
        before = heard()
        cluster.beat("a")
        eventually(lambda: heard() > before)  # noqa: B023
        eventually(lambda: operator.instances()["default/a"]["heartbeatAgeSeconds"] > 1.2)
        eventually(lambda: not operator.instances()["default/a"]["healthy"])


def test_who_comes_and_goes_has_to_be_well_for_a_while_and_is_written_no_more(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster, "--heartbeat-timeout=1")
    cluster.create("a")
    silences(cluster, first, 3)
    eventually(lambda: reasons(cluster) == {"a": "Flapping"})
    mark = cluster.audit_mark()
    silences(cluster, first, 2)
    assert reasons(cluster) == {"a": "Flapping"}
    first.kill()
    since = time.monotonic()
    second = start_operator(cluster)  # one that is patient: it is not silent on a slow machine

    def written() -> list[int]:
        return [entry.code for entry in cluster.writes_on("a", mark)]

    while True:
        codes = written()  # before it is asked whether it has returned, which is written after that
        if second.phase("a") != "Unhealthy":
            break
        assert codes == []
        assert time.monotonic() < since + 150
        cluster.beat("a")
    assert time.monotonic() - since >= 30
    eventually(lambda: reasons(cluster) == {"a": "HeartbeatReceived"})
    eventually(lambda: [code for code in written() if code != 409] == [200])
