"""What each check of the chain sees of an instance, in a sentence with the ages of now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from modelinstance.registry.health.chain import (
    LIVENESS,
    STANDING,
    Check,
    Life,
    check_caller,
    check_calls,
    check_conflict,
    check_deletion,
    check_displacement,
    check_drain,
    check_flapping,
    check_guard,
    check_heartbeat,
    check_probe,
    check_readiness,
    check_registration,
    check_requirement,
    check_rotation,
    check_termination,
    check_view,
    check_worker,
)
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.instance import Rotation
from modelinstance.registry.intake.reports import WINDOW_SECONDS
from modelinstance.registry.telling.known import Known

FALLS_SHOWN = 3
"""Of how many of the last falls the ages are told."""


class CheckResult(StrEnum):
    """What a check amounts to."""

    PASSES = "passes"
    DECIDES = "decides"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one instance: ``reason`` is set where it decides."""

    check: str
    result: CheckResult
    reason: Reason | None
    evidence: str


def findings(known: Known) -> list[Finding]:
    """Every check of the chain, in its order: the first that answers decides."""
    found: list[Finding] = []
    decided = False
    for check in (*STANDING, *LIVENESS):
        name, describe = DESCRIBED[check]
        verdict = None if decided else check(known.evidence)
        reason = None if verdict is None else verdict.reason
        result = CheckResult.NOT_REACHED if decided else CheckResult.PASSES
        if verdict is not None:
            decided, result = True, CheckResult.DECIDES
        found.append(Finding(name, result, reason, describe(known)))
    return found


def _deletion(known: Known) -> str:
    if known.evidence.deleting:
        return "the resource is being deleted, and waits for the finalizers on it"
    return "the resource is not being deleted"


def _rotation(known: Known) -> str:
    rotation = known.evidence.spec.rotation
    wanted = "selected" if rotation is Rotation.ACTIVE else "left out"
    return f"spec.rotation is {rotation}: its owner wants it {wanted}"


def _drain(known: Known) -> str:
    if known.evidence.drained:
        return f"a drain was asked for over HTTP{_ago(known.drained_for)}"
    return "no drain was asked for over HTTP"


def _pod(known: Known) -> str:
    pod, pods = known.evidence.pod, known.pods
    told = "no pod of it is known"
    if pod is not None:
        told = f"its pod is {pod.condition}: {pod.message}"
    if pods is None or not pods.stale:
        return told
    why = f": {pods.failure}" if pods.failure else ""
    return f"{told}; the pods were last seen {pods.age:.1f} s ago{why}"


def _registration(known: Known) -> str:
    if known.evidence.deregistered:
        return f"the worker said goodbye{_ago(known.deregistered_for)}"
    return "the worker has not said goodbye"


def _displacement(known: Known) -> str:
    if known.evidence.displaced:
        return "another pod was heard at its address since, or its own pod is elsewhere"
    return "no other pod was heard at its address"


def _conflict(known: Known) -> str:
    if not known.holder:
        return "nobody else holds its model, host and port"
    return f"{known.holder} holds its model, host and port"


def _caller(known: Known) -> str:
    said = known.evidence.set_by_caller
    return "no caller has set it" if said is None else f"a caller has set healthy to {said}"


def _flapping(known: Known) -> str:
    settings = known.hysteresis
    if settings is None:
        return "nobody has to prove anything in this registry"
    number, last = len(known.falls), known.falls[:FALLS_SHOWN]
    falls = f"{number} {'fall' if number == 1 else 'falls'} within {settings.window:g} s"
    if last:
        ages = ", ".join(f"{age:.1f}" for age, _ in last)
        falls += f" ({'the last ' if number > len(last) else ''}{ages} s ago)"
    if known.evidence.probation is Reason.FLAPPING:
        return f"{falls}: {_proof(known)}"
    return f"{falls}: at {settings.falls} it has to prove itself"


def _proof(known: Known) -> str:
    """How far one that has to prove itself has got."""
    probation = known.probation
    if probation is None:
        return "it has nothing to prove"
    heard = ", then heard" if known.evidence.spec.heartbeat_required else ""
    needed = f"on probation, to be well for {probation.seconds:g} s{heard}"
    if known.well_for is None:
        return f"{needed}; it is not well"
    return f"{needed}; well for {known.well_for:.1f} s"


