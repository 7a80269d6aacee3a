"""What has to be written into the statuses of resources, and no more than that.

A status is written once for each change of phase, reason, generation or incarnation, and for
nothing else. Whether one is due is always worked out from what the resource says now, so that a
restart writes nothing and a lost write is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelinstance.registry.instance import Incarnation, InstanceKey
from modelinstance.registry.observed import Reported
from modelinstance.registry.reasons import REASONS, Phase, Reason
from modelinstance.registry.record import Record

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0


class ConditionType(StrEnum):
    """The conditions of a ModelInstance. Only Ready is always there."""

    READY = "Ready"
    DRAINING = "Draining"
    CONFLICTED = "Conflicted"
    DEREGISTERED = "Deregistered"


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


@dataclass(slots=True)
class _Pending:
    not_before: float = 0.0
    delay: float = MIN_BACKOFF_SECONDS


class Outbox:
    """The keys whose status may be out of date, each once, with its own backoff.

    Times are attended seconds.
    """

    def __init__(self) -> None:
        self._pending: dict[InstanceKey, _Pending] = {}
        self._in_flight: set[InstanceKey] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, key: InstanceKey) -> None:
        """A status may be out of date."""
        self._pending.setdefault(key, _Pending())

    def discard(self, key: InstanceKey) -> None:
        """A status is up to date, or its resource is gone."""
        self._pending.pop(key, None)

    def ready(self, now: float) -> Iterator[InstanceKey]:
        """The keys to look at now, the longest waiting first."""
        for key, pending in tuple(self._pending.items()):
            if key not in self._in_flight and pending.not_before <= now:
                yield key

    def sent(self, key: InstanceKey) -> None:
        """A write is under way: no second one until it is settled."""
        self._in_flight.add(key)

    def settle(self, key: InstanceKey) -> None:
        """A write has ended well, or is to be decided again from what the resource says now."""
        self._in_flight.discard(key)
        if (pending := self._pending.get(key)) is not None:
            pending.delay, pending.not_before = MIN_BACKOFF_SECONDS, 0.0

    def fail(self, key: InstanceKey, now: float, at_least: float = 0.0) -> None:
        """A write has failed: try again after 1, 2, 4 ... seconds, or as late as asked for."""
        self._in_flight.discard(key)
        if (pending := self._pending.get(key)) is not None:
            pending.not_before = now + max(pending.delay, at_least)
            pending.delay = min(2 * pending.delay, MAX_BACKOFF_SECONDS)

    def abandon(self) -> None:
        """Whoever wrote is gone: what became of the writes under way, the resources say."""
        self._in_flight.clear()
