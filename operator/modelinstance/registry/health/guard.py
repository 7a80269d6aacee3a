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

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.outages import EVERYONE, Group, GuardSettings, Members, Outage
from modelinstance.registry.health.record import Record


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
        self._groups: dict[Group, Members] = {}
        self._falls: dict[Record, _Fall] = {}
        self._by_time: list[tuple[float, int, Record]] = []
        self._sequence = 0
        self._next = math.inf
        self._resumed: set[Group] = set()

    def __len__(self) -> int:
        return len(self._groups) + len(self._falls) + len(self._by_time)

    def configure(self, settings: GuardSettings | None) -> None:
        """Let other numbers hold from now on; with ``None`` what is frozen is let go."""
        if settings == self.settings:
            return
        self.settings = settings
        self._next = -math.inf
        for name in tuple(self._groups):
            self._look_whether_over(name)

    def look(self, record: Record, *, there: bool) -> None:
        """Something about a record has changed; ``there``: it is still one."""
        expected = there and record.expected
        self._count(record, heard=expected and record.life is Life.HEARD)
        if record in self._falls and not (expected and record.life is Life.SILENT):
            self._let_go(record)

    def fell(self, records: Iterable[Record]) -> list[Record]:
        """These are silent now; returns those of before that are frozen only now."""
        settings, now = self.settings, self._now()
        batch, touched = set(records), dict[Group, None]()
        for record in batch:
            self._count(record, heard=False)
            if settings is not None and record.expected:
                self._enter(record, now)
                touched[record.spec.model_name] = None
        if not touched:
            return []
        self._forget(now)
        frozen: list[Record] = []
        for name in (*touched, EVERYONE):
            group = self._group(name)
            told_already = name is EVERYONE and group.began is None and not self._loose
            if group.is_out(settings) and not told_already:
                frozen += self._freeze(name, group, now)
        return [record for record in frozen if record not in batch]

    def resume(self, record: Record) -> None:
        """An earlier process had frozen it: that goes on, for as long as it may from now.

        Whether there is an outage at all is not known before `settle`.
        """
        if self.settings is None:
            return
        now, model = self._now(), record.spec.model_name
        self._enter(record, now)
        group = self._group(model)
        if group.began is None:
            group.began = group.cut = now
        self._resumed.add(model)
        self._next = min(self._next, group.ends(self.settings))
        self._hold(group, record)
        record.frozen = True
        self.frozen += 1

    def recall(self, record: Record) -> None:
        """An earlier process knew of it: if it is taken for heard, it has not come anew."""
        self._count(record, heard=record.expected and record.life is Life.HEARD, anew=False)

    def settle(self) -> None:
        """All that an earlier process knew of was resumed: see which outages go on."""
        if not self._resumed:
            return
        resumed, self._resumed = self._resumed, set()
        everyone = self._groups.get(EVERYONE)
        if everyone is not None and everyone.began is None and everyone.is_out(self.settings):
            everyone.began = everyone.cut = self._now()
            self._next = min(self._next, everyone.ends(self.settings))
            for record in tuple(everyone.silent):
                if record.frozen:
                    self._hold(everyone, record)
        for name in resumed & self._groups.keys():
            self._look_whether_over(name)

    def expire(self) -> list[Record]:
        """Who is frozen no more, as the time is up."""
        now = self._now()
        self._forget(now)
        if now < self._next:
            return []
        due = dict[Record, None]()
        for group in self._groups.values():
            over = now >= group.ends(self.settings)
            if over or group.wanes is not None:
                due |= {r: None for r in group.frozen if over or not self._is_held(r, now)}
        for record in due:
            self._let_go(record)
        self._next = math.inf
        for group in self._groups.values():
            if group.began is not None:
                self._next = min(self._next, group.ends(self.settings))
            if group.wanes is not None:
                graces = (group.wanes + self._timeout_of(record) for record in group.frozen)
                self._next = min([self._next, *(until for until in graces if until > now)])
        return list(due)

    # -- counting --------------------------------------------------------------------------------

    @property
    def _loose(self) -> int:
        """How many fell silent lately and are not frozen."""
        return len(self._falls) - self.frozen

    def _count(self, record: Record, *, heard: bool, anew: bool = True) -> None:
        before, record.heard_in = record.heard_in, record.spec.model_name if heard else None
        if before == record.heard_in:
            return
        comes = anew and before is None and record not in self._falls
        for model, step in ((before, -1), (record.heard_in, 1)):
            if model is not None:
                for name in (model, EVERYONE):
                    self._group(name).heard += step
                    if comes:
                        self._group(name).welcome(self._now())
                    self._look_whether_over(name)
                    self._tidy(name)

    def _enter(self, record: Record, now: float) -> None:
        timeout = self._timeout_of(record)
        fall = _Fall(record.spec.model_name, now + timeout)
        self._falls[record] = fall
        self._sequence += 1
        heapq.heappush(self._by_time, (fall.until, self._sequence, record))
        for name in fall.groups:
            self._group(name).silent[record] = now - timeout

    def _forget(self, now: float) -> None:
        """Who fell silent more than its timeout ago, and was not frozen, is another matter."""
        while self._by_time and self._by_time[0][0] <= now:
            until, _, record = heapq.heappop(self._by_time)
            fall = self._falls.get(record)
            if fall is not None and fall.until == until and not record.frozen:
                self._let_go(record)

    def _group(self, name: Group) -> Members:
        return self._groups.setdefault(name, Members())

    def _tidy(self, name: Group) -> None:
        if not self._groups[name]:
            del self._groups[name]

    # -- freezing --------------------------------------------------------------------------------

    def _freeze(self, name: Group, group: Members, now: float) -> list[Record]:
        """Freeze all of a group that fell silent; returns those that were not frozen before."""
        group.wanes = None
        if group.began is None:
            group.cut = next(iter(group.silent.values()))
        changed = [record for record in group.silent if not record.frozen]
        for record in tuple(group.silent):
            self._hold(group, record)
            record.frozen = True
        self.frozen += len(changed)
        if group.began is None:
            group.began = now
            self.outages += 1
            self._tell(Outage(name, began=True))
        self._next = min(self._next, group.ends(self.settings))
        return changed

    def _hold(self, group: Members, record: Record) -> None:
        group.frozen[record] = group.silent.pop(record)
        group.least = min(group.least, self._timeout_of(record))

    def _is_held(self, record: Record, now: float) -> bool:
        """Whether an outage of any of its groups is still one."""
        timeout = self._timeout_of(record)
        groups = (self._groups[name] for name in self._falls[record].groups)
        return any(group.holds(record, now, timeout) for group in groups)

    def _let_go(self, record: Record) -> None:
        """It is heard, or does not count any more, or its time is up."""
        fall = self._falls.pop(record)
        self.frozen -= record.frozen
        record.frozen = False
        for name in fall.groups:
            group = self._groups[name]
            group.silent.pop(record, None)
            group.frozen.pop(record, None)
            self._look_whether_over(name)
            self._tidy(name)

    def _look_whether_over(self, name: Group) -> None:
        """The outage of a group may be over, or be none any more."""
        group = self._groups[name]
        if group.began is None:
            return
        if not group.frozen:
            group.began = group.wanes = None
            group.least = math.inf
            self._tell(Outage(name, began=False))
        elif group.wanes is None and name not in self._resumed and not group.is_out(self.settings):
            group.wanes = self._now()
            self._next = min(self._next, group.wanes + group.least)

    def _tell(self, outage: Outage) -> None:
        for listener in self.on_outage:
            listener(outage)

    # -- being asked -----------------------------------------------------------------------------

    def outage_of(self, record: Record) -> tuple[float, float] | None:
        """How long ago the outage began that holds a record, and how long it still may.

        ``None`` if it is not frozen.
        """
        fall = self._falls.get(record)
        if fall is None or not record.frozen:
            return None
        now, timeout = self._now(), self._timeout_of(record)
        groups = [self._groups[name] for name in fall.groups]
        holding = [group for group in groups if record in group.frozen]
        began = min(now if group.began is None else group.began for group in holding)
        ends = min(group.ends(self.settings) for group in holding)
        graces = (math.inf if g.wanes is None else g.wanes + timeout for g in holding)
        return now - began, max(min(ends, max(graces)) - now, 0.0)
