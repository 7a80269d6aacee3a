"""What routers tell of their calls: a failing instance is out sooner than its silence would tell.

A report never revives, and one reporter alone cannot take out what others use well. Of a model's
instances reports take out half at most, though always one if calls fail outright; for time-outs
alone never the last: when all seem to hang they are saturated, and needed. Who is silent as well,
and fails at calls, is dead: it goes in any case.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from modelinstance.registry.reasons import Phase, Reason
from modelinstance.registry.record import Record
from modelinstance.registry.records import Records

FAILURES_IN_ROW = 3
"""After how many failures without a success between them a reporter finds an instance bad."""
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
    """What one reporter last said: failures in a row, whether they were more than time-outs."""

    at: float
    failures: int = 0
    refused: bool = False

    @property
    def bad(self) -> bool:
        """Whether it finds the instance bad."""
        return self.failures >= FAILURES_IN_ROW


@dataclass(frozen=True, slots=True)
class Opinions:
    """How many reporters find an instance bad or good now; ``refused``: not for time-outs alone."""

    bad: int
    good: int
    refused: bool


@dataclass(slots=True)
class _Told:
    """What was told of one incarnation."""

    incarnation: str
    opinions: OrderedDict[str, Opinion] = field(default_factory=OrderedDict)


class Reports:
    """Takes in what routers say; ``results`` counts reports by outcome and by what they amount to.

    ``ejections`` is how often an instance was taken out.
    """

    def __init__(self, records: Records) -> None:
        self.results: Counter[tuple[CallOutcome, ReportResult]] = Counter()
        self.ejections = 0
        self._records = records
        self._told: OrderedDict[Record, _Told] = OrderedDict()
        self._out: dict[Record, str] = {}
        self._out_of: Counter[str] = Counter()
        records.on_change(self._look)

    def __len__(self) -> int:
        return len(self._told) + len(self._out) + len(self._out_of)

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
        told = self._told.get(record)
        since = self._records.local.now - WINDOW_SECONDS
        heard = [] if told is None else [o for o in told.opinions.values() if o.at > since]
        bad = [opinion for opinion in heard if opinion.bad]
        return Opinions(
            bad=len(bad),
            good=sum(not opinion.failures for opinion in heard),
            refused=any(opinion.refused for opinion in bad),
        )

    def _note(self, record: Record, reporter: str, outcome: CallOutcome, count: int) -> None:
        now = self._records.attend()
        told = self._told.get(record)
        if told is None or told.incarnation != record.id:
            told = self._told[record] = _Told(record.id)
        self._told.move_to_end(record)
        if len(self._told) > MAX_RECORDS:
            self._told.popitem(last=False)
        opinion = told.opinions.get(reporter)
        if opinion is None or opinion.at <= now - WINDOW_SECONDS or outcome is CallOutcome.SUCCESS:
            opinion = told.opinions[reporter] = Opinion(now)
        told.opinions.move_to_end(reporter)
        if len(told.opinions) > MAX_REPORTERS:
            told.opinions.popitem(last=False)
        opinion.at = now
        if outcome is not CallOutcome.SUCCESS:
            opinion.failures += count
            opinion.refused |= outcome is CallOutcome.FAILURE

    def _judge(self, record: Record) -> None:
        if not record.verdict.ready:
            return
        opinions = self.opinions(record)
        if opinions.bad > opinions.good and self._may_go(record, refused=opinions.refused):
            del self._told[record]
            self.ejections += 1
            self._records.eject(record)

    def _may_go(self, record: Record, *, refused: bool) -> bool:
        """Whether so few of its model are out for their calls that this one may be as well."""
        if record.frozen and refused:
            return True
        model = record.spec.model_name
        phases, out = self._records.phases()[model], self._out_of[model]
        most = (phases[Phase.HEALTHY] + phases[Phase.DEGRADED] + out) // 2
        return out < (max(most, 1) if refused else most)

    def _look(self, record: Record) -> None:
        """What was told of a record that is gone, or of its earlier life, is of no use."""
        told = self._told.get(record)
        here = self._records.get(record.key) is record
        out = here and record.verdict.reason is Reason.CALLS_FAILING
        self._count(record, record.spec.model_name if out else None)
        if told is not None and not (here and told.incarnation in {record.id, record.former_id}):
            del self._told[record]

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
