"""What the API server holds, beside what the registry says."""

from __future__ import annotations

from typing import Any

from support.cluster import Cluster
from support.operator_process import OperatorProcess


def equals_truth(cluster: Cluster, operator: OperatorProcess) -> bool:
    """Check that the registry shows what the API server holds, and its statuses what is shown."""
    told = {key: _told(shown) for key, shown in operator.instances().items()}
    held = {key: _held(instance) for key, instance in cluster.instances().items()}
    assert told == held, f"registry: {told}, API server: {held}"
    return True


def _told(shown: dict[str, Any]) -> tuple[Any, ...]:
    weight = round(shown["weight"] * 100)
    return shown["model"], shown["host"], shown["port"], weight, shown["phase"], shown["reason"]


def _held(instance: dict[str, Any]) -> tuple[Any, ...]:
    spec, status = instance["spec"], instance.get("status", {})
    ready = [c["reason"] for c in status.get("conditions", ()) if c["type"] == "Ready"]
    return (
        spec["modelName"], spec["host"], spec["port"], spec["weight"],
        status.get("phase"), ready[0] if ready else None,
    )  # fmt: skip
