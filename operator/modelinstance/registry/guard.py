"""Tells an outage between us and the workers from the silence of single workers.

When many fall silent at once, the likelier cause is between us and them: a network, a proxy, an
agent's rollout. Then their expiry is frozen: they stay selectable, marked ``Degraded``, until they
are heard again or the time is up. Eureka calls the like self-preservation, Envoy panic mode; both
hold back by a share of all. Here it is about silence alone, and about who fell silent together.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modelinstance.registry.health import Life
from modelinstance.registry.reasons import RegistryReason
from modelinstance.registry.record import Record

EVERYONE = None
"""The group of all instances, beside that of each model."""

Group = str | None
"""The name of a model, or `EVERYONE`."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """When silence counts as one of many: a share from 0 to 1, a number, and for how long at most.

    ``seconds`` is the longest that one outage may freeze anybody.
    """

    share: float = 0.5
    least: int = 3
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A group's silence has begun or ended to count as one."""

    group: Group
    began: bool

    @property
    def reason(self) -> RegistryReason:
        """What it is called."""
        if self.began:
            return RegistryReason.CORRELATED_SILENCE
        return RegistryReason.CORRELATED_SILENCE_ENDED

    def __str__(self) -> str:
        whose = "all models" if self.group is EVERYONE else f"model {self.group}"
        if self.began:
            return (
                f"Instances of {whose} fell silent at once: they are selected on as Degraded, as "
                f"the cause is likely between them and the registry"
            )
        return f"The instances of {whose} that fell silent at once are heard again, or are out"


class _Members:
    """One group: ``heard`` is how many are; ``silent`` and ``frozen`` are who fell silent lately.

    ``frozen`` has the time at which each is let go if it is not heard, which is set once the outage
    wanes. ``ends`` is when the outage ends at the latest; ``None`` while there is none.
    """

    __slots__ = ("ends", "frozen", "heard", "silent", "waning")

    def __init__(self) -> None:
        self.heard = 0
        self.silent: dict[Record, None] = {}
        self.frozen: dict[Record, float] = {}
        self.ends: float | None = None
        self.waning = False

    def __bool__(self) -> bool:
        return bool(self.heard or self.silent or self.frozen)

    def is_out(self, settings: GuardSettings) -> bool:
        """Whether so many fell silent that it counts as one outage."""
        fallen = len(self.silent) + len(self.frozen)
        return fallen >= settings.least and fallen >= settings.share * (fallen + self.heard)


@dataclass(frozen=True, slots=True)
class _Fall:
    """One fell silent as an instance of a model; it counts as lately until that time."""

    model: str
    until: float

    @property
    def groups(self) -> tuple[Group, Group]:
        return (self.model, EVERYONE)


