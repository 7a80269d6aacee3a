"""What is known of one instance just now, with the ages that a person wants to see."""

from __future__ import annotations

from dataclasses import dataclass

from modelinstance.registry.health import Evidence
from modelinstance.registry.probation import Hysteresis
from modelinstance.registry.record import Probation, Record
from modelinstance.registry.records import Records
from modelinstance.registry.reports import Opinions
from modelinstance.registry.view import ViewState


@dataclass(frozen=True, slots=True)
class Known:
    """One record, the evidence on it, and all ages in seconds.

    ``expires_in`` is ``None`` if nothing is to expire, ``heartbeat_age`` if this process has heard
    none. ``well_for`` is ``None`` while it is not well, or has nothing to prove. ``falls`` are
    those within the window. ``hysteresis`` is ``None`` where nobody has to prove anything,
    ``guarded_for`` where nobody's silence is ever frozen.
    """

    evidence: Evidence
    record: Record
    opinions: Opinions
    view: ViewState
    heartbeat_age: float | None
    expires_in: float | None
    over_http: bool
    well_for: float | None
    falls: int
    hysteresis: Hysteresis | None
    guarded_for: float | None

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


def look(records: Records, record: Record, view: ViewState, opinions: Opinions) -> Known:
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
        falls=sum(at > now - window for at, _ in record.falls or ()),
        hysteresis=hysteresis,
        guarded_for=None if guard is None else guard.seconds,
    )
