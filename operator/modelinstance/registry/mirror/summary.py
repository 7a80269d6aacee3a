"""The InstanceRegistry object: the settings that it holds, and the summary that goes into it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.records.census import Totals


class Mode(StrEnum):
    """Whether the registry sees the cluster as it is now."""

    LIVE = "Live"
    STALE = "Stale"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the object's status says. ``generation`` is the one whose settings are in force."""

    generation: int
    mode: str
    models: int
    instances: int
    healthy: int


@dataclass(frozen=True, slots=True)
class RegistryObject:
    """The object as an event or LIST shows it; ``None`` stands for a setting that is not made.

    ``guard`` with 0 seconds is none at all.
    """

    uid: str
    version: int
    generation: int
    timeout_seconds: int | None
    resync_interval_seconds: int | None
    remove_after_seconds: int | None
    guard: GuardSettings | None
    status_writes_per_second: int | None
    summary: Summary | None


@dataclass(frozen=True, slots=True)
class SummaryWrite:
    """A summary to be written, on the condition that the object is still at that version."""

    version: int
    summary: Summary


class RegistryObjectMirror:
    """Knows the latest state of the one object, or that there is none."""

    def __init__(self) -> None:
        self.current: RegistryObject | None = None

    def seen(self, shown: RegistryObject) -> None:
        """An event, an answer or a LIST shows the object; an older state of it is ignored."""
        known = self.current
        if known is None or shown.version > known.version:
            self.current = shown

    def gone(self, uid: str | None = None) -> None:
        """The object is gone; with a uid, only if it is that one."""
        if self.current is not None and uid in {None, self.current.uid}:
            self.current = None

    def plan_write(self, totals: Totals, mode: Mode) -> SummaryWrite | None:
        """The summary to write now, if it differs from what the object says."""
        if self.current is None:
            return None
        summary = Summary(
            generation=self.current.generation,
            mode=mode.value,
            models=totals.models,
            instances=totals.instances,
            healthy=totals.healthy,
        )
        if summary == self.current.summary:
            return None
        return SummaryWrite(self.current.version, summary)
