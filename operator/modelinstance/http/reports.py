"""What routers tell: how their calls to instances ended."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Discriminator, Field, Tag

from modelinstance.http import problems
from modelinstance.http.access import Caller, Who
from modelinstance.http.bodies import INCARNATION, MAX_BATCH, ONE, SEVERAL, Body, number_of
from modelinstance.http.models import ReportAnswer, ReportAnswers
from modelinstance.http.problems import ProblemError
from modelinstance.http.source import Source
from modelinstance.registry.intake.reports import CallOutcome, ReportResult

MAX_COUNT = 1_000_000


def _check_reporter(name: str) -> str:
    if name != name.strip() or not name.isprintable():
        raise ValueError(
            "a reporter's name must be printable and must not begin or end with a space: write "
            "what tells this router from others, for example its pod's name"
        )
    return name


Reporter = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        description="Who tells, for example the pod of a router: reporters are told apart, as one "
        "alone cannot take out what others use well.",
    ),
    AfterValidator(_check_reporter),
]


class CallsBody(Body):
    """How calls to one instance ended, all alike."""

    incarnation: Annotated[str, Field(pattern=INCARNATION)] = Field(
        description="The incarnation that was called, as select and watch show it."
    )
    outcome: Literal["success", "failure", "timeout"] = Field(
        description="success: it answered, be it with a 4xx. failure: the connection was refused "
        "or broke, or it answered with a 5xx; that it is busy (429, 503) is none. timeout: no "
        "answer came in time."
    )
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = Field(
        1, description="How many calls in a row ended so."
    )


class ReportBody(CallsBody):
    """One report."""

    reporter: Reporter


class ReportBatch(Body):
    """Several reports of one reporter, in the order in which the calls ended."""

    reporter: Reporter
    items: Annotated[list[CallsBody], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        description="The reports."
    )


ToldCalls = Annotated[
    Annotated[ReportBody, Tag(ONE)] | Annotated[ReportBatch, Tag(SEVERAL)],
    Discriminator(number_of),
]
"""One report, or several as ``items``."""


def reporting(source: Source) -> APIRouter:
    """The route of ``/api/v1`` by which routers tell how their calls ended."""
    router = APIRouter(prefix="/api/v1", tags=["routers"])
    records, reports = source.records, source.reports

    def take(told: CallsBody, reporter: str, caller: Caller) -> ReportAnswer:
        record = records.identified(told.incarnation)
        if record is not None and not caller.sees(record.key.namespace):
            record = None
        return ReportAnswer(
            incarnation=told.incarnation if record is None else record.id,
            result=reports.take(record, reporter, CallOutcome(told.outcome), told.count),
        )

    @router.post("/reports", responses=problems.documented(404, 422))
    async def report_calls(body: ToldCalls, caller: Who) -> ReportAnswer | ReportAnswers:
        """A router tells how its calls ended, in one report or in several as ``items``.

        Failures take an instance out sooner than its silence would; one reporter alone cannot take
        out what others use well. A report never revives: what is out returns by its heartbeats or
        its probe alone. A report on an incarnation that is none any more changes nothing, and is
        counted; for a single one, 404 says so.
        """
        if isinstance(body, ReportBatch):
            items = [take(told, body.reporter, caller) for told in body.items]
            return ReportAnswers(items=items)
        answer = take(body, body.reporter, caller)
        if answer.result is ReportResult.UNKNOWN:
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                f"body.incarnation={body.incarnation}: no such incarnation is known; ask again "
                f"which instances there are",
            )
        return answer

    return router
