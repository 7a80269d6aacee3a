"""Why an instance is in its phase, as OpenAPI shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from modelinstance.http.models import Answer, Instance
from modelinstance.http.rendering import shown
from modelinstance.http.source import Source
from modelinstance.registry.health.reasons import REASONS
from modelinstance.registry.health.record import Record
from modelinstance.registry.telling.findings import findings
from modelinstance.registry.telling.known import Known, look
from modelinstance.registry.telling.prospects import prospects


class Evidence(Answer):
    """What a verdict rests on, with ages of now."""

    life: str = Field(description="What was heard: Unheard, Heard or Silent.")
    rotation: str = Field(description="What the owner asks for.")
    heartbeat_required: bool = Field(description="Whether it has to send heartbeats.")
    heartbeat_timeout_seconds: float = Field(description="The silence that makes it Unhealthy.")
    heartbeat_age_seconds: float | None = Field(description="Seconds since the last heartbeat.")
    expires_in_seconds: float | None = Field(
        description="Seconds of attended time until it is Unhealthy; null if nothing is to expire."
    )
    deleting: bool = Field(description="Whether its resource is being deleted.")
    deregistered: bool = Field(description="Whether the worker said goodbye.")
    drained: bool = Field(description="Whether a drain was asked for over HTTP.")
    pod: str | None = Field(
        description="How its pod is: Starting, Ready, NotReady or Terminating; "
        "null if it has none, or none that is looked at."
    )
    displaced: bool = Field(description="Whether another pod was heard at its address since.")
    failure: str | None = Field(description="Why the worker says that it cannot answer.")
    probe_passing: bool | None = Field(
        description="Whether spec.probe succeeds; null if there is none, or it has not decided."
    )
    holder: str | None = Field(
        description="Who holds its address instead, as NAMESPACE/NAME; null if nobody or hidden."
    )
    frozen: bool = Field(
        description="Whether its silence is one of many, so that its expiry is held back."
    )
    falls: int = Field(description="How often it became unfit within the last ten minutes.")
    probation: str | None = Field(
        description="Why it has to prove itself: Flapping or CallsFailing; null if it does not."
    )
    probation_seconds: float | None = Field(
        description="For how long it has to be well to return; null if it has nothing to prove."
    )
    well_for_seconds: float | None = Field(
        description="For how long it has been well on probation; null if it is not."
    )
    reporters_bad: int = Field(description="How many routers find lately that calls to it fail.")
    reporters_good: int = Field(description="How many routers use it well lately.")

    @classmethod
    def of(cls, known: Known) -> Evidence:
        """The answer that describes what is known; a holder elsewhere is hidden."""
        seen, probation = known.evidence, known.probation
        holder = seen.holder
        if holder is not None and holder.namespace != seen.key.namespace:
            holder = None
        return cls(
            life=seen.life,
            rotation=seen.spec.rotation,
            heartbeat_required=seen.spec.heartbeat_required,
            heartbeat_timeout_seconds=seen.timeout,
            heartbeat_age_seconds=_rounded(known.heartbeat_age),
            expires_in_seconds=_rounded(known.expires_in),
            deleting=seen.deleting,
            deregistered=seen.deregistered,
            drained=seen.drained,
            pod=None if seen.pod is None else seen.pod.condition,
            displaced=seen.displaced,
            failure=seen.failure,
            probe_passing=seen.probe_passing,
            holder=None if holder is None else str(holder),
            frozen=seen.frozen,
            falls=len(known.falls),
            probation=seen.probation,
            probation_seconds=None if probation is None else probation.seconds,
            well_for_seconds=_rounded(known.well_for),
            reporters_bad=known.opinions.bad,
            reporters_good=known.opinions.good,
        )


class CheckShown(Answer):
    """One check of the chain."""

    check: str = Field(description="Its name.")
    result: str = Field(
        description="passes; decides: the verdict is its; not reached: one before it has decided."
    )
    reason: str | None = Field(description="The reason of the verdict; null unless it decides.")
    evidence: str = Field(description="What it sees, in a sentence with ages of now.")


class Explanation(Answer):
    """Why an instance is in its phase, and what would change it."""

    instance: Instance = Field(description="The instance.")
    since: datetime = Field(
        description="Since when it may be called, or may not, as far as this process knows."
    )
    since_seconds: float = Field(description="How long ago that was.")
    meaning: str = Field(description="What its reason means.")
    action: str = Field(description="What to do about it.")
    changes: list[str] = Field(description="What would change the verdict, the likeliest first.")
    checks: list[CheckShown] = Field(
        description="Every check in the order in which they are made: the first to answer decides."
    )
    evidence: Evidence = Field(description="What the verdict rests on.")


def explained(source: Source, record: Record) -> Explanation:
    """Why a record is in its phase."""
    records = source.records
    known = look(
        records,
        record,
        source.view_state(),
        source.reports.opinions(record),
        source.pods_state(record.key.namespace),
    )
    doc = REASONS[record.verdict.reason]
    since = (records.clock.wall() - record.since).total_seconds()
    return Explanation(
        instance=shown(records, record),
        since=record.since,
        since_seconds=round(max(since, 0.0), 3),
        meaning=doc.meaning,
        action=doc.action,
        changes=prospects(known),
        checks=[
            CheckShown(
                check=found.check, result=found.result, reason=found.reason, evidence=found.evidence
            )
            for found in findings(known)
        ],
        evidence=Evidence.of(known),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
