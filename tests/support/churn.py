"""Lets many instances come and go in a registry with all its listeners, and tells what is left.

A program, so that a mechanism can be left out of it and its memory is nobody else's. Prints how
many came, what memory there was after the first of them, before the last tenth and in the end, in
MiB and in blocks of Python's allocator, and each collection that has kept entries.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.instance import InstanceSpec, ProbeSpec
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.intake.probing import ProbeOutcome, ProbeResult, ProbeSchedule
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.intake.reports import CallOutcome, Reports
from modelinstance.registry.intake.workers import REMEMBERED_ENDS, Leftovers, Workers
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.pacing import WriteResult
from modelinstance.registry.mirror.writes import StatusWrites
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.changes import Changes
from modelinstance.registry.telling.events import (
    MAX_REMEMBERED,
    MAX_WAITING,
    EventBook,
    EventOutcome,
)
from support.left_out import LEFT_OUT
from support.memory import memory_mb
from unit.builders import key, status_of, watch, written
from unit.clock import FakeClock
from unit.pods import facts

WAVE = 1000
KEPT = 200
"""A collection with more entries than this has kept some."""
BOUNDED = {
    "workers._ended": REMEMBERED_ENDS,
    "events._said": MAX_REMEMBERED,
    "events._of_object": MAX_REMEMBERED,
    "events._waiting": MAX_WAITING,
    "events._waiting_of": MAX_WAITING,
}
"""What is kept on purpose, and how much of it."""
WARM = 5 * WAVE
"""How many have to come and go for that much to be kept."""
COLLECTIONS = (dict, list, set, frozenset, tuple, deque)


def collections(roots: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Each collection that can be reached from objects of the registry, and its length."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [*roots.items()]
    while waiting:
        path, found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, COLLECTIONS):
            yield path, len(found)
            values = found.values() if isinstance(found, dict) else found
            waiting += [(f"{path}[]", value) for value in values]
        elif type(found).__module__.startswith("modelinstance."):
            slots = [
                slot for kind in type(found).__mro__ for slot in vars(kind).get("__slots__", ())
            ]
            names = [*vars(found)] if hasattr(found, "__dict__") else slots
            waiting += [(f"{path}.{each}", getattr(found, each, None)) for each in names]


class Registry:
    """The registry as the operator puts it together, on a clock that is set."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.records = records = Records(10.0, clock=self.clock, random=Random(7))
        records.guard.settings = GuardSettings()
        records.probations.settings = Hysteresis()
        self.workers = Workers(records)
        self.mirror = Mirror(records)
        self.writes = StatusWrites(self.mirror, 1e6)
        self.leftovers = Leftovers(records)
        self.changes = Changes(records, self.mirror)
        self.events = EventBook(records, registry=lambda: None, counts=Counter())
        self.changes.on_change(self.events.note_change)
        self.reports = Reports(records)
        self.schedule = ProbeSchedule(records)
        self.book = PodBook(records, ("",))
        self.book.end_list("", ())
        self.version = 1
        self.mirror.end_list(self.mirror.begin_list(""), {}, 1)
        self.mirror.watch_started(1)
        self.shown: dict[str, Observed] = {}

    def show(self, observed: Observed) -> None:
        """The watch shows an object."""
        self.version += 1
        observed = replace(observed, version=self.version)
        self.shown[observed.key.name] = observed
        self.mirror.changed(observed, run=1)

    def write(self) -> None:
        """Write the statuses that are due."""
        while (plan := self.writes.plan(WAVE)).writes:
            for status in plan.writes:
                self.version += 1
                shown = self.shown[status.key.name]
                answer = replace(shown, version=self.version, reported=status_of(status))
                self.shown[status.key.name] = answer
                self.writes.ended(status.key, WriteResult.WRITTEN, answer)

    def tell(self) -> None:
        """Write Events of what has changed, as many as the limits allow."""
        while self.changes.look():
            pass
        for event in self.events.plan(WAVE):
            self.events.settled(event, EventOutcome.WRITTEN)

    def ask(self) -> None:
        """Ask those that want to be asked; half of them answer."""
        while asks := self.schedule.take():
            for number, ask in enumerate(asks):
                good = ProbeOutcome.SUCCESS if number % 2 else ProbeOutcome.FAILURE
                self.schedule.settle(ask, ProbeResult(good, "refused"))

    def come(self, number: int) -> None:
        """One instance comes, of one of several kinds."""
        name, host = f"i-{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        spec = InstanceSpec(f"only-{number}" if number % 3 else f"m-{number % 7}", host, 8000)
        kind = number % 8
        if kind == 0:
            registration = Registration(
                "prod", replace(spec, aliases=frozenset({f"alias-{number}"}))
            )
            self.workers.arrive(self.workers.enter(registration, ""))
            self.show(written(registration))
            return
        if kind == 1:
            probe = ProbeSpec("/health", 1.0, 1.0, 1, 2)
            spec = replace(spec, heartbeat_required=False, probe=probe)
        elif kind == 2:
            self.book.take(facts(name, ip=host, version=number + 1, model=spec.model_name))
        elif kind == 3:
            spec = InstanceSpec("shared", "shared.example", 8000)
        owner = f"uid-{name}" if kind == 2 else None
        beat = None if kind == 4 else "first"
        self.show(
            Observed(
                key(name), f"uid-of-{name}", 1, 1, float(number), spec, heartbeat=beat, owner=owner
            )
        )

    def live(self, names: list[str]) -> None:
        """What happens to those that are there."""
        for number, name in enumerate(names):
            record = self.records.get(self.shown[name].key)
            assert record is not None
            kind = number % 8
            if kind == 5:
                self.workers.deregister(record)
            elif kind == 6:
                self.workers.drain(record, drained=True)
            elif kind == 7:
                for reporter in ("one", "two"):
                    self.reports.take(record, reporter, CallOutcome.FAILURE, 3)
            if number % 2:
                self.show(replace(self.shown[name], heartbeat="second"))

    def go(self, names: list[str]) -> None:
        """They go: the watch tells of one half, a LIST of the other."""
        for name in names[::2]:
            self.version += 1
            shown = self.shown.pop(name)
            self.mirror.deleted(shown.key, shown.uid, self.version, run=1)
        for name in names:
            self.shown.pop(name, None)
            self.book.drop(key(name), f"uid-{name}")
        self.version += 1
        self.mirror.end_list(self.mirror.begin_list(""), {}, self.version)
        self.write()

    def wave(self, first: int) -> None:
        """A thousand come, live for a while, and go."""
        for number in range(first, first + WAVE):
            self.come(number)
        names = list(self.shown)
        self.write()
        self.tell()
        self.ask()
        self.live(names)
        self.write()
        watch(self.mirror, self.clock, 12)
        self.ask()
        self.write()
        self.tell()
        self.go(names)
        self.tell()

    def rest(self) -> None:
        """An hour passes, in which one comes, falls silent and goes."""
        watch(self.mirror, self.clock, 1800)
        self.come(10**6 + 2)
        names = list(self.shown)
        self.write()
        watch(self.mirror, self.clock, 30)
        self.go(names)
        watch(self.mirror, self.clock, 1800)
        self.ask()
        self.write()

    def kept(self) -> dict[str, int]:
        """Each collection that has kept entries, and how many it has."""
        found: Counter[str] = Counter()
        for path, length in collections(vars(self)):
            if length > BOUNDED.get(path, KEPT):
                found[path] = max(found[path], length)
        return dict(found)


def main() -> None:
    """Let as many come and go as the command line says."""
    if mechanism := os.environ.get("FAULTS_LEFT_OUT"):
        LEFT_OUT[mechanism]()
    number = int(sys.argv[1])
    registry = Registry()
    told: dict[str, Any] = {"came": number}
    for first in range(0, number, WAVE):
        registry.wave(first)
        if first + WAVE in {WARM, number - number // 10, number}:
            registry.rest()
            told.setdefault("megabytes", []).append(memory_mb())
            told.setdefault("blocks", []).append(sys.getallocatedblocks())
    print(json.dumps({**told, "kept": registry.kept()}))


if __name__ == "__main__":
    main()
