"""What there is to tell people of instances: each change of phase or reason, once.

What was last shown begins with what the status said when the resource was first seen. So a restart
tells nothing, and a change that happened while nobody looked is told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, InstanceKey
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records

LOOKS = 100
"""How many records are looked at in one go: the thread has others to serve."""

_NORMAL = frozenset(
    {Phase.STARTING, Phase.HEALTHY, Phase.DRAINING, Phase.DISABLED, Phase.TERMINATING}
)
"""The phases that are well, or were asked for."""

_Shown = tuple[str, str]
"""A phase and a reason."""


@dataclass(frozen=True, slots=True)
class Change:
    """An instance is in another phase than before, or for another reason.

    ``warning``: it is neither well nor was this asked for.
    """

    key: InstanceKey
    uid: str
    model: str
    phase: Phase
    reason: Reason
    message: str
    warning: bool


class Changes:
    """Watches the records, and tells of what changed since the last look.

    With a mirror only what has a resource counts, and nothing is told before all were listed.
    """

    def __init__(self, records: Records, mirror: Mirror | None = None) -> None:
        self._records = records
        self._mirror = mirror
        self._shown: dict[InstanceKey, _Shown | None] = {}
        self._marked: OrderedDict[InstanceKey, None] = OrderedDict()
        self._listeners: list[Callable[[Change], None]] = []
        self._pairs: dict[_Shown, _Shown] = {}
        records.on_change(self._mark)

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call the listener with each change."""
        self._listeners.append(listener)

    def look(self, limit: int = LOOKS) -> bool:
        """Tell what has changed of so many records; returns whether there are more to look at."""
        if self._mirror is not None and not self._mirror.synced:
            return False
        for _ in range(min(limit, len(self._marked))):
            key, _ = self._marked.popitem(last=False)
            record = self._records.get(key)
            if record is not None:
                self._compare(record)
        return bool(self._marked)

    def _mark(self, record: Record) -> None:
        key = record.key
        if self._records.get(key) is not record:
            self._shown.pop(key, None)
            self._marked.pop(key, None)
        elif self._mirror is None or record.uid != NO_UID:
            if key not in self._shown:
                self._shown[key] = self._said_of(record)
            self._marked[key] = None

    def _said_of(self, record: Record) -> _Shown | None:
        """What the status says of a resource that was not known; ``None`` for a new one."""
        reported = None if self._mirror is None else self._mirror.reported_of(record.key)
        if reported is None or reported.incarnation is None:
            return None
        if reported.incarnation.uid != record.uid:
            return None
        return self._pair(reported.phase, reported.reason)

    def _pair(self, phase: str, reason: str) -> _Shown:
        """The one object that stands for a phase and a reason, of which there are few."""
        return self._pairs.setdefault((phase, reason), (phase, reason))

    def _compare(self, record: Record) -> None:
        verdict = record.verdict
        before, now = self._shown[record.key], self._pair(verdict.phase, verdict.reason)
        if before == now:
            return
        self._shown[record.key] = now
        if before is None and verdict.phase is Phase.STARTING:
            return
        asked_for = verdict.phase in _NORMAL or verdict.reason is Reason.DEREGISTERED
        change = Change(
            record.key,
            record.uid,
            record.spec.model_name,
            verdict.phase,
            verdict.reason,
            self._records.explain_lastingly(record),
            warning=not asked_for,
        )
        for listener in self._listeners:
            listener(change)
