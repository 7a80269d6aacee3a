"""What routers are told and tell, and the silence of many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from modelinstance.http.waiting import WaitingRoom
from modelinstance.registry.health.guard import SilenceGuard
from modelinstance.registry.health.outages import Members
from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.reports import CallOutcome, Opinions, ReportResult, Reports
from modelinstance.registry.records.records import Records
from support.left_out.table import leaves_out, let_do, nothing, put

# -- what routers are told ------------------------------------------------------------------------


@leaves_out("waking")
def _() -> None:
    """Nobody wakes those who wait for an instance."""
    let_do(WaitingRoom._on_offer, nothing)


@leaves_out("memory-of-the-down")
def _() -> None:
    """Only instances that can be called are known."""
    named = Records.named

    def ready(self: Records, name: str) -> Iterator[Record]:
        return (record for record in named(self, name) if record.verdict.ready)

    put(Records, "named", ready)


# -- what routers tell, and the silence of many ---------------------------------------------------


@leaves_out("reports-are-no-beats")
def _() -> None:
    """A call that succeeds is a sign of life."""
    take = Reports.take

    def believe(
        self: Reports, record: Record | None, *arguments: Any, **options: Any
    ) -> ReportResult:
        result = take(self, record, *arguments, **options)
        if CallOutcome.SUCCESS in arguments and record is not None:
            self._records.beat(record, record.timeline)
        return result

    put(Reports, "take", believe)


@leaves_out("ejection")
def _() -> None:
    """Calls that fail have no consequence."""
    let_do(Records.eject, nothing)


@leaves_out("others-opinions")
def _() -> None:
    """One who finds an instance bad is enough."""
    opinions = Reports.opinions

    def bad_alone(self: Reports, record: Record) -> Opinions:
        return replace(opinions(self, record), good=0)

    put(Reports, "opinions", bad_alone)


@leaves_out("half-at-most")
def _() -> None:
    """Whoever is found bad is out, however many there are."""

    def always(*_arguments: Any, **_options: Any) -> bool:
        return True

    put(Reports, "_may_go", always)


@leaves_out("silence-guard")
def _() -> None:
    """The silence of many counts as that of one."""

    def none(*_arguments: Any) -> list[Record]:
        return []

    put(SilenceGuard, "fell", none)


@leaves_out("waning")
def _() -> None:
    """Who is frozen stays so, though others are heard again."""

    def for_ever(self: Members, record: Record, *_arguments: float) -> bool:
        return record in self.frozen

    put(Members, "holds", for_ever)
