"""Phases and reasons: the vocabulary of every condition, metric, API answer and log line.

The reference page of reasons is generated from `REASONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where an instance is in its life. Derived, for display: an open set, new ones may come."""

    STARTING = "Starting"
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"
    CONFLICTED = "Conflicted"
    DRAINING = "Draining"
    DISABLED = "Disabled"
    TERMINATING = "Terminating"


class Reason(StrEnum):
    """Why an instance is in its phase."""

    POD_TERMINATING = "PodTerminating"
    POD_REPLACED = "PodReplaced"
    POD_STARTING = "PodStarting"
    POD_NOT_READY = "PodNotReady"
    WORKER_NOT_READY = "WorkerNotReady"
    AWAITING_FIRST_PROBE = "AwaitingFirstProbe"
    PROBE_FAILED = "ProbeFailed"
    PROBE_SUCCEEDED = "ProbeSucceeded"
    POD_READY = "PodReady"
    HEARTBEAT_RECEIVED = "HeartbeatReceived"
    HEARTBEAT_NOT_REQUIRED = "HeartbeatNotRequired"
    AWAITING_FIRST_HEARTBEAT = "AwaitingFirstHeartbeat"
    HEARTBEAT_EXPIRED = "HeartbeatExpired"
    ADDRESS_CONFLICT = "AddressConflict"
    DRAINING = "Draining"
    DRAIN_REQUESTED = "DrainRequested"
    DISABLED = "Disabled"
    DELETING = "Deleting"
    DEREGISTERED = "Deregistered"
    SET_BY_CALLER = "SetByCaller"
    CORRELATED_SILENCE = "CorrelatedSilence"
    FLAPPING = "Flapping"
    CALLS_FAILING = "CallsFailing"


@dataclass(frozen=True, slots=True)
class ReasonDoc:
    """What a reason means, and what a person who reads it can do."""

    phase: Phase
    meaning: str
    action: str


