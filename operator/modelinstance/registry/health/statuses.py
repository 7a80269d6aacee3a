"""What has to be written into the statuses of resources, and no more than that.

A status is written once for each change of phase, reason, generation or incarnation, and for
nothing else. Whether one is due is always worked out from what the resource says now, so that a
restart writes nothing and a lost write is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelinstance.registry.health.observed import Reported
from modelinstance.registry.health.reasons import REASONS, Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Incarnation, InstanceKey


class ConditionType(StrEnum):
    """The conditions of a ModelInstance. Only Ready is always there."""

    READY = "Ready"
    DRAINING = "Draining"
    CONFLICTED = "Conflicted"
    DEREGISTERED = "Deregistered"
    DEGRADED = "Degraded"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition to be written."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """A status to be written, on the condition that the resource is still at that version."""

    key: InstanceKey
    version: int
    generation: int
    incarnation: Incarnation
    phase: Phase
    url: str
    last_beat: datetime | None
    conditions: tuple[Condition, ...]


def is_current(record: Record, generation: int, reported: Reported | None) -> bool:
    """Whether the status says what the registry decided."""
    return (
        reported is not None
        and reported.phase == record.verdict.phase
        and reported.reason == record.verdict.reason
        and reported.generation == generation
        and reported.incarnation == record.incarnation
        and reported.holds(ConditionType.DRAINING, Reason.DRAIN_REQUESTED) is record.drained
        and reported.holds(ConditionType.DEREGISTERED) is record.deregistered
    )


def compose(
    record: Record,
    *,
    message: str,
    version: int,
    generation: int,
    reported: Reported | None,
    now: datetime,
) -> StatusWrite:
    """The status that says what the registry decided; ``message`` says why.

    A condition keeps its transition time while its status stays (Kubernetes API conventions). What
    was said over HTTP is a condition of its own, so that it is still known after a restart.
    """
    verdict = record.verdict
    seen = reported.conditions if reported is not None else {}

    def condition(
        kind: ConditionType, status: bool, since: datetime, reason: Reason, why: str
    ) -> Condition:
        before = seen.get(kind)
        kept = before.since if before is not None and before.status is status else since
        return Condition(kind, status, reason, why, kept)

    ready = condition(ConditionType.READY, verdict.ready, record.since, verdict.reason, message)
    conditions = [ready]
    if record.drained:
        why = REASONS[Reason.DRAIN_REQUESTED].meaning
        conditions.append(condition(ConditionType.DRAINING, True, now, Reason.DRAIN_REQUESTED, why))
    elif verdict.phase is Phase.DRAINING:
        conditions.append(condition(ConditionType.DRAINING, True, now, verdict.reason, message))
    if record.deregistered:
        why = REASONS[Reason.DEREGISTERED].meaning
        conditions.append(
            condition(ConditionType.DEREGISTERED, True, now, Reason.DEREGISTERED, why)
        )
    if verdict.phase is Phase.CONFLICTED:
        conditions.append(condition(ConditionType.CONFLICTED, True, now, verdict.reason, message))
    if verdict.phase is Phase.DEGRADED:
        conditions.append(condition(ConditionType.DEGRADED, True, now, verdict.reason, message))
    return StatusWrite(
        key=record.key,
        version=version,
        generation=generation,
        incarnation=record.incarnation,
        phase=verdict.phase,
        url=record.spec.url,
        last_beat=record.last_beat,
        conditions=tuple(conditions),
    )
