"""Which instances are to be asked now, and what their answers amount to.

Pure: somebody else asks. What it costs grows with the instances that are due, not with all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Address, InstanceKey, InstanceSpec, ProbeSpec, Rotation
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import Expiring, Timeline

MAX_AT_ONCE = 128
"""How many instances are asked at a time. Each is a connection, and some 0.8 ms of CPU time."""
MAX_DOUBTFUL_AT_ONCE = MAX_AT_ONCE // 2
"""How many of them may be such that did not answer well the last time.

They may take their whole time-out: a node that is down must not delay the news of the others.
"""
JITTER = 0.1
"""By what part of itself a period is shorter or longer, at random: so there are no waves."""
SOON_SECONDS = 1.0
"""Within what time an instance is asked of which nothing is known."""


class ProbeOutcome(StrEnum):
    """What came of asking an instance. `FORBIDDEN`: it was not asked, for its address is closed."""

    SUCCESS = "success"
    FAILURE = "failure"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of asking an instance, and in words what came other than a success."""

    outcome: ProbeOutcome
    message: str = ""


class Probed(Expiring):
    """An instance as far as it is asked: one incarnation, and one way to ask it.

    ``asked`` is the monotonic time at which it was last asked, ``None`` if it was not yet.
    ``successes`` and ``failures`` are those in a row; ``known``: its state was not found out here,
    but by the process before.
    """

    __slots__ = ("address", "asked", "failures", "known", "record", "scheme", "spec", "successes")

    def __init__(self, record: Record, spec: ProbeSpec) -> None:
        super().__init__()
        self.record = record
        self.address: Address = record.spec.address
        self.scheme = record.spec.scheme
        self.spec = spec
        self.successes = self.failures = 0
        self.asked: float | None = None
        self.known = False

    def stands_for(self, spec: InstanceSpec) -> bool:
        """Whether this is what an owner asks for."""
        return (self.spec, self.address, self.scheme) == (spec.probe, spec.address, spec.scheme)

    @property
    def doubtful(self) -> bool:
        """Whether it may well fail to answer."""
        return bool(self.failures) or not self.record.probe_passing


@dataclass(frozen=True, slots=True)
class Ask:
    """One instance to be asked, at a URL, within so many seconds.

    Hand it back with the result; ``began`` is the monotonic time at which it was given out.
    """

    url: str
    timeout: float
    began: float
    probed: Probed
    doubtful: bool

    @property
    def key(self) -> InstanceKey:
        """Of which record it is."""
        return self.probed.record.key


