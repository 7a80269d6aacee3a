"""What the endpoint answers, as OpenAPI shows it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.reports import ReportResult
from modelinstance.registry.load import Load
from modelinstance.registry.mirror.view import ViewState


class BeatOutcome(StrEnum):
    """What a heartbeat amounts to."""

    ACCEPTED = "accepted"
    REGISTERED = "registered"
    UNKNOWN = "unknown"
    DEREGISTERED = "deregistered"


class Answer(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class LoadReport(Answer):
    """What a worker has to do, as of its last report."""

    running: float = Field(description="Requests that run.")
    waiting: float = Field(description="Requests that wait.")
    kv_cache: float | None = Field(description="The used share of the KV cache, from 0 to 1.")
    extra: dict[str, float] = Field(description="Numbers of the worker's own choice.")

    @classmethod
    def of(cls, load: Load) -> LoadReport:
        """The answer that describes a load."""
        return cls(
            running=load.running,
            waiting=load.waiting,
            kv_cache=load.kv_cache,
            extra=dict(load.extra),
        )


class Instance(Answer):
    """One instance, as it is now."""

    namespace: str = Field(description="The namespace of the resource.")
    name: str = Field(description="The name of the resource.")
    model: str = Field(description="The model that is served.")
    aliases: list[str] = Field(description="Other names under which routers find it.")
    host: str = Field(description="IP address (IPv6 without brackets) or DNS name.")
    port: int = Field(description="TCP port.")
    address: str = Field(description="The base URL for calls.")
    weight: float = Field(description="Its share of the requests; 1.0 is the usual one.")
    phase: str = Field(description="Where it is in its life, for display.")
    healthy: bool = Field(description="Whether it may be called now.")
    reason: str = Field(description="Why, in one word.")
    message: str = Field(description="Why, in a sentence.")
    incarnation: str = Field(description="The id that heartbeats name; a new life has a new one.")
    load: LoadReport | None = Field(description="Its load as last reported; null before that.")
    heartbeat_age_seconds: float | None = Field(
        description="Seconds since the last heartbeat that this process heard; null before that."
    )

    @classmethod
    def of(cls, record: Record, *, message: str, monotonic: float) -> Instance:
        """The answer that describes a record; ``message`` says why it is in its phase."""
        spec, verdict, beat = record.spec, record.verdict, record.last_beat_monotonic
        return cls(
            namespace=record.key.namespace,
            name=record.key.name,
            model=spec.model_name,
            aliases=sorted(spec.aliases),
            host=spec.host,
            port=spec.port,
            address=spec.url,
            weight=spec.weight,
            phase=verdict.phase,
            healthy=verdict.ready,
            reason=verdict.reason,
            message=message,
            incarnation=record.id,
            load=None if record.load is None else LoadReport.of(record.load),
            heartbeat_age_seconds=None if beat is None else round(monotonic - beat, 3),
        )


class RegisteredInstance(Instance):
    """An instance that has registered."""

    stored: bool = Field(
        description="Whether its resource is written. False while the API server is away: then a "
        "restart of the registry forgets it, unless its next heartbeat holds its registration."
    )
    detail: str = Field(description="Why it is not stored; empty if it is.")
    heartbeat_timeout_seconds: float = Field(
        description="After how many seconds without a heartbeat it is Unhealthy."
    )


class BeatAnswer(Answer):
    """What became of a heartbeat."""

    incarnation: str = Field(description="The incarnation to name from now on.")
    result: BeatOutcome = Field(
        description="accepted; registered: it was unknown, and the registration that it held was "
        "taken; unknown or deregistered: it changed nothing, the worker has to register."
    )


class BeatAnswers(Answer):
    """What became of several heartbeats, in their order."""

    items: list[BeatAnswer] = Field(description="One for each heartbeat.")


class ReportAnswer(Answer):
    """What became of a report."""

    incarnation: str = Field(description="The incarnation to name from now on.")
    result: ReportResult = Field(
        description="accepted, which need not change anything; unknown: there is no such "
        "incarnation any more, and it changed nothing."
    )


class ReportAnswers(Answer):
    """What became of several reports, in their order."""

    items: list[ReportAnswer] = Field(description="One for each report.")


class Gone(Answer):
    """An instance that is not there any more, or not one of those that were asked for."""

    namespace: str = Field(description="The namespace of the resource.")
    name: str = Field(description="The name of the resource.")


class Synced(Answer):
    """All that were there at first have been told."""

    durable: bool = Field(description="Whether a restart of the registry forgets nothing.")


class InstanceList(Answer):
    """Instances, in no particular order."""

    items: list[Instance] = Field(description="The instances.")


class Model(Answer):
    """One model name."""

    model: str = Field(description="The model that is served.")
    instances: int = Field(description="How many instances there are.")
    healthy: int = Field(description="How many of them may be called now.")


class ModelList(Answer):
    """Models, in the order of their names."""

    items: list[Model] = Field(description="The models.")


class View(Answer):
    """How far the answers can be trusted."""

    synced: bool = Field(description="Whether all instances were listed at least once.")
    age_seconds: float = Field(description="Seconds since the view was last proven current.")
    stale: bool = Field(description="Whether it is older than a quiet, healthy cluster explains.")
    failure: str | None = Field(description="Why the last look at the cluster failed, if it did.")

    @classmethod
    def of(cls, state: ViewState) -> Self:
        """The answer that describes a state."""
        return cls(
            synced=state.synced,
            age_seconds=round(state.age, 3),
            stale=state.stale,
            failure=state.failure,
        )


class Readiness(Answer):
    """Whether requests should come here."""

    ready: bool = Field(description="False before the first full LIST and during stop only.")
    reason: str = Field(description="Why, in a sentence.")
    view: View = Field(description="How far the answers can be trusted.")
    pods: View | None = Field(
        description="How far the evidence of pods can be trusted; null if nobody looks at pods."
    )
    watching: bool = Field(description="Whether changes in the cluster are watched now.")

    @classmethod
    def of(
        cls, state: ViewState, pods: ViewState | None, *, stopping: bool, watching: bool
    ) -> Readiness:
        """The answer that describes a state."""
        if stopping:
            reason = "stopping"
        elif not state.synced:
            reason = f"waiting for the first full LIST: {state.failure or 'it is under way'}"
        elif state.stale:
            reason = f"answering from memory: {state.failure or 'nothing proves the view current'}"
        else:
            reason = "the view is current"
        return cls(
            ready=state.synced and not stopping,
            reason=reason,
            view=View.of(state),
            pods=None if pods is None else View.of(pods),
            watching=watching,
        )


class Problem(Answer):
    """What went wrong (RFC 9457)."""

    type: str = Field(default="about:blank", description="What kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong here, and what to send instead.")
