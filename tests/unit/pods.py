"""Pods with defaults that suit most tests: as JSON, and in the registry's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.instance import InstanceKey

GATE = "modelinstance.dev/routable"
READY = {"type": "ContainersReady", "status": "True"}


def condition(
    kind: str, holds: bool = True, *, reason: str = "", message: str = ""
) -> dict[str, str]:
    return {
        "type": kind, "status": str(holds), "reason": reason, "message": message,
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }  # fmt: skip


def pod_json(
    name: str = "p",
    *,
    annotations: Mapping[str, str] | None = None,
    gates: Sequence[str] = (),
    conditions: Sequence[Mapping[str, str]] = (READY,),
    ports: Sequence[Mapping[str, Any]] = ({"name": "http", "containerPort": 8000},),
    started: bool = True,
    restarts: int = 0,
    phase: str = "Running",
    deleting: bool = False,
    address: str | None = "10.1.0.1",
    status: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A pod as the API server shows it; ``status`` stands for the whole of it."""
    metadata: dict[str, Any] = {
        "name": name, "namespace": "prod", "uid": f"uid-{name}", "resourceVersion": "7",
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "labels": {"modelinstance.dev/model": "vicuna"}, "annotations": dict(annotations or {}),
    }  # fmt: skip
    if deleting:
        metadata["deletionTimestamp"] = "2026-03-01T12:00:30Z"
    container = {"name": "engine", "ports": list(ports)}
    shown = {
        "name": "engine", "started": started, "restartCount": restarts,
        "state": {"running": {}} if started else {"waiting": {"reason": "ContainerCreating"}},
    }  # fmt: skip
    usual = {
        "phase": phase, "podIP": address, "hostIP": "192.0.2.1",
        "podIPs": [{"ip": address}, {"ip": "FD00::1"}] if address else None,
        "conditions": list(conditions), "containerStatuses": [shown],
    }  # fmt: skip
    return {
        "metadata": metadata,
        "spec": {
            "containers": [container],
            "readinessGates": [{"conditionType": gate} for gate in gates],
        },
        "status": usual if status is None else dict(status),
    }


def facts(name: str = "p", *, ip: str = "10.1.0.1", **fields: Any) -> PodFacts:
    """A pod that is ready, in namespace prod; its uid follows from its name."""
    made = PodFacts(
        InstanceKey("prod", name), f"uid-{name}", 0.0, "vicuna", 1,
        address=ip, addresses=frozenset({ip} if ip else ()), ports=(("http", 8000),),
        started=True, ready=True, labels={"modelinstance.dev/model": "vicuna"},
    )  # fmt: skip
    return replace(made, **fields)
