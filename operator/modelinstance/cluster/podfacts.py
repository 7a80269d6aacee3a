"""Between the API's pods and the registry's terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from modelinstance import api
from modelinstance.cluster.translate import RawObject, UnreadableError, key_of, rfc3339
from modelinstance.registry.health.pods import Gate, PodFacts

CONTAINERS_READY, READY = "ContainersReady", "Ready"
WAITS_FOR_GATES = "ReadinessGatesNotReady"
"""Why the kubelet finds a pod not ready whose containers are: what its gates show is seen anyway.

For any other reason it is about the node, of which nothing was heard.
"""
OVER = frozenset({"Succeeded", "Failed"})


def facts_of(raw: RawObject) -> PodFacts:
    """A pod in the registry's terms. Raises `UnreadableError`."""
    key = key_of(raw)
    try:
        return _facts_of(raw)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(key, f"{type(error).__name__}: {error}", "Pod") from error


def _facts_of(raw: RawObject) -> PodFacts:
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    gates = [each["conditionType"] for each in spec.get("readinessGates") or ()]
    lacks = [*_lacks(conditions, gates), *_lacks_address(status)] or list(_lost(conditions))
    started, waiting = _started(spec, status)
    shown = conditions.get(api.POD_GATE)
    return PodFacts(
        key=key_of(raw),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        created=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        model=labels.get(api.MODEL_LABEL, ""),
        labels=labels,
        settings={
            name.removeprefix(api.POD_PREFIX): value
            for name, value in annotations.items()
            if name.startswith(api.POD_PREFIX)
        },
        address=_address(status.get("podIP")),
        addresses=_addresses(status, "podIP"),
        nodes=_addresses(status, "hostIP"),
        ports=tuple(
            (port.get("name", ""), port["containerPort"])
            for container in spec.get("containers") or ()
            for port in container.get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
        ),
        started=started,
        ready=not lacks,
        why=waiting or "; ".join(lacks),
        terminating="deletionTimestamp" in metadata,
        ended=status.get("phase") in OVER,
        gated=api.POD_GATE in gates,
        gate=None
        if shown is None
        else Gate(shown["status"] == "True", shown.get("reason", ""), shown.get("message", "")),
        gate_since="" if shown is None else shown.get("lastTransitionTime") or "",
    )


def _address(text: str | None) -> str:
    return ip_address(text).compressed if text else ""


def _addresses(status: Mapping[str, Any], of: str) -> frozenset[str]:
    """All addresses of the pod, or of its node, in their one spelling."""
    several = [each.get("ip") for each in status.get(f"{of}s") or ()]
    return frozenset(_address(text) for text in (status.get(of), *several) if text)


def _lacks(conditions: Mapping[str, RawObject], gates: list[str]) -> Iterator[str]:
    """What a pod lacks to be ready, apart from our own gate."""
    for kind in (CONTAINERS_READY, *(gate for gate in gates if gate != api.POD_GATE)):
        condition = conditions.get(kind, {})
        if condition.get("status") != "True":
            why = condition.get("message") or condition.get("reason") or "it was not set yet"
            yield f"{kind} is not True ({why})"


def _lacks_address(status: RawObject) -> Iterator[str]:
    """Whether the pod has none, or none any more: the old one may be another pod's."""
    if not status.get("podIP"):
        yield "it has no address"


def _lost(conditions: Mapping[str, RawObject]) -> Iterator[str]:
    """Whether the pod's node is lost: then Ready alone is set to False, by another hand."""
    ready = conditions.get(READY, {})
    if ready.get("status") == "False" and ready.get("reason") != WAITS_FOR_GATES:
        yield "Ready is False, though its containers are: nothing is heard of its node"


def _started(spec: RawObject, status: RawObject) -> tuple[bool, str]:
    """Whether all containers have been up at some time, and what those that are not wait for."""
    seen = {each["name"]: each for each in status.get("containerStatuses") or ()}
    started, waiting = True, []
    for container in spec.get("containers") or ():
        shown = seen.get(container["name"], {})
        if not shown.get("started"):
            waiting.append(f"container {container['name']} {_waits_for(shown.get('state') or {})}")
            started = started and bool(shown.get("restartCount"))
    return started, "; ".join(waiting)


def _waits_for(state: Mapping[str, Any]) -> str:
    if "running" in state:
        return "runs, and waits for its startup probe"
    if "terminated" in state:
        return f"has ended ({state['terminated'].get('reason', 'for no reason')})"
    return f"waits ({(state.get('waiting') or {}).get('reason', 'to be started')})"


# -- what is written -----------------------------------------------------------------------------


def gate_body(facts: PodFacts, gate: Gate) -> dict[str, Any]:
    """The strategic merge patch of a pod's status that sets our gate, on the condition of its uid.

    The time of the last transition stays while the status stays (Kubernetes API conventions).
    """
    kept = facts.gate is not None and facts.gate.routable is gate.routable and facts.gate_since
    condition = {
        "type": api.POD_GATE,
        "status": "True" if gate.routable else "False",
        "reason": gate.reason,
        "message": gate.message,
        "lastTransitionTime": facts.gate_since if kept else rfc3339(datetime.now(UTC)),
    }
    return {"metadata": {"uid": facts.uid}, "status": {"conditions": [condition]}}
