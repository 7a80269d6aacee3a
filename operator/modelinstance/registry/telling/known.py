"""What is known of one instance just now, with the ages that a person wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelinstance.registry.health.chain import Evidence
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Probation, Record
from modelinstance.registry.intake.reports import Opinions
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records


@dataclass(frozen=True, slots=True)
class Known:
    """One record, the evidence on it, and all ages in seconds.

    ``expires_in`` is ``None`` if nothing is to expire, ``heartbeat_age`` if this process has heard
    none. ``well_for`` is ``None`` while it is not well, or has nothing to prove. ``falls`` are
    those within the window, the last one first. ``hysteresis`` is ``None`` where nobody has to
    prove anything, ``guarded_for`` where nobody's silence is ever frozen, ``pods`` where nobody
    looks at pods. ``outage`` is how long ago the one began that freezes it, and how long it still
    may.
    """

    evidence: Evidence
    record: Record
    opinions: Opinions
    view: ViewState
    heartbeat_age: float | None
    expires_in: float | None
    over_http: bool
    well_for: float | None
    falls: tuple[tuple[float, Reason], ...]
    hysteresis: Hysteresis | None
    guarded_for: float | None
    outage: tuple[float, float] | None
    drained_for: float | None
    deregistered_for: float | None
    probed_ago: float | None
    pods: ViewState | None = None

    @property
    def probation(self) -> Probation | None:
        """What it has to prove."""
        return self.record.probation

    @property
    def holder(self) -> str:
        """Who holds its address, without what is to be hidden; empty if nobody else does."""
        holder = self.evidence.holder
        if holder is None:
            return ""
        if holder.namespace == self.evidence.key.namespace:
            return f"ModelInstance {holder.name}"
        return "a ModelInstance in another namespace"


def look(
    records: Records,
    record: Record,
    view: ViewState,
    opinions: Opinions,
    pods: ViewState | None = None,
) -> Known:
    """All that is known of a record now."""
    now, beat = records.local.now, record.last_beat_monotonic
    hysteresis, guard = records.probations.settings, records.guard.settings
    expires_in = None
    if record.deadline is not None and record.timeline is not None:
        expires_in = max(record.deadline - record.timeline.now, 0.0)
    since = None if record.probation is None else record.probation.since
    window = (hysteresis or Hysteresis()).window
    return Known(
        evidence=records.evidence(record),
        record=record,
        opinions=opinions,
        view=view,
        heartbeat_age=None if beat is None else records.clock.monotonic() - beat,
        expires_in=expires_in,
        over_http=record.timeline is records.local,
        well_for=None if since is None else now - since,
        falls=tuple(
            (now - at, reason) for at, reason in reversed(record.falls or ()) if at > now - window
        ),
        hysteresis=hysteresis,
        guarded_for=None if guard is None else guard.seconds,
        outage=records.guard.outage_of(record),
        drained_for=_ago(records, record.drained_since),
        deregistered_for=_ago(records, record.deregistered_since),
        probed_ago=records.probed_ago(record),
        pods=pods,
    )


def _ago(records: Records, since: datetime | None) -> float | None:
    """How many seconds ago a time of day was."""
    if since is None:
        return None
    return max((records.clock.wall() - since).total_seconds(), 0.0)
