"""What the operator asks of the API server, with the audit log as witness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from modelinstance.registry.telling.events import UPDATE_SECONDS
from support.audit import Rule, rules_of
from support.background import BackgroundLoop
from support.cluster import HOME, ROOT, Cluster
from support.kubelet import GATE, Kubelet
from support.operator_process import OperatorProcess, Start
from support.proxy import HoldingProxy
from support.waiting import eventually

Step = tuple[str, Callable[[], object], str, str]
"""What happens, how, and the phase and reason that come of it."""


def a_tick_passes(cluster: Cluster, name: str = "later") -> None:
    """See to it that statuses have been written, if any were due."""
    cluster.create(name)
    eventually(lambda: cluster.phase(name) == "Starting")


def test_a_healthy_instance_that_beats_is_never_written(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)

    def heard(beats: float) -> None:
        accepted = {"channel": "annotation", "result": "accepted"}
        eventually(lambda: operator.metric("heartbeats_total", **accepted) == beats)

    cluster.create("a", beat="0")
    eventually(lambda: cluster.phase("a") == "Healthy")
    eventually(lambda: operator.metric("status_writes_total", result="written") == 1)
    mark = cluster.audit_mark()
    for number in range(30):
        cluster.beat("a")
        heard(1 + number + 1)
        if number % 10 == 9:
            a_tick_passes(cluster, f"later-{number}")
    assert not cluster.writes_on("a", mark)
    assert cluster.phase("a") == "Healthy"


def test_each_change_of_phase_reason_or_generation_is_written_exactly_once(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)

    def edit(**spec: Any) -> Callable[[], object]:
        return lambda: cluster.patch("a", {"spec": spec})

    def nothing() -> None:
        """Time passes."""

    def comes_to_say(expected: tuple[str, str, int]) -> None:
        eventually(lambda: status(cluster) == expected, within=timeout)

    timeout = 10
    closely = {"required": True, "timeoutSeconds": timeout}
    steps: list[Step] = [
        ("create", lambda: cluster.create("a"), "Starting", "AwaitingFirstHeartbeat"),
        ("beat", lambda: cluster.beat("a"), "Healthy", "HeartbeatReceived"),
        ("edit", edit(weight=7), "Healthy", "HeartbeatReceived"),
        ("drain", edit(rotation="Draining"), "Draining", "Draining"),
        ("activate", edit(rotation="Active"), "Healthy", "HeartbeatReceived"),
        ("trust", edit(heartbeat={"required": False}), "Healthy", "HeartbeatNotRequired"),
        ("beat in time", lambda: cluster.beat("a"), "Healthy", "HeartbeatNotRequired"),
        ("watch closely", edit(heartbeat=closely), "Healthy", "HeartbeatReceived"),
        ("silence", nothing, "Unhealthy", "HeartbeatExpired"),
        ("heal", lambda: cluster.beat("a"), "Healthy", "HeartbeatReceived"),
        ("move", edit(port=8001), "Starting", "AwaitingFirstHeartbeat"),
    ]
    mark, changes, shown = cluster.audit_mark(), 0, ("", "", 0)
    for what, act, phase, reason in steps:
        act()
        expected = (phase, reason, cluster.get("a")["metadata"]["generation"])
        comes_to_say(expected)
        assert operator.phase("a") == phase, what
        if expected == shown:
            a_tick_passes(cluster, f"after-{what.replace(' ', '-')}")
        changes += expected != shown
        shown = expected
        eventually(lambda: len(cluster.writes_on("a", mark)) == changes)  # noqa: B023
    cluster.delete("a")
    eventually(lambda: "default/a" not in operator.instances())
    a_tick_passes(cluster)
    written = [(e.verb, e.resource, e.code) for e in cluster.writes_on("a", mark)]
    assert written == [("patch", "modelinstances/status", 200)] * changes


def status(cluster: Cluster) -> tuple[str, str, int]:
    """Phase, reason and generation as they are written."""
    found = cluster.get("a")["status"]
    return found["phase"], cluster.condition("a")["reason"], found["observedGeneration"]


def counted(cluster: Cluster) -> tuple[int, int]:
    """How many instances there are, and how many healthy ones, as it is written."""
    found = cluster.registry()["status"]
    return found["instances"], found["healthy"]


@pytest.mark.parametrize("end", [OperatorProcess.stop, OperatorProcess.kill])
def test_a_restart_writes_nothing(
    end: Callable[[OperatorProcess], object], cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    cluster.create("healthy", beat="0")
    cluster.create("silent", beat="0", timeout=1)
    cluster.create("starting")
    cluster.create("draining", rotation="Draining")
    cluster.create("disabled", rotation="Disabled")
    cluster.create("trusted", heartbeat={"required": False})
    cluster.create("holder", host="10.0.0.5", beat="0")
    cluster.create("conflicted", host="10.0.0.5")
    cluster.apply(cluster.manifest("applied", beat="in-the-manifest"))
    phases = {"Healthy", "Unhealthy", "Starting", "Draining", "Disabled", "Conflicted"}
    eventually(
        lambda: {i.get("status", {}).get("phase") for i in cluster.instances().values()} == phases
    )
    eventually(lambda: counted(cluster) == (9, 3))
    before, registry = cluster.instances(), cluster.registry()
    end(first)
    mark = cluster.audit_mark()
    second = start_operator(cluster)
    assert second.instances().keys() == before.keys()
    a_tick_passes(cluster)
    assert {key: cluster.instances()[key] for key in before} == before
    written = [e for e in cluster.writes(mark) if e.name != "later"]
    assert [e.resource for e in written] in ([], ["instanceregistries/status"]), "its own count"
    assert cluster.registry()["metadata"]["uid"] == registry["metadata"]["uid"]


def granted() -> Iterator[Rule]:
    """What ``deploy/cluster-wide/rbac.yaml`` grants."""
    text = (ROOT / "deploy/cluster-wide/rbac.yaml").read_text(encoding="utf-8")
    return rules_of(manifest for manifest in yaml.safe_load_all(text) if "rules" in manifest)


def test_every_right_is_needed_and_no_other_is_asked_for(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, background: BackgroundLoop
) -> None:
    proxy = background.enter(HoldingProxy.before(cluster.plane))
    mark = cluster.audit_mark()
    operator = start_operator(cluster, "--remove-after=1", server=proxy.url)
    kubelet.run(gates=(GATE,))
    kubelet.run("wrong", ip="10.1.0.2", weight="much")
    eventually(lambda: kubelet.gate()["status"] == "True")
    eventually(lambda: kubelet.events("wrong"))
    for name in ("p", "wrong"):
        kubelet.finish(name)
    removed = operator.register(heartbeat={"timeoutSeconds": 5})["name"]
    operator.register(200, heartbeat={"timeoutSeconds": 5}, weight=2)
    eventually(lambda: not cluster.instances(), within=5 + 3)
    eventually(lambda: not operator.instances())
    conflicts = operator.metric("status_writes_total", result="conflict")
    hold = background.call(
        proxy.hold, lambda method, path, _: method == "PATCH" and path.endswith("/a/status")
    )
    cluster.create("a")
    eventually(hold.reached.is_set)
    cluster.beat("a")
    background.call(hold.release)
    eventually(lambda: cluster.phase("a") == "Healthy")
    eventually(lambda: cluster.registry()["status"]["healthy"] == 1)
    assert operator.metric("status_writes_total", result="conflict") == conflicts + 1
    assert operator.metric("status_writes_total", result="failed") == 0
    eventually(lambda: any(each.name.startswith("a.") for each in cluster.events_written(mark)))
    operator.drain("a")
    eventually(lambda: cluster.phase("a") == "Draining")
    operator.undrain("a")
    eventually(
        lambda: "patch" in {entry.verb for entry in cluster.events_written(mark)},
        within=UPDATE_SECONDS + 2,
    )
    assert operator.stop() == 0

    requests = [entry for entry in cluster.audit(mark) if entry.resource]
    discovery = {entry.url for entry in cluster.audit(mark) if not entry.resource}
    assert all(url.startswith("/api") and url.count("/") < 4 for url in discovery), discovery
    assert {entry.code for entry in requests if entry.name not in {removed, "p"}} <= {200, 201, 409}
    rules = list(granted())
    assert not [e for e in requests if not any(rule.allows(e) for rule in rules)]
    assert not [rule for rule in rules if not any(rule.is_needed_for(e) for e in requests)]
    assert {rule.verb for rule in rules} == {"get", "list", "watch", "patch", "create", "delete"}
    assert {(e.verb, e.code) for e in requests if e.resource == "modelinstances"} >= {
        ("patch", 201), ("patch", 200), ("delete", 200),
    }  # fmt: skip
    assert {e.namespace for e in requests if e.resource == "instanceregistries/status"} == {HOME}
