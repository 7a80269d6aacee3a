"""What an earlier process knew of an instance, as the status that it left tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.observed import Reported
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.statuses import ConditionType


@dataclass(frozen=True, slots=True)
class Past:
    """Where a record is taken up.

    ``last_beat`` is the time of day of the last sign of life, ``probation`` what it had to prove
    itself for. The rest is as in `Record`.
    """

    life: Life
    last_beat: datetime | None = None
    deregistered: bool = False
    drained: bool = False
    deregistered_since: datetime | None = None
    drained_since: datetime | None = None
    displaced: bool = False
    failure: str | None = None
    pod: PodState | None = None
    probe_passing: bool | None = None
    frozen: bool = False
    presumed: bool = False
    probation: Reason | None = None


def past_in(reported: Reported) -> Past:
    """What a status tells of its instance."""
    return Past(
        _life_in(reported),
        reported.last_beat,
        deregistered=reported.holds(ConditionType.DEREGISTERED),
        drained=reported.holds(ConditionType.DRAINING, Reason.DRAIN_REQUESTED),
        deregistered_since=reported.since(ConditionType.DEREGISTERED),
        drained_since=reported.since(ConditionType.DRAINING),
        displaced=reported.reason == Reason.POD_REPLACED,
        failure=_failure_in(reported),
        pod=_pod_in(reported),
        probe_passing=_passing_in(reported),
        frozen=reported.reason == Reason.CORRELATED_SILENCE,
        presumed=reported.reason in _SAYS_NOTHING_OF_BEATS,
        probation=_probation_in(reported),
    )


_SAYS_NOTHING_OF_BEATS = {
    Reason.WORKER_NOT_READY, Reason.POD_NOT_READY, Reason.POD_REPLACED, Reason.PROBE_FAILED,
    Reason.POD_STARTING, Reason.AWAITING_FIRST_PROBE, Reason.FLAPPING, Reason.CALLS_FAILING,
}  # fmt: skip
"""What makes an instance unfit whose heartbeats may well have come in time."""


def _life_in(reported: Reported) -> Life:
    """What had been heard of it."""
    heard = reported.reason == Reason.HEARTBEAT_RECEIVED or reported.last_beat is not None
    if reported.reason in _SAYS_NOTHING_OF_BEATS:
        return Life.HEARD if heard else Life.UNHEARD
    if reported.phase == Phase.HEALTHY and heard:
        return Life.HEARD
    if reported.phase in {Phase.UNHEALTHY, Phase.DEGRADED}:
        return Life.SILENT
    return Life.UNHEARD


def _failure_in(reported: Reported) -> str | None:
    """What the worker had said; its words are in the status, which is not written again."""
    if reported.reason != Reason.WORKER_NOT_READY:
        return None
    return "it cannot answer (said before the operator was started)"


def _probation_in(reported: Reported) -> Reason | None:
    return next((r for r in (Reason.FLAPPING, Reason.CALLS_FAILING) if r == reported.reason), None)


_POD_CONDITIONS: dict[str, PodCondition] = {
    Reason.POD_READY: PodCondition.READY,
    Reason.POD_STARTING: PodCondition.STARTING,
    Reason.POD_NOT_READY: PodCondition.NOT_READY,
    Reason.POD_TERMINATING: PodCondition.TERMINATING,
}


def _pod_in(reported: Reported) -> PodState | None:
    """How the pod was, until it is looked at again."""
    condition = _POD_CONDITIONS.get(reported.reason)
    if condition is None:
        return None
    return PodState(condition, "The pod was like that before the operator was started")


def _passing_in(reported: Reported) -> bool | None:
    """What had come of the probe: any other reason means that it was no obstacle."""
    if reported.reason in {Reason.AWAITING_FIRST_PROBE, Reason.FLAPPING}:
        return None
    return reported.reason != Reason.PROBE_FAILED
