"""What routers tell of their calls: a failing instance is out sooner than its silence would tell.

A report never revives, and one reporter alone cannot take out what others use well. For time-outs
reports take out half of a model's instances at most, and never the last: when all seem to hang they
are saturated, and needed. If calls fail outright one goes in any case, and all do but one that
somebody uses well: they are dead. So is who is silent as well, and fails at calls: it goes too.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.records.records import Records

FAILURES_IN_ROW = 3
"""After how many failures without a success between them a reporter finds an instance bad.

As many that are no time-outs make it one at which calls fail outright.
"""
WINDOW_SECONDS = 30.0
"""For how long what a reporter says counts."""
MAX_REPORTERS = 32
"""Of how many reporters an instance's reports are kept, the latest."""
MAX_RECORDS = 10_000
"""Of how many instances reports are kept, the latest."""


class CallOutcome(StrEnum):
    """How calls to an instance ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"


class ReportResult(StrEnum):
    """What a report amounts to."""

    ACCEPTED = "accepted"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Opinion:
    """What one reporter last said: failures in a row, and how many of them were no time-outs.

    ``succeeded`` is when a call of it last did.
    """

    at: float
    failures: int = 0
    outright: int = 0
    succeeded: float = -math.inf

    @property
    def bad(self) -> bool:
        """Whether it finds the instance bad."""
        return self.failures >= FAILURES_IN_ROW

    @property
    def refused(self) -> bool:
        """Whether it finds the instance bad, and not for time-outs alone."""
        return self.outright >= FAILURES_IN_ROW


@dataclass(frozen=True, slots=True)
class Opinions:
    """How many reporters find an instance bad or good now; ``refused``: calls fail outright.

    ``failed_ago`` and ``succeeded_ago`` are how many seconds ago anybody last told of such a call.
    """

    bad: int
    good: int
    refused: bool
    failed_ago: float | None = None
    succeeded_ago: float | None = None


@dataclass(slots=True)
class _Told:
    """What was told of one incarnation, which is one of that model."""

    incarnation: str
    model: str
    opinions: OrderedDict[str, Opinion] = field(default_factory=OrderedDict)
    failed_at: float | None = None
    succeeded_at: float | None = None


class Reports:
    """Takes in what routers say; ``results`` counts reports by outcome and by what they amount to.

    ``ejections`` is how often an instance was taken out.
    """

    def __init__(self, records: Records) -> None:
        self.results: Counter[tuple[CallOutcome, ReportResult]] = Counter()
        self.ejections = 0
        self._records = records
        self._told: OrderedDict[Record, _Told] = OrderedDict()
        self._used: dict[str, Record] = {}
        self._out: dict[Record, str] = {}
        self._out_of: Counter[str] = Counter()
        records.on_change(self._look)

    def __len__(self) -> int:
        return len(self._told) + len(self._used) + len(self._out) + len(self._out_of)

    def take(
        self, record: Record | None, reporter: str, outcome: CallOutcome, count: int = 1
    ) -> ReportResult:
        """A reporter tells how its last ``count`` calls to an incarnation ended, all alike.

        Without a record it told of one that it does not know, or that is none any more.
        """
        result = ReportResult.UNKNOWN if record is None else ReportResult.ACCEPTED
        self.results[outcome, result] += 1
        if record is not None:
            self._note(record, reporter, outcome, count)
            if outcome is not CallOutcome.SUCCESS:
                self._judge(record)
        return result

    def opinions(self, record: Record) -> Opinions:
        """What reporters say of a record now."""
        told, now = self._told.get(record), self._records.local.now
        since = now - WINDOW_SECONDS
        heard = [] if told is None else [o for o in told.opinions.values() if o.at > since]
        bad = [opinion for opinion in heard if opinion.bad]
        return Opinions(
            bad=len(bad),
            good=sum(opinion.succeeded > since and not opinion.bad for opinion in heard),
            refused=any(opinion.refused for opinion in bad),
            failed_ago=None if told is None else _age(told.failed_at, now),
            succeeded_ago=None if told is None else _age(told.succeeded_at, now),
        )

    def _note(self, record: Record, reporter: str, outcome: CallOutcome, count: int) -> None:
        now = self._records.attend()
        told = self._told.get(record)
        if told is None or told.incarnation != record.id:
            self._forget(record)
            told = self._told[record] = _Told(record.id, record.spec.model_name)
        self._told.move_to_end(record)
        if len(self._told) > MAX_RECORDS:
            self._forget(next(iter(self._told)))
        opinion = told.opinions.get(reporter)
        if opinion is None or opinion.at <= now - WINDOW_SECONDS or outcome is CallOutcome.SUCCESS:
            opinion = told.opinions[reporter] = Opinion(now)
        told.opinions.move_to_end(reporter)
        if len(told.opinions) > MAX_REPORTERS:
            told.opinions.popitem(last=False)
        opinion.at = now
        if outcome is CallOutcome.SUCCESS:
            opinion.succeeded = told.succeeded_at = now
            self._used[told.model] = record
        else:
            told.failed_at = now
            opinion.failures += count
            opinion.outright += count if outcome is CallOutcome.FAILURE else 0

    def _judge(self, record: Record) -> None:
        if not record.verdict.ready:
            return
        opinions = self.opinions(record)
        if opinions.bad > opinions.good and self._may_go(record, refused=opinions.refused):
            self._forget(record)
            self.ejections += 1
            self._records.eject(record)

    def _may_go(self, record: Record, *, refused: bool) -> bool:
        """Whether so many of its model are left that this one may be out as well."""
        model = record.spec.model_name
        if refused and (record.frozen or self._is_used(model, record)):
            return True
        phases, out = self._records.phases()[model], self._out_of[model]
        most = (phases[Phase.HEALTHY] + phases[Phase.DEGRADED] + out) // 2
        return out < (max(most, 1) if refused else most)

    def _is_used(self, model: str, but: Record) -> bool:
        """Whether somebody uses another instance of a model well.

        The last one that a success was told of is looked at, whatever their number: where others
        are used well, the next report of it says so.
        """
        used = self._used.get(model)
        return (
            used is not None
            and used is not but
            and used.verdict.ready
            and self.opinions(used).good > 0
        )

    def _forget(self, record: Record) -> None:
        """Forget what was told of a record."""
        told = self._told.pop(record, None)
        if told is not None and self._used.get(told.model) is record:
            del self._used[told.model]

    def _look(self, record: Record) -> None:
        """What was told of a record that is gone, or of its earlier life, is of no use."""
        told = self._told.get(record)
        here = self._records.get(record.key) is record
        out = here and record.verdict.reason is Reason.CALLS_FAILING
        self._count(record, record.spec.model_name if out else None)
        if told is not None and not (here and told.incarnation in {record.id, record.former_id}):
            self._forget(record)

    def _count(self, record: Record, model: str | None) -> None:
        """Note of which model a record is out for its calls, if it is."""
        before = self._out.pop(record, None)
        if before is not None:
            self._out_of[before] -= 1
            if not self._out_of[before]:
                del self._out_of[before]
        if model is not None:
            self._out[record] = model
            self._out_of[model] += 1


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else now - at