class SilenceGuard:
    """Keeps count of who is heard and who fell silent, by model and of all.

    Times are attended seconds. Without ``settings`` nobody is ever frozen. ``frozen`` is how many
    are now, ``outages`` how often one began. What it costs to look at a record does not grow with
    the others.
    """

    def __init__(
        self,
        timeout_of: Callable[[Record], float],
        now: Callable[[], float],
        settings: GuardSettings | None = None,
    ) -> None:
        self.settings = settings
        self.frozen = 0
        self.outages = 0
        self.on_outage: list[Callable[[Outage], None]] = []
        self._timeout_of = timeout_of
        self._now = now
        self._groups: dict[Group, _Members] = {}
        self._falls: dict[Record, _Fall] = {}
        self._by_time: list[tuple[float, int, Record]] = []
        self._sequence = 0
        self._next = math.inf

    def __len__(self) -> int:
        return len(self._groups) + len(self._falls) + len(self._by_time)

    def configure(self, settings: GuardSettings | None) -> None:
        """Let other numbers hold from now on; with ``None`` what is frozen is let go."""
        self.settings = settings
        if settings is None:
            self._next = -math.inf
            for group in self._groups.values():
                if group.ends is not None:
                    group.ends = -math.inf

    def look(self, record: Record, *, there: bool) -> None:
        """Something about a record has changed; ``there``: it is still one."""
        expected = there and _is_expected(record)
        self._count(record, heard=expected and record.life is Life.HEARD)
        if record in self._falls and not (expected and record.life is Life.SILENT):
            self._let_go(record)

    def fell(self, records: Iterable[Record]) -> list[Record]:
        """These are silent now; returns those of before that are frozen only now."""
        settings, now = self.settings, self._now()
        batch, touched = set(records), dict[Group, None]()
        for record in batch:
            self._count(record, heard=False)
            if settings is not None and _is_expected(record):
                self._enter(record, now)
                touched[record.spec.model_name] = None
        if settings is None or not touched:
            return []
        self._forget(now)
        frozen: list[Record] = []
        for name in (*touched, EVERYONE):
            group = self._group(name)
            told_already = name is EVERYONE and group.ends is None and not self._loose
            if group.is_out(settings) and not told_already:
                frozen += self._freeze(name, settings, now)
        return [record for record in frozen if record not in batch]

    def resume(self, record: Record) -> None:
        """An earlier process had frozen it: that goes on, for as long as it may from now."""
        settings, now = self.settings, self._now()
        if settings is not None:
            self._enter(record, now)
            for name in self._falls[record].groups:
                self._freeze(name, settings, now)

    def expire(self) -> list[Record]:
        """Who is frozen no more, as the time is up."""
        now = self._now()
        self._forget(now)
        if now < self._next:
            return []
        due: dict[Record, None] = {}
        for group in self._groups.values():
            over = group.ends is not None and now >= group.ends
            due |= {r: None for r, until in group.frozen.items() if over or now >= until}
        for record in due:
            self._let_go(record)
        self._next = math.inf
        for group in self._groups.values():
            if group.ends is not None:
                self._next = min(self._next, group.ends, *group.frozen.values())
        return list(due)

    # -- counting --------------------------------------------------------------------------------

    @property
    def _loose(self) -> int:
        """How many fell silent lately and are not frozen."""
        return len(self._falls) - self.frozen

    def _count(self, record: Record, *, heard: bool) -> None:
        before, record.heard_in = record.heard_in, record.spec.model_name if heard else None
        if before == record.heard_in:
            return
        for model, step in ((before, -1), (record.heard_in, 1)):
            if model is not None:
                for name in (model, EVERYONE):
                    self._group(name).heard += step
                    self._tidy(name)

    def _enter(self, record: Record, now: float) -> None:
        fall = _Fall(record.spec.model_name, now + self._timeout_of(record))
        self._falls[record] = fall
        self._sequence += 1
        heapq.heappush(self._by_time, (fall.until, self._sequence, record))
        for name in fall.groups:
            self._group(name).silent[record] = None

    def _forget(self, now: float) -> None:
        """Who fell silent more than its timeout ago, and was not frozen, is another matter."""
        while self._by_time and self._by_time[0][0] <= now:
            until, _, record = heapq.heappop(self._by_time)
            fall = self._falls.get(record)
            if fall is not None and fall.until == until and not record.frozen:
                self._let_go(record)

    def _group(self, name: Group) -> _Members:
        return self._groups.setdefault(name, _Members())

    def _tidy(self, name: Group) -> None:
        if not self._groups[name]:
            del self._groups[name]

    # -- freezing --------------------------------------------------------------------------------

    def _freeze(self, name: Group, settings: GuardSettings, now: float) -> list[Record]:
        """Freeze all of a group that fell silent; returns those that were not frozen before."""
        group = self._group(name)
        began = group.ends is None
        if group.ends is None:
            group.ends = now + settings.seconds
        if group.waning:
            group.waning, group.frozen = False, dict.fromkeys(group.frozen, math.inf)
        changed = [record for record in group.silent if not record.frozen]
        group.frozen |= dict.fromkeys(group.silent, math.inf)
        group.silent.clear()
        for record in changed:
            record.frozen = True
        self.frozen += len(changed)
        self._next = min(self._next, group.ends)
        if began:
            self.outages += 1
            self._tell(Outage(name, began=True))
        return changed

    def _let_go(self, record: Record) -> None:
        """It is heard, or does not count any more, or its time is up."""
        fall = self._falls.pop(record)
        self.frozen -= record.frozen
        record.frozen = False
        for name in fall.groups:
            group = self._groups[name]
            group.silent.pop(record, None)
            group.frozen.pop(record, None)
            if group.ends is not None:
                self._wane(name, group)
            self._tidy(name)

    def _wane(self, name: Group, group: _Members) -> None:
        """One of an outage is out of it: it may be over, or be none any more."""
        if not group.frozen:
            group.ends, group.waning = None, False
            self._tell(Outage(name, began=False))
        elif not group.waning and (self.settings is None or not group.is_out(self.settings)):
            group.waning, now = True, self._now()
            group.frozen = {r: now + self._timeout_of(r) for r in group.frozen}
            self._next = min(self._next, *group.frozen.values())

    def _tell(self, outage: Outage) -> None:
        for listener in self.on_outage:
            listener(outage)


def _is_expected(record: Record) -> bool:
    """Whether it ought to be heard at all."""
    return record.spec.heartbeat_required and record.claims_address
