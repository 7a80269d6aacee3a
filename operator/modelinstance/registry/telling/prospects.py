"""What would change the verdict on an instance, in sentences with the times that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modelinstance.registry.health.chain import fitness
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.telling.known import Known


def prospects(known: Known) -> list[str]:
    """What would change the verdict, the likeliest first."""
    verdict = known.record.verdict
    found = [*PROSPECTS[verdict.reason](known)]
    if verdict.ready and known.evidence.spec.weight <= 0:
        found.append("nothing of this makes it picked: with spec.weight 0 it is listed only")
    return found


def _deletion(known: Known) -> Iterator[str]:
    del known
    yield "the end of the finalizers that others put on it: then it is gone"


def _rotation(known: Known) -> Iterator[str]:
    del known
    yield "spec.rotation: Active"


def _drain(known: Known) -> Iterator[str]:
    del known
    yield "taking the drain back: DELETE .../drain"
    yield "a registration of the worker"


def _termination(known: Known) -> Iterator[str]:
    del known
    yield "the end of its pod: the resource goes with it"


def _registration(known: Known) -> Iterator[str]:
    del known
    yield "a registration of the worker; no heartbeat"


def _displacement(known: Known) -> Iterator[str]:
    del known
    yield "a heartbeat from its own pod at its address"
    yield "the end of its pod: the resource goes with it"


def _conflict(known: Known) -> Iterator[str]:
    yield f"{known.holder or 'the holder'} falls silent, drains, deregisters or goes"
    yield "another model, host or port in one of the two"


def _caller(known: Known) -> Iterator[str]:
    del known
    yield "the next heartbeat, registration or expiry, or another word of a caller"


def _flapping(known: Known) -> Iterator[str]:
    yield from _proof(known)
    if known.well_for is None and known.hysteresis is not None:
        yield f"{known.hysteresis.window:g} s of not being well: then what ails it is shown instead"


def _calls(known: Known) -> Iterator[str]:
    yield from _proof(known)
    yield from _silence(known)


def _proof(known: Known) -> Iterator[str]:
    """What ends probation."""
    probation = known.probation
    if probation is None:
        return
    if known.well_for is None:
        yield (
            f"being well for {probation.seconds:g} s, which it is not: "
            f"{fitness(known.evidence).message}"
        )
        return
    left = max(probation.seconds - known.well_for, 0.0)
    proof = f"being well for {left:.1f} s more"
    if known.evidence.spec.heartbeat_required:
        proof = f"{proof}, then a heartbeat" if left else "a heartbeat"
    yield f"{proof}; no report of a success"


def _worker(known: Known) -> Iterator[str]:
    yield "a heartbeat without a failure"
    yield from _silence(known)


def _starting(known: Known) -> Iterator[str]:
    del known
    yield "the start of all containers of its pod"


def _readiness(known: Known) -> Iterator[str]:
    del known
    yield "its pod's becoming ready"


def _probe_fails(known: Known) -> Iterator[str]:
    probe = known.evidence.spec.probe
    if probe is not None:
        times = _times(probe.success_threshold, "success", "successes in a row")
        yield f"{times} of GET {probe.path}"


def _heartbeat(known: Known) -> Iterator[str]:
    del known
    yield "a heartbeat"


def _frozen(known: Known) -> Iterator[str]:
    yield f"a heartbeat: then it is {Phase.HEALTHY}"
    if known.outage is not None:
        yield (
            f"silence for {known.outage[1]:.1f} s more: then it is {Phase.UNHEALTHY}, "
            f"{Reason.HEARTBEAT_EXPIRED}"
        )
    yield f"the others' recovery: then its own silence counts after {known.evidence.timeout:g} s"


def _ready(known: Known) -> Iterator[str]:
    """What can happen to one that is well."""
    evidence = known.evidence
    yield from _silence(known)
    if (probe := evidence.spec.probe) is not None:
        times = _times(probe.failure_threshold, "failure", "failures in a row")
        yield f"{times} of GET {probe.path}"
    if evidence.pod is not None:
        yield "its pod's becoming unready, or its deletion"
    if not evidence.spec.heartbeat_required and evidence.spec.probe is None:
        yield "spec.heartbeat.required: true, or a spec.probe"
    yield "failed calls that more routers report than use it well"
    yield "a drain, a goodbye, another spec.rotation"


def _silence(known: Known) -> Iterator[str]:
    """The heartbeat that does not come."""
    if known.evidence.spec.heartbeat_required and known.expires_in is not None:
        hidden = ", once the cluster can be seen again" if known.evidence.stale else ""
        yield f"silence for {known.expires_in:.1f} s more{hidden}"


def _times(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


PROSPECTS: dict[Reason, Callable[[Known], Iterator[str]]] = {
    Reason.DELETING: _deletion,
    Reason.DISABLED: _rotation,
    Reason.DRAINING: _rotation,
    Reason.DRAIN_REQUESTED: _drain,
    Reason.POD_TERMINATING: _termination,
    Reason.DEREGISTERED: _registration,
    Reason.POD_REPLACED: _displacement,
    Reason.ADDRESS_CONFLICT: _conflict,
    Reason.SET_BY_CALLER: _caller,
    Reason.FLAPPING: _flapping,
    Reason.WORKER_NOT_READY: _worker,
    Reason.POD_STARTING: _starting,
    Reason.POD_NOT_READY: _readiness,
    Reason.AWAITING_FIRST_PROBE: _probe_fails,
    Reason.PROBE_FAILED: _probe_fails,
    Reason.PROBE_SUCCEEDED: _ready,
    Reason.POD_READY: _ready,
    Reason.CALLS_FAILING: _calls,
    Reason.HEARTBEAT_NOT_REQUIRED: _ready,
    Reason.AWAITING_FIRST_HEARTBEAT: _heartbeat,
    Reason.CORRELATED_SILENCE: _frozen,
    Reason.HEARTBEAT_EXPIRED: _heartbeat,
    Reason.HEARTBEAT_RECEIVED: _ready,
}
"""What would change a verdict, by its reason."""
