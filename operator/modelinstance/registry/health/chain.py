"""Health as one ordered decision over what is known of an instance.

Each check is a small pure function: it looks at the evidence and either answers with a verdict or
passes. The first answer counts. More evidence means one more check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.reasons import REASONS, Phase, Reason
from modelinstance.registry.instance import InstanceKey, InstanceSpec, Rotation


class Life(StrEnum):
    """What was heard of one incarnation."""

    UNHEARD = "Unheard"
    HEARD = "Heard"
    SILENT = "Silent"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict may rest on.

    ``timeout`` is in seconds. ``holder`` is set when another record holds the address. ``pod`` is
    set where its pod is known; ``displaced`` when another pod was heard at its address since.
    ``failure`` is why the worker says that it cannot answer. ``probe_passing`` is ``None`` as long
    as the probe has not decided; ``probe_message`` says what came last. ``probation`` is why it has
    to prove itself; ``frozen``: its silence is one of many. ``stale``: its heartbeats may
    come by way of a view of the cluster that is not current.
    """

    key: InstanceKey
    spec: InstanceSpec
    life: Life
    timeout: float
    holder: InstanceKey | None = None
    deleting: bool = False
    deregistered: bool = False
    drained: bool = False
    set_by_caller: bool | None = None
    pod: PodState | None = None
    displaced: bool = False
    failure: str | None = None
    probe_passing: bool | None = None
    probe_message: str = ""
    probation: Reason | None = None
    frozen: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided: ``ready`` is whether routers may be sent there.

    Verdicts that differ in the message alone are equal: it is for people.
    """

    phase: Phase
    reason: Reason
    message: str = field(compare=False)
    ready: bool


Check = Callable[[Evidence], Verdict | None]


def _verdict(reason: Reason, message: str, *, ready: bool = False) -> Verdict:
    return Verdict(REASONS[reason].phase, reason, message, ready)


def check_deletion(evidence: Evidence) -> Verdict | None:
    """A resource that is going away is never selected."""
    if not evidence.deleting:
        return None
    return _verdict(Reason.DELETING, "The resource is being deleted")


def check_rotation(evidence: Evidence) -> Verdict | None:
    """The owner's word comes before everything that was heard."""
    if evidence.spec.rotation is Rotation.DISABLED:
        return _verdict(
            Reason.DISABLED, "spec.rotation is Disabled; set it to Active to bring it back"
        )
    if evidence.spec.rotation is Rotation.DRAINING:
        return _verdict(
            Reason.DRAINING, "spec.rotation is Draining: no new requests, running ones may end"
        )
    return None


def check_drain(evidence: Evidence) -> Verdict | None:
    """Somebody asked for no new requests; that the worker said goodbye is more than that."""
    if not evidence.drained or evidence.deregistered:
        return None
    return _verdict(
        Reason.DRAIN_REQUESTED,
        "A drain was asked for: no new requests, running ones may end; it returns when the drain "
        "is taken back or the worker registers again",
    )


def check_termination(evidence: Evidence) -> Verdict | None:
    """A pod that is being deleted still answers, but not for long."""
    if evidence.pod is None or evidence.pod.condition is not PodCondition.TERMINATING:
        return None
    return _verdict(Reason.POD_TERMINATING, evidence.pod.message)


def check_registration(evidence: Evidence) -> Verdict | None:
    """A worker that said goodbye is gone until it registers again."""
    if not evidence.deregistered:
        return None
    return _verdict(Reason.DEREGISTERED, "The worker deregistered; it returns by registering again")


def check_displacement(evidence: Evidence) -> Verdict | None:
    """Addresses of pods are used again: whoever answers there now is not this instance."""
    if not evidence.displaced:
        return None
    spec = evidence.spec
    return _verdict(
        Reason.POD_REPLACED,
        f"Another pod is at host {spec.host} port {spec.port} now, or the pod of this instance is "
        f"elsewhere",
    )


def check_conflict(evidence: Evidence) -> Verdict | None:
    """One address, one holder. A holder in another namespace is not named: it may be secret."""
    if evidence.holder is None:
        return None
    spec = evidence.spec
    if evidence.holder.namespace == evidence.key.namespace:
        holder = f"ModelInstance {evidence.holder.name}"
    else:
        holder = "A ModelInstance in another namespace"
    return _verdict(
        Reason.ADDRESS_CONFLICT,
        f"{holder} holds model {spec.model_name} at host {spec.host} port {spec.port}; delete one "
        f"of them or correct its address",
    )


def check_caller(evidence: Evidence) -> Verdict | None:
    """A caller of the registry class assigned ``healthy``."""
    if evidence.set_by_caller is None:
        return None
    phase = Phase.HEALTHY if evidence.set_by_caller else Phase.UNHEALTHY
    message = f"healthy was set to {evidence.set_by_caller} by a caller, until the next heartbeat"
    return Verdict(phase, Reason.SET_BY_CALLER, message, evidence.set_by_caller)


def check_flapping(evidence: Evidence) -> Verdict | None:
    """What comes and goes has to be well for a while; until then it makes no difference how it is.

    So nothing is written at each turn.
    """
    if evidence.probation is not Reason.FLAPPING:
        return None
    return _verdict(
        Reason.FLAPPING,
        "It comes and goes: it returns once it has been well for a while, which grows each time",
    )


def check_worker(evidence: Evidence) -> Verdict | None:
    """The worker is heard, and says that it cannot answer."""
    if evidence.failure is None:
        return None
    return _verdict(Reason.WORKER_NOT_READY, f"The worker says: {evidence.failure}")