class ProbeSchedule:
    """Says who is to be asked, and tells the records what came of it.

    Each instance is asked once in its period, never twice at a time, and all together at most
    `MAX_AT_ONCE` at a time. To be late does no harm but to be late: only answers count, and an
    answer to what is asked no more does not. Disabled, deregistered and deleted instances are not
    asked, and nothing is known of them when they return. Draining ones are: they serve what they
    still have, and may return at any moment.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._timeline: Timeline[Probed] = Timeline()
        self._timeline.now = records.clock.monotonic()
        self._probed: dict[InstanceKey, Probed] = {}
        self._asking: dict[InstanceKey, Ask] = {}
        self._behind: dict[InstanceKey, Probed] = {}
        self._due: dict[bool, deque[Probed]] = {False: deque(), True: deque()}
        self._doubtful = 0
        self._withdrawn: list[Ask] = []
        self._outdated: dict[InstanceKey, Record] = {}
        self._news: Callable[[], None] | None = None
        records.probed_ago = self._probed_ago
        records.on_change(self._changed)

    def __len__(self) -> int:
        return len(self._probed)

    def on_news(self, listener: Callable[[], None]) -> None:
        """Call the listener when something may be due earlier than was told."""
        self._news = listener

    def take(self, most: int = MAX_AT_ONCE) -> list[Ask]:
        """Who is to be asked now, or as many of them. Each must be settled."""
        self._timeline.now = now = self._records.clock.monotonic()
        self._forget_outdated()
        for probed in self._timeline.pop_due():
            self._due[probed.doubtful].append(probed)
        return list(islice(self._picked(now), most))

    def _picked(self, now: float) -> Iterator[Ask]:
        """The first of each queue, as many as may be asked beside those that are."""
        for doubtful, queue in sorted(self._due.items(), reverse=True):
            while queue:
                if len(self._asking) >= MAX_AT_ONCE:
                    return
                if doubtful and self._doubtful >= MAX_DOUBTFUL_AT_ONCE:
                    break
                probed = queue.popleft()
                key = probed.record.key
                if self._probed.get(key) is not probed:
                    continue
                if key in self._asking:  # in the way that was asked for before
                    self._behind[key] = probed
                    continue
                url = replace(probed.record.spec, base_path=probed.spec.path).url
                ask = Ask(url, probed.spec.timeout, now, probed, doubtful)
                probed.asked = now
                self._asking[key] = ask
                self._doubtful += doubtful
                yield ask

    def until_next(self) -> float | None:
        """Seconds until somebody is due; ``None`` if only news can bring that."""
        free = len(self._asking) < MAX_AT_ONCE
        free_for_doubtful = free and self._doubtful < MAX_DOUBTFUL_AT_ONCE
        if (free and self._due[False]) or (free_for_doubtful and self._due[True]):
            return 0.0
        deadline = self._timeline.next_deadline()
        if deadline is None:
            return None
        return max(deadline - self._records.clock.monotonic(), 0.0)

    def settle(self, ask: Ask, result: ProbeResult | None) -> None:
        """What came of asking; ``None`` if that is not known, which is nobody's failure."""
        del self._asking[ask.key]
        self._doubtful -= ask.doubtful
        now, random = self._records.clock.monotonic(), self._records.random
        behind = self._behind.pop(ask.key, None)
        if behind is not None:
            self._timeline.schedule(behind, now)
        probed = ask.probed
        if self._probed.get(ask.key) is probed:
            if result is None:
                due = now + random.uniform(0.5, 1) * min(probed.spec.period, SOON_SECONDS)
            else:
                due = ask.began + random.uniform(1 - JITTER, 1 + JITTER) * probed.spec.period
            self._timeline.schedule(probed, max(due, now))
            if result is not None:
                self._count(probed, result)
        self._tell_news()

    def withdrawn(self) -> list[Ask]:
        """Whose answers nobody wants any more since the last call. They must be settled as well."""
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn

    def _count(self, probed: Probed, result: ProbeResult) -> None:
        record, spec, passing = probed.record, probed.spec, probed.record.probe_passing
        if result.outcome is ProbeOutcome.SUCCESS:
            probed.successes, probed.failures = probed.successes + 1, 0
            if not passing and probed.successes >= spec.success_threshold:
                self._records.set_probe(record, passing=True, message="")
            return
        probed.successes, probed.failures = 0, probed.failures + 1
        hopeless = passing is None and result.outcome is ProbeOutcome.FORBIDDEN
        if hopeless or probed.failures >= spec.failure_threshold:
            passing = False
        if not passing:
            self._records.set_probe(record, passing=passing, message=result.message)

    def _probed_ago(self, record: Record) -> float | None:
        probed = self._probed.get(record.key)
        if probed is None or probed.record is not record or probed.asked is None:
            return None
        return self._records.clock.monotonic() - probed.asked

    # -- who is asked ----------------------------------------------------------------------------

    def _changed(self, record: Record) -> None:
        probed = self._probed.get(record.key)
        spec = record.spec.probe
        if probed is None and spec is None:
            return
        there = self._records.get(record.key) is record
        if not there or spec is None or not _is_wanted(record):
            if probed is not None:
                self._drop(probed)
            if there and record.probe_passing is not None:
                self._outdated[record.key] = record
                self._tell_news()
        elif probed is None or probed.record is not record:
            self._begin(record, spec)
        elif not probed.stands_for(record.spec):
            self._drop(probed)
            self._enter(Probed(record, spec))
        elif record.probe_passing is not None and probed.asked is None and not probed.known:
            self._resume(probed)

    def _begin(self, record: Record, spec: ProbeSpec) -> None:
        """One that was not asked until now: what may be said of it is of another time."""
        probed = Probed(record, spec)
        if record.probe_passing is not None:
            probed.known = True
            self._outdated[record.key] = record
        self._enter(probed)

    def _enter(self, probed: Probed) -> None:
        self._probed[probed.record.key] = probed
        self._schedule(probed, min(probed.spec.period, SOON_SECONDS))

    def _resume(self, probed: Probed) -> None:
        """The process before knew it: all that it knew need not be asked at once."""
        probed.known = True
        probed.cancel_deadline()
        self._schedule(probed, probed.spec.period)

    def _schedule(self, probed: Probed, within: float) -> None:
        now, random = self._records.clock.monotonic(), self._records.random
        self._timeline.schedule(probed, now + random.uniform(0, within))
        self._tell_news()

    def _drop(self, probed: Probed) -> None:
        probed.cancel_deadline()
        del self._probed[probed.record.key]
        self._behind.pop(probed.record.key, None)
        ask = self._asking.get(probed.record.key)
        if ask is not None and ask.probed is probed:
            self._withdrawn.append(ask)
            self._tell_news()

    def _forget_outdated(self) -> None:
        """Not done where it is noticed: that is amid a change of the records."""
        outdated, self._outdated = self._outdated, {}
        for key, record in outdated.items():
            if self._records.get(key) is record:
                self._records.set_probe(record, passing=None, message="")

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news()


def _is_wanted(record: Record) -> bool:
    """Whether it counts what an instance answers."""
    gone = record.deleting or record.deregistered
    return not gone and record.spec.rotation is not Rotation.DISABLED