REASONS: dict[Reason, ReasonDoc] = {
    Reason.DELETING: ReasonDoc(
        Phase.TERMINATING,
        "The resource is being deleted and waits for finalizers that others put on it.",
        "Nothing; if it stays, see `metadata.finalizers` for whom it waits.",
    ),
    Reason.DISABLED: ReasonDoc(
        Phase.DISABLED,
        "`spec.rotation` is `Disabled`: the instance is listed and never selected.",
        "Set `spec.rotation: Active` to bring it back.",
    ),
    Reason.DRAINING: ReasonDoc(
        Phase.DRAINING,
        "`spec.rotation` is `Draining`: no new requests, running ones may end.",
        "Delete the resource once the instance is idle, or set `spec.rotation: Active`.",
    ),
    Reason.DRAIN_REQUESTED: ReasonDoc(
        Phase.DRAINING,
        "A drain was asked for over HTTP: no new requests, running ones may end.",
        "Take it back with `DELETE .../drain`, or let the worker register again.",
    ),
    Reason.POD_TERMINATING: ReasonDoc(
        Phase.DRAINING,
        "The pod is being deleted: no new requests, running ones may end.",
        "Nothing; its resource goes with it.",
    ),
    Reason.DEREGISTERED: ReasonDoc(
        Phase.UNHEALTHY,
        "The worker deregistered itself; a late heartbeat does not revive it.",
        "Register it again when it is back.",
    ),
    Reason.POD_REPLACED: ReasonDoc(
        Phase.UNHEALTHY,
        "Another pod is at this address now, or the pod of this instance is at another one.",
        "Nothing; the resource goes with its pod, and a heartbeat from there brings it back.",
    ),
    Reason.ADDRESS_CONFLICT: ReasonDoc(
        Phase.CONFLICTED,
        "Another resource with the same model, host and port holds the address.",
        "Delete one of the two, or correct its host or port; this one takes over when the holder "
        "falls silent or goes.",
    ),
    Reason.SET_BY_CALLER: ReasonDoc(
        Phase.HEALTHY,
        "A caller of the registry class assigned `healthy`; it holds until the next heartbeat, "
        "registration or expiry. `False` shows as `Unhealthy`.",
        "Nothing; the next heartbeat decides.",
    ),
    Reason.FLAPPING: ReasonDoc(
        Phase.UNHEALTHY,
        "It became unfit at least three times within ten minutes. It returns once it has been well "
        "for a time that grows with each further fall: 30 s, 60 s, 120 s, at most 300 s.",
        "Find out what lets it come and go: `/why` shows what else is known of it.",
    ),
    Reason.WORKER_NOT_READY: ReasonDoc(
        Phase.UNHEALTHY,
        "The worker, or the agent beside it, is heard and says that it cannot answer. The message "
        "says why.",
        "Look at the engine; the next heartbeat that says nothing of the kind makes it `Healthy`.",
    ),
    Reason.POD_STARTING: ReasonDoc(
        Phase.STARTING,
        "Not all containers of the pod have started.",
        "Wait, or see `kubectl describe pod`.",
    ),
    Reason.POD_NOT_READY: ReasonDoc(
        Phase.UNHEALTHY,
        "The pod is not ready: a readiness probe fails, or a readiness gate other than ours is "
        "closed.",
        "See `kubectl describe pod`; it returns with the pod's readiness.",
    ),
    Reason.AWAITING_FIRST_PROBE: ReasonDoc(
        Phase.STARTING,
        "`spec.probe` is set, and has not yet succeeded as often as it has to.",
        "Wait for `successThreshold` periods; if it stays, see that the path answers 200.",
    ),
    Reason.PROBE_FAILED: ReasonDoc(
        Phase.UNHEALTHY,
        "The probe of `spec.probe` failed `failureThreshold` times in a row. The message says what "
        "came.",
        "Look at the worker and at its way from the operator; the next successes bring it back.",
    ),
    Reason.CALLS_FAILING: ReasonDoc(
        Phase.UNHEALTHY,
        "Routers report that their calls to it fail, though nothing else is wrong. It returns once "
        "it has been well for 30 s, or longer if that happens again; no report brings it back.",
        "Look at the worker, and at the way from the routers to it.",
    ),
    Reason.PROBE_SUCCEEDED: ReasonDoc(
        Phase.HEALTHY,
        "The probe of `spec.probe` succeeds, and heartbeats are not required.",
        "Nothing.",
    ),
    Reason.POD_READY: ReasonDoc(
        Phase.HEALTHY,
        "The pod is ready, and heartbeats are not required.",
        "Nothing.",
    ),
    Reason.HEARTBEAT_NOT_REQUIRED: ReasonDoc(
        Phase.HEALTHY,
        "`spec.heartbeat.required` is false: the instance is taken at its owner's word.",
        "Set `spec.heartbeat.required: true` once the worker sends heartbeats.",
    ),
    Reason.AWAITING_FIRST_HEARTBEAT: ReasonDoc(
        Phase.STARTING,
        "Nothing was heard from this incarnation yet; applying a resource is no sign of life.",
        "See that the worker runs and sends heartbeats for this resource.",
    ),
    Reason.CORRELATED_SILENCE: ReasonDoc(
        Phase.DEGRADED,
        "No heartbeat came within the timeout, and at least half and at least three of the model's "
        "instances, or of all, fell silent with it: the likelier cause is between the workers and "
        "the registry. It is selected on, for at most ten minutes (the numbers are those of "
        "`spec.correlatedSilence` of the InstanceRegistry).",
        "Look at the network, and at what the workers' heartbeats pass through; a heartbeat makes "
        "it `Healthy`.",
    ),
    Reason.HEARTBEAT_EXPIRED: ReasonDoc(
        Phase.UNHEALTHY,
        "No new heartbeat came within the timeout.",
        "Look at the worker and at its way to the cluster; a new heartbeat makes it `Healthy`.",
    ),
    Reason.HEARTBEAT_RECEIVED: ReasonDoc(
        Phase.HEALTHY,
        "A heartbeat came within the timeout.",
        "Nothing.",
    ),
}


class RegistryReason(StrEnum):
    """What is told of the registry itself, in Events on the InstanceRegistry and in the log."""

    CORRELATED_SILENCE = "CorrelatedSilence"
    CORRELATED_SILENCE_ENDED = "CorrelatedSilenceEnded"


REGISTRY_REASONS: dict[RegistryReason, str] = {
    RegistryReason.CORRELATED_SILENCE: (
        "So many instances of one model, or of all, fell silent within one timeout that the "
        "likelier cause is between the workers and the registry: they are selected on, `Degraded`."
    ),
    RegistryReason.CORRELATED_SILENCE_ENDED: (
        "They are heard again, or are out: because the time is up, or one by one, as the others "
        "are heard."
    ),
}
"""What each of them means."""