def _worker(known: Known) -> str:
    failure = known.evidence.failure
    if failure is not None:
        return f"the worker says that it cannot answer: {failure}"
    return "the worker does not say that it cannot answer"


def _probe(known: Known) -> str:
    evidence = known.evidence
    probe, message = evidence.spec.probe, evidence.probe_message
    if probe is None:
        return "no probe is asked for"
    asked = f"GET {probe.path} every {probe.period:g} s"
    if known.probed_ago is not None:
        asked += f", last tried{_ago(known.probed_ago)}"
    if evidence.probe_passing:
        return f"the probe succeeds: {asked}" + (f"; the last time: {message}" if message else "")
    if evidence.probe_passing is None:
        return f"the probe has not decided: {asked}; {message or 'it was not asked yet'}"
    return f"the probe fails: {asked}; {message}"


def _calls(known: Known) -> str:
    opinions = known.opinions
    bad, good = opinions.bad, opinions.good
    told = f"{bad} {'reporter finds' if bad == 1 else 'reporters find'} it bad, {good} good, "
    told += f"within {WINDOW_SECONDS:g} s"
    for what, age in ("failure", opinions.failed_ago), ("success", opinions.succeeded_ago):
        if age is not None:
            told += f", the last {what}{_ago(age)}"
    if known.evidence.probation is Reason.CALLS_FAILING:
        out = next((age for age, reason in known.falls if reason is Reason.CALLS_FAILING), None)
        return f"{told}: calls to it failed, and it was taken out{_ago(out)}; {_proof(known)}"
    return told


def _requirement(known: Known) -> str:
    if not known.evidence.spec.heartbeat_required:
        return "heartbeats are not required of it"
    return f"heartbeats are required, one every {known.evidence.timeout:g} s at least"


def _guard(known: Known) -> str:
    if known.outage is not None:
        age, left = known.outage
        return (
            f"its silence is one of many, an outage that began{_ago(age)}: its expiry is held back "
            f"for {left:.1f} s more unless heard"
        )
    if known.guarded_for is None:
        return "nobody's expiry is ever held back in this registry"
    return "its expiry is not held back"


def _view(known: Known) -> str:
    view = known.view
    proven = f"proven {view.age:.1f} s ago"
    if not view.stale:
        return f"the view of the cluster is current, {proven}"
    why = f": {view.failure}" if view.failure else ""
    whose = ""
    if known.evidence.stale:
        heard = known.evidence.life is Life.HEARD
        beats = "its heartbeats" if heard else "heartbeats by annotation"
        whose = f", through which {beats} come,"
    return f"the view of the cluster{whose} is not current, {proven}{why}"


def _heartbeat(known: Known) -> str:
    evidence, age = known.evidence, known.heartbeat_age
    if evidence.life is Life.UNHEARD:
        return "nothing was heard of this incarnation"
    if age is not None:
        last = f"last heartbeat {age:.1f} s ago"
    elif known.record.last_beat is not None:
        last = f"last heartbeat before this process began, at {known.record.last_beat:%FT%TZ}"
    else:
        last = "last heartbeat before this process began"
    if known.expires_in is None:
        return f"{last}; it is {evidence.life.lower()}, and nothing is to expire"
    if known.over_http:
        return f"{last} over HTTP, expires in {known.expires_in:.1f} s unless heard"
    left = f"{known.expires_in:.1f} s of a current view"
    return f"{last} by annotation, expires in {left} unless heard"


def _ago(seconds: float | None) -> str:
    """How long ago something was, to be put after it; empty if that is not known."""
    return "" if seconds is None else f" {seconds:.1f} s ago"


DESCRIBED: dict[Check, tuple[str, Callable[[Known], str]]] = {
    check_deletion: ("deletion", _deletion),
    check_rotation: ("rotation", _rotation),
    check_drain: ("drain", _drain),
    check_termination: ("termination", _pod),
    check_registration: ("registration", _registration),
    check_displacement: ("displacement", _displacement),
    check_conflict: ("conflict", _conflict),
    check_caller: ("caller", _caller),
    check_flapping: ("flapping", _flapping),
    check_worker: ("worker", _worker),
    check_readiness: ("readiness", _pod),
    check_probe: ("probe", _probe),
    check_calls: ("calls", _calls),
    check_requirement: ("requirement", _requirement),
    check_guard: ("guard", _guard),
    check_view: ("view", _view),
    check_heartbeat: ("heartbeat", _heartbeat),
}
"""The name of each check, and what it looks at."""
