"""What is a heartbeat and what is not, whoever writes the annotation and by which means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import HEARTBEAT, Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

SERVER_SIDE = ("--server-side", "--field-manager=gitops")
FORCED = (*SERVER_SIDE, "--force-conflicts")
WORKER = "modelinstance-worker"
"""The field manager that the documentation names for workers."""


def annotation(cluster: Cluster) -> str | None:
    """The heartbeat that the instance shows."""
    shown: str | None = cluster.get("a")["metadata"].get("annotations", {}).get(HEARTBEAT)
    return shown


def beat_by_apply(cluster: Cluster, value: str) -> None:
    """A worker's heartbeat by server-side apply, not forced."""
    manifest = cluster.manifest("a", beat=value)
    del manifest["spec"]
    response = cluster.request(
        "PATCH", cluster.path("a"), params={"fieldManager": WORKER}, json=manifest,
        headers={"Content-Type": "application/apply-patch+yaml"},
    )  # fmt: skip
    assert response.status_code == 200, response.text


def beat_by_annotate(cluster: Cluster, value: str) -> None:
    """A worker's heartbeat by kubectl."""
    cluster.kubectl(
        "annotate", "--overwrite", f"--field-manager={WORKER}", "mi/a", f"{HEARTBEAT}={value}"
    )


def accepted(operator: OperatorProcess) -> float:
    """How many values of the annotation were taken for heartbeats."""
    return operator.metric("heartbeats_total", channel="annotation", result="accepted")


def applied_again(
    cluster: Cluster, operator: OperatorProcess, manifest: dict[str, Any], options: tuple[str, ...]
) -> None:
    """Apply a manifest with an edit, so that it is plain when the operator has seen it."""
    manifest["spec"]["weight"] = manifest["spec"].get("weight", 100) + 100
    cluster.apply(manifest, *options)
    weight = manifest["spec"]["weight"] / 100
    eventually(lambda: operator.instances()["default/a"]["weight"] == weight)


@pytest.mark.parametrize("value", [None, "in-the-manifest"])
@pytest.mark.parametrize("options", [(), SERVER_SIDE, FORCED], ids=" ".join)
def test_applying_a_manifest_again_never_revives_a_dead_instance(
    options: tuple[str, ...], value: str | None, cluster: Cluster, operator: OperatorProcess
) -> None:
    manifest = cluster.manifest("a", timeout=1, beat=value)
    cluster.apply(manifest, *options)
    eventually(lambda: operator.phase("a"))
    before = accepted(operator)
    cluster.beat("a")
    eventually(lambda: accepted(operator) > before)
    if value is not None:  # what the worker has written since is taken back by the manifest
        options = FORCED if options else options
    eventually(lambda: operator.instances()["default/a"]["reason"] == "HeartbeatExpired")
    applied_again(cluster, operator, manifest, options)
    assert operator.phase("a") == "Unhealthy"
    applied_again(cluster, operator, manifest, options)
    assert operator.phase("a") == "Unhealthy"
    assert operator.selects("m") is None
    cluster.patch("a", {"spec": {"heartbeat": {"timeoutSeconds": 600}}})
    cluster.beat("a")
    eventually(lambda: operator.selects("m") == "a")


@pytest.mark.parametrize("options", [(), SERVER_SIDE, FORCED], ids=" ".join)
def test_a_manifest_without_the_annotation_leaves_the_workers_value_alone(
    options: tuple[str, ...], cluster: Cluster, operator: OperatorProcess
) -> None:
    manifest = cluster.manifest("a")
    cluster.apply(manifest, *options)
    cluster.beat("a", "mine")
    eventually(lambda: operator.selects("m") == "a")
    applied_again(cluster, operator, manifest, options)
    assert annotation(cluster) == "mine"
    assert operator.selects("m") == "a"


@pytest.mark.parametrize("beat", [beat_by_apply, beat_by_annotate])
@pytest.mark.parametrize("options", [(), SERVER_SIDE], ids=" ".join)
def test_a_worker_with_its_own_field_manager_conflicts_with_nobody(
    options: tuple[str, ...],
    beat: Callable[[Cluster, str], None],
    cluster: Cluster,
    operator: OperatorProcess,
) -> None:
    manifest = cluster.manifest("a", timeout=60)
    cluster.apply(manifest, *options)
    for value in ("one", "two"):
        beat(cluster, value)
        eventually(lambda: operator.selects("m") == "a")
        applied_again(cluster, operator, manifest, options)
        assert annotation(cluster) == value
    owners = {
        entry["manager"]
        for entry in cluster.get("a")["metadata"]["managedFields"]
        if f"f:{HEARTBEAT}" in str(entry["fieldsV1"].get("f:metadata"))
    }
    assert owners == {WORKER}
    assert cluster.get("a")["spec"]["heartbeat"]["timeoutSeconds"] == 60


def test_a_value_that_a_resource_is_created_with_counts_once_unless_it_was_applied_by_kubectl(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.apply(cluster.manifest("client-side", beat="0"))
    cluster.apply(cluster.manifest("server-side", beat="0"), *SERVER_SIDE)
    cluster.create("posted", beat="0")
    eventually(lambda: len(operator.instances()) == 3)
    assert operator.phase("client-side") == "Starting"
    assert operator.phase("server-side") == "Healthy"
    assert operator.phase("posted") == "Healthy"


VALUES: dict[str | None, str] = {
    "": "empty",
    " \t\u3000": "empty",
    None: "removed",
    "x" * 300: "oversized",
    "ü" * 129: "oversized",
    "first": "repeated",
    "x" * 256: "accepted",
    "not a time": "accepted",
    "1970-01-01T00:00:00Z": "accepted",
    "9999-99-99T99:99:99+99:99": "accepted",
    "\u202e\U0001f493\x00\ufffe\n{{}}%s": "accepted",
}
"""Values of the annotation, and what each amounts to once others were there."""


def test_no_value_of_the_annotation_is_fatal_and_each_is_counted(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    def counts() -> dict[str, float]:
        return {
            result: operator.metric("heartbeats_total", channel="annotation", result=result)
            for result in set(VALUES.values())
        }

    def in_phase(phase: str) -> set[str]:
        return {each["name"] for each in operator.instances().values() if each["phase"] == phase}

    cases = {f"case-{number}": value for number, value in enumerate(VALUES)}
    for name in cases:
        cluster.create(name, timeout=600, beat="first")
    eventually(lambda: in_phase("Healthy") == set(cases))
    heard = accepted(operator)
    for name in cases:
        cluster.beat(name, "second")
    eventually(lambda: accepted(operator) == heard + len(cases))
    for name in cases:
        cluster.patch(name, {"spec": {"heartbeat": {"timeoutSeconds": 1}}})
    eventually(lambda: in_phase("Unhealthy") | in_phase("Degraded") == set(cases))
    before, lost = counts(), operator.metric("events_lost_total")
    patient = {"heartbeat": {"timeoutSeconds": 600}}
    for name, value in cases.items():
        annotation = {"annotations": {HEARTBEAT: value}}
        cluster.patch(name, {"metadata": annotation, "spec": patient})
    expected = {kind: before[kind] + list(VALUES.values()).count(kind) for kind in before}
    eventually(lambda: counts() == expected)
    alive = {name for name, value in cases.items() if VALUES[value] == "accepted"}
    assert in_phase("Healthy") == alive
    for name in cases:
        cluster.beat(name, "third")
    eventually(lambda: in_phase("Healthy") == set(cases))
    assert operator.metric("events_lost_total") == lost