def check_readiness(evidence: Evidence) -> Verdict | None:
    """The kubelet says that the pod is not ready."""
    if evidence.pod is None:
        return None
    if evidence.pod.condition is PodCondition.STARTING:
        return _verdict(Reason.POD_STARTING, evidence.pod.message)
    if evidence.pod.condition is PodCondition.NOT_READY:
        return _verdict(Reason.POD_NOT_READY, evidence.pod.message)
    return None


def check_probe(evidence: Evidence) -> Verdict | None:
    """Where the owner wants the instance asked, what it answers counts beside heartbeats."""
    if evidence.spec.probe is None or evidence.probe_passing:
        return None
    if evidence.probe_passing is None:
        what = evidence.probe_message or "it was not asked yet"
        return _verdict(Reason.AWAITING_FIRST_PROBE, f"The probe has yet to succeed: {what}")
    return _verdict(Reason.PROBE_FAILED, f"The probe fails: {evidence.probe_message}")


def check_calls(evidence: Evidence) -> Verdict | None:
    """Routers say that calls fail, where nothing else is wrong."""
    silent = evidence.spec.heartbeat_required and evidence.life is not Life.HEARD
    if evidence.probation is not Reason.CALLS_FAILING or (silent and not evidence.frozen):
        return None
    return _verdict(
        Reason.CALLS_FAILING,
        f"Routers report that calls to {evidence.spec.url} fail; it returns once it has been well "
        f"for a while",
    )


def check_requirement(evidence: Evidence) -> Verdict | None:
    """Without required heartbeats an instance is taken at its owner's word."""
    if evidence.spec.heartbeat_required:
        return None
    if evidence.spec.probe is not None:
        return _verdict(
            Reason.PROBE_SUCCEEDED, "The probe succeeds; heartbeats are not required", ready=True
        )
    if evidence.pod is not None:
        return _verdict(
            Reason.POD_READY, "The pod is ready; heartbeats are not required", ready=True
        )
    return _verdict(
        Reason.HEARTBEAT_NOT_REQUIRED,
        "spec.heartbeat.required is false: taken at its owner's word",
        ready=True,
    )


def check_guard(evidence: Evidence) -> Verdict | None:
    """When many fall silent at once, the likelier cause is between them and us."""
    if not evidence.frozen or evidence.life is not Life.SILENT:
        return None
    return _verdict(
        Reason.CORRELATED_SILENCE,
        f"No heartbeat within {evidence.timeout:g} s, from this instance and from many others at "
        f"once: selected on, as the cause is likely between them and the registry",
        ready=True,
    )


def check_view(evidence: Evidence) -> Verdict | None:
    """Whose heartbeats we cannot see at present stays as it was.

    Nothing expires meanwhile, so the verdict is that of the heartbeats; this says why it stands.
    """
    if not evidence.stale:
        return None
    verdict = check_heartbeat(evidence)
    if evidence.life is Life.HEARD:
        message = (
            "Heartbeats arrived in time while the cluster could be seen, which it cannot at present"
        )
    else:
        message = (
            f"{verdict.message}; the cluster cannot be seen at present, nor a heartbeat by "
            f"annotation"
        )
    return replace(verdict, message=message)


def check_heartbeat(evidence: Evidence) -> Verdict:
    """What was heard within the timeout decides; this check always answers."""
    where = evidence.spec.url
    if evidence.life is Life.UNHEARD:
        return _verdict(
            Reason.AWAITING_FIRST_HEARTBEAT,
            f"Nothing was heard yet; see that the worker at {where} runs and sends heartbeats",
        )
    if evidence.life is Life.SILENT:
        return _verdict(
            Reason.HEARTBEAT_EXPIRED,
            f"No heartbeat within {evidence.timeout:g} s; look at the worker at {where}, a new "
            f"heartbeat makes it Healthy",
        )
    return _verdict(Reason.HEARTBEAT_RECEIVED, "Heartbeats arrive in time", ready=True)


STANDING: Sequence[Check] = (check_deletion, check_rotation, check_drain, check_termination)
"""What is asked for, whatever the worker does."""

LIVENESS: Sequence[Check] = (
    check_registration,
    check_displacement,
    check_conflict,
    check_caller,
    check_flapping,
    check_worker,
    check_readiness,
    check_probe,
    check_calls,
    check_requirement,
    check_guard,
    check_view,
    check_heartbeat,
)
"""What is known of the worker itself."""


FITNESS: Sequence[Check] = tuple(
    check for check in LIVENESS if check not in {check_flapping, check_calls}
)
"""What is known of the worker itself, but for what it has to prove."""


def _first(checks: Sequence[Check], evidence: Evidence) -> Verdict:
    return next(verdict for check in checks if (verdict := check(evidence)) is not None)


def decide(evidence: Evidence) -> Verdict:
    """The verdict on an instance: the answer of the first check that has one."""
    return _first((*STANDING, *LIVENESS), evidence)


def is_alive(evidence: Evidence) -> bool:
    """Whether the worker would be ready, were it not for ``rotation`` or a drain.

    This is DB-GPT's ``healthy``, which knows nothing of ``enabled``.
    """
    return _first(LIVENESS, evidence).ready


def fitness(evidence: Evidence) -> Verdict:
    """What is known of the worker but for probation: whether it would be well."""
    return _first(FITNESS, evidence)
