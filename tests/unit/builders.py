"""Values of the domain with defaults that suit most tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypedDict, Unpack

from modelinstance.registry.health.observed import ConditionSeen, Observed, Reported
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.instance import (
    Address,
    Incarnation,
    InstanceKey,
    InstanceSpec,
    Rotation,
)
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.mirror.mirror import Mirror, Repairs
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import MAX_STEP_SECONDS
from unit.clock import START, FakeClock

TIMEOUT = 10.0
"""The default timeout of the records in these tests."""


def key(name: str = "vicuna-0", namespace: str = "prod") -> InstanceKey:
    return InstanceKey(namespace, name)


class SpecFields(TypedDict, total=False):
    model_name: str
    host: str
    port: int
    scheme: str
    base_path: str
    aliases: frozenset[str]
    weight: float
    rotation: Rotation
    heartbeat_required: bool
    heartbeat_timeout: float | None


def spec(**fields: Unpack[SpecFields]) -> InstanceSpec:
    return replace(InstanceSpec("vicuna", "10.0.0.5", 8000), **fields)


class ObservedFields(TypedDict, total=False):
    uid: str
    generation: int
    created: float
    spec: InstanceSpec
    labels: Mapping[str, str]
    heartbeat: str | None
    heartbeat_applied: str | None
    registration: str | None
    owner: str | None
    deleting: bool
    reported: Reported | None


def observed(
    name: str = "vicuna-0",
    version: int = 1,
    *,
    namespace: str = "prod",
    **fields: Unpack[ObservedFields],
) -> Observed:
    """An object as the API server shows it; its uid follows from its name."""
    shown = Observed(key(name, namespace), f"uid-of-{name}", version, 1, 0.0, spec())
    return replace(shown, **fields)


def written(
    registration: Registration, version: int = 1, /, **fields: Unpack[ObservedFields]
) -> Observed:
    """The resource of a registration as the API server shows it."""
    key = registration.key
    shown = Observed(
        key, f"uid-of-{key.name}", version, 1, 0.0, registration.spec, registration.all_labels,
        registration=registration.digest,
    )  # fmt: skip
    return replace(shown, **fields)


def reported(
    phase: Phase,
    reason: Reason,
    *,
    uid: str = "uid-of-vicuna-0",
    address: Address | None = None,
    generation: int = 1,
    last_beat: datetime | None = None,
    conditions: Mapping[str, ConditionSeen] | None = None,
    deregistered: bool = False,
    drained: bool = False,
) -> Reported:
    """A status that was written for the object of `observed` unless told otherwise."""
    said = dict(conditions or {})
    if deregistered:
        said["Deregistered"] = ConditionSeen(True, START, "Deregistered")
    if drained:
        said["Draining"] = ConditionSeen(True, START, "DrainRequested")
    return Reported(
        phase=phase.value,
        reason=reason.value,
        generation=generation,
        incarnation=Incarnation(uid, address or spec().address),
        last_beat=last_beat,
        conditions=said,
    )


def status_of(write: StatusWrite) -> Reported:
    """What the status says once a write was accepted."""
    return Reported(
        phase=write.phase.value,
        reason=write.conditions[0].reason.value,
        generation=write.generation,
        incarnation=write.incarnation,
        last_beat=write.last_beat,
        conditions={
            condition.type.value: ConditionSeen(
                condition.status, condition.since, condition.reason.value
            )
            for condition in write.conditions
        },
    )


def put(
    records: Records,
    name: str = "vicuna-0",
    *,
    namespace: str = "prod",
    uid: str | None = None,
    created: float = 0.0,
    labels: dict[str, str] | None = None,
    deleting: bool = False,
    **fields: Unpack[SpecFields],
) -> Record:
    """Put a record as a resource's event would."""
    return records.put(
        key(name, namespace), f"uid-of-{name}" if uid is None else uid, spec(**fields),
        created=created, labels=labels, deleting=deleting,
    )  # fmt: skip


def protect(records: Records) -> None:
    """Let the guard and probation hold, with short times."""
    records.guard.settings = GuardSettings(share=0.5, least=2, seconds=5.0)
    records.probations.settings = Hysteresis(falls=2, window=12.0, first=2.0, most=4.0)


def live(records: Records, clock: FakeClock, seconds: float) -> None:
    """Let time pass as a process that looks at its clock every second sees it."""
    while seconds > 0:
        step = min(seconds, MAX_STEP_SECONDS)
        clock.advance(step)
        records.expire()
        seconds -= step


def by_key(*objects: Observed) -> dict[InstanceKey, Observed]:
    """The objects as a LIST holds them."""
    return {shown.key: shown for shown in objects}


def sync(mirror: Mirror, *objects: Observed, version: int, scope: str = "") -> Repairs:
    """Take in a LIST that holds these objects and took no time."""
    return mirror.end_list(mirror.begin_list(scope), by_key(*objects), version)


def watch(mirror: Mirror, clock: FakeClock, seconds: float) -> None:
    """Let time pass while events of others prove the view current every second."""
    while seconds > 0:
        step = min(seconds, MAX_STEP_SECONDS)
        clock.advance(step)
        for view in mirror.views.values():
            view.prove(mirror.records.attend(), clock.monotonic())
        mirror.attend()
        seconds -= step


def lose_sight(mirror: Mirror, clock: FakeClock, seconds: float) -> None:
    """Let time pass while nothing proves the view current."""
    while seconds > 0:
        step = min(seconds, MAX_STEP_SECONDS)
        clock.advance(step)
        mirror.attend()
        seconds -= step


def phase_of(mirror: Mirror, name: str = "vicuna-0", namespace: str = "prod") -> Phase | None:
    """The phase that was decided for an object; ``None`` if it is not known."""
    record = mirror.records.get(key(name, namespace))
    return None if record is None else record.verdict.phase


def accept(mirror: Mirror, write: StatusWrite, shown: Observed, version: int) -> Observed:
    """Answer a write as the API server does that accepts it; returns what it shows then."""
    answer = replace(shown, version=version, reported=status_of(write))
    mirror.write_answered(write.key, answer)
    return answer


def named(value: object) -> str:
    """The name of a parameter of a test, which is the same in every process."""
    return str(sorted(value) if isinstance(value, set) else value)
