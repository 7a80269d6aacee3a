"""Between the API's objects and the registry's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from modelinstance import api
from modelinstance.api import v1alpha1
from modelinstance.registry.health.observed import ConditionSeen, Observed, Reported
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.statuses import ConditionType, StatusWrite
from modelinstance.registry.instance import (
    Address,
    Incarnation,
    InstanceKey,
    InstanceSpec,
    ProbeSpec,
    Rotation,
    normalize_host,
)
from modelinstance.registry.intake.podspecs import PodInstance
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.mirror.summary import RegistryObject, Summary, SummaryWrite

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_APPLIED = 65536
"""How long a last-applied-configuration may be to be looked into, in characters."""
USUAL_WEIGHT = 100
"""The weight in a resource that is 1.0 in the registry, as in DB-GPT."""

POD = {"apiVersion": "v1", "kind": "Pod"}

RawObject = Mapping[str, Any]


class UnreadableError(Exception):
    """An object of the API cannot be understood; it is named, and why."""

    def __init__(self, key: InstanceKey, why: str, kind: str = "ModelInstance") -> None:
        super().__init__(f"{kind} {key} cannot be read: {why}")
        self.key = key


def key_of(raw: RawObject) -> InstanceKey:
    """The key of an object."""
    return InstanceKey(raw["metadata"]["namespace"], raw["metadata"]["name"])


def observe(raw: RawObject) -> Observed:
    """A ModelInstance in the registry's terms. Raises `UnreadableError`."""
    key = key_of(raw)
    try:
        return _observe(key, raw)
    except ValidationError as error:
        raise UnreadableError(key, _first(error)) from error
    except (LookupError, TypeError, ValueError) as error:
        raise UnreadableError(key, f"{type(error).__name__}: {error}") from error


def _observe(key: InstanceKey, raw: RawObject) -> Observed:
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    return Observed(
        key=key,
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        created=_time(metadata["creationTimestamp"]).timestamp(),
        spec=_spec(v1alpha1.ModelInstanceSpec.model_validate(raw.get("spec", {}))),
        labels=metadata.get("labels") or {},
        heartbeat=annotations.get(api.HEARTBEAT_ANNOTATION),
        heartbeat_applied=_applied(annotations),
        registration=annotations.get(api.REGISTRATION_ANNOTATION),
        pod_digest=annotations.get(api.POD_DIGEST_ANNOTATION),
        owner=_owner(metadata),
        deleting="deletionTimestamp" in metadata,
        reported=_reported(raw.get("status") or {}),
    )


def _owner(metadata: RawObject) -> str | None:
    """The uid of the pod that owns an object."""
    for reference in metadata.get("ownerReferences") or ():
        if reference["kind"] == POD["kind"] and reference["apiVersion"] == POD["apiVersion"]:
            uid: str = reference["uid"]
            return uid
    return None


def owned_by_pod(name: str, uid: str) -> dict[str, Any]:
    """The metadata of what goes with a pod."""
    return {"ownerReferences": [{**POD, "name": name, "uid": uid}]}


def _first(error: ValidationError) -> str:
    """The first thing that is wrong with a spec."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in ("spec", *first["loc"]))
    given = f"{first.get('input')!r}"[:100]
    return f"{field}={given}: {first['msg']}; do the CRD and the operator have the same version?"


def _spec(spec: v1alpha1.ModelInstanceSpec) -> InstanceSpec:
    return InstanceSpec(
        model_name=spec.model_name,
        host=normalize_host(spec.host),
        port=spec.port,
        scheme=spec.scheme,
        base_path=spec.base_path,
        aliases=frozenset(spec.aliases),
        weight=spec.weight / USUAL_WEIGHT,
        rotation=Rotation(spec.rotation),
        heartbeat_required=spec.heartbeat.required,
        heartbeat_timeout=spec.heartbeat.timeout_seconds,
        probe=None if spec.probe is None else _probe(spec.probe),
    )


def _probe(probe: v1alpha1.Probe) -> ProbeSpec:
    return ProbeSpec(
        path=probe.path,
        period=probe.period_seconds,
        timeout=probe.timeout_seconds,
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
    )


def _applied(annotations: Mapping[str, str]) -> str | None:
    """The heartbeat in the manifest that kubectl applied last."""
    text = annotations.get(LAST_APPLIED)
    if text is None or len(text) > MAX_APPLIED or api.HEARTBEAT_ANNOTATION not in text:
        return None
    try:
        applied = json.loads(text)["metadata"]["annotations"][api.HEARTBEAT_ANNOTATION]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None  # whoever wrote this annotation, it was not kubectl
    return applied if isinstance(applied, str) else None


def _reported(status: RawObject) -> Reported | None:
    """What the status says; ``None`` where no operator has written it."""
    try:
        ready = next(c for c in status["conditions"] if c["type"] == ConditionType.READY)
        incarnation = status["incarnation"]
        last_beat = status.get("lastHeartbeatTime")
        return Reported(
            phase=status["phase"],
            reason=ready["reason"],
            generation=status["observedGeneration"],
            incarnation=Incarnation(
                incarnation["uid"],
                Address(incarnation["modelName"], incarnation["host"], incarnation["port"]),
            ),
            last_beat=None if last_beat is None else _time(last_beat),
            conditions={
                c["type"]: ConditionSeen(
                    c["status"] == "True", _time(c["lastTransitionTime"]), c["reason"]
                )
                for c in status["conditions"]
            },
        )
    except (LookupError, TypeError, ValueError, StopIteration):
        return None


def status_body(write: StatusWrite) -> dict[str, Any]:
    """The object to apply: a whole status, on the condition of its resourceVersion."""
    status: dict[str, Any] = {
        "observedGeneration": write.generation,
        "phase": write.phase.value,
        "address": write.url,
        "incarnation": {
            "uid": write.incarnation.uid,
            "modelName": write.incarnation.address.model_name,
            "host": write.incarnation.address.host,
            "port": write.incarnation.address.port,
        },
        "conditions": [
            {
                "type": condition.type.value,
                "status": "True" if condition.status else "False",
                "reason": condition.reason.value,
                "message": condition.message,
                "lastTransitionTime": rfc3339(condition.since),
                "observedGeneration": write.generation,
            }
            for condition in write.conditions
        ],
    }
    if write.last_beat is not None:
        status["lastHeartbeatTime"] = rfc3339(write.last_beat)
    metadata = {
        "name": write.key.name,
        "namespace": write.key.namespace,
        "resourceVersion": str(write.version),
    }
    return _object("ModelInstance", metadata, status=status)


def registration_body(registration: Registration) -> dict[str, Any]:
    """The object to apply for a worker."""
    metadata: dict[str, Any] = {
        "name": registration.key.name,
        "namespace": registration.key.namespace,
        "labels": registration.all_labels,
        "annotations": {api.REGISTRATION_ANNOTATION: registration.digest},
    }
    if registration.pod is not None:
        metadata |= owned_by_pod(registration.pod.name, registration.pod.uid)
    return _object("ModelInstance", metadata, spec=_spec_body(registration.spec))


def pod_instance_body(wanted: PodInstance, uid: str | None) -> dict[str, Any]:
    """The object to apply for a pod; ``uid`` is that of its resource, if there is one already."""
    metadata: dict[str, Any] = {
        "name": wanted.key.name,
        "namespace": wanted.key.namespace,
        "labels": dict(wanted.labels),
        "annotations": {api.POD_DIGEST_ANNOTATION: wanted.digest},
        **owned_by_pod(wanted.key.name, wanted.pod_uid),
    }
    if uid is not None:
        metadata["uid"] = uid
    return _object("ModelInstance", metadata, spec=_spec_body(wanted.spec))


def _spec_body(asked: InstanceSpec) -> dict[str, Any]:
    """What was said, where it is not what the schema takes for said."""
    usual = InstanceSpec("", "", 0)
    spec: dict[str, Any] = {
        "modelName": asked.model_name,
        "host": asked.host,
        "port": asked.port,
    }
    if asked.scheme != usual.scheme:
        spec["scheme"] = asked.scheme
    if asked.base_path:
        spec["basePath"] = asked.base_path
    if asked.aliases:
        spec["aliases"] = sorted(asked.aliases)
    if asked.weight != usual.weight:
        spec["weight"] = round(asked.weight * USUAL_WEIGHT)
    heartbeat: dict[str, Any] = {}
    if not asked.heartbeat_required:
        heartbeat["required"] = False
    if asked.heartbeat_timeout is not None:
        heartbeat["timeoutSeconds"] = int(asked.heartbeat_timeout)
    if heartbeat:
        spec["heartbeat"] = heartbeat
    return spec


def observe_registry(raw: RawObject) -> RegistryObject:
    """An InstanceRegistry in the registry's terms. Raises `UnreadableError`."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    try:
        spec = v1alpha1.InstanceRegistrySpec.model_validate(raw.get("spec") or {})
    except ValidationError as error:
        raise UnreadableError(key_of(raw), _first(error), "InstanceRegistry") from error
    summary = None
    if "mode" in status:
        summary = Summary(
            generation=status.get("observedGeneration", 0),
            mode=status["mode"],
            models=status.get("models", 0),
            instances=status.get("instances", 0),
            healthy=status.get("healthy", 0),
        )
    return RegistryObject(
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        timeout_seconds=spec.heartbeat.timeout_seconds if spec.heartbeat else None,
        resync_interval_seconds=spec.resync_interval_seconds,
        remove_after_seconds=spec.registration.remove_after_seconds if spec.registration else None,
        guard=_guard(spec.correlated_silence),
        status_writes_per_second=spec.status_writes_per_second,
        summary=summary,
    )


def _guard(asked: v1alpha1.CorrelatedSilence | None) -> GuardSettings | None:
    if asked is None:
        return None
    return GuardSettings(asked.min_percent / 100, asked.min_instances, asked.max_seconds)


def registry_body(namespace: str) -> dict[str, Any]:
    """An InstanceRegistry without any settings."""
    return _object("InstanceRegistry", {"name": api.REGISTRY_NAME, "namespace": namespace}, spec={})


def summary_body(namespace: str, write: SummaryWrite) -> dict[str, Any]:
    """The object to apply: a whole summary."""
    summary = write.summary
    metadata = {
        "name": api.REGISTRY_NAME,
        "namespace": namespace,
        "resourceVersion": str(write.version),
    }
    status = {
        "observedGeneration": summary.generation,
        "mode": summary.mode,
        "models": summary.models,
        "instances": summary.instances,
        "healthy": summary.healthy,
    }
    return _object("InstanceRegistry", metadata, status=status)


def _object(kind: str, metadata: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api.API_VERSION, "kind": kind, "metadata": metadata, **parts}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def rfc3339(time: datetime) -> str:
    """A time as the API has it: UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
