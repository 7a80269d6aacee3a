"""What workers tell: that they are there, and that they live."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from modelinstance.http import problems
from modelinstance.http.access import Caller, Who, refuse_unless_seen
from modelinstance.http.bodies import BeatBatch, BeatBody, Beats, RegistrationBody, load_of
from modelinstance.http.models import (
    BeatAnswer,
    BeatAnswers,
    BeatOutcome,
    RegisteredInstance,
)
from modelinstance.http.problems import ProblemError
from modelinstance.http.rendering import shown
from modelinstance.http.source import Source
from modelinstance.registry.errors import Refusal, RefusedError
from modelinstance.registry.intake.registrations import Registered, Registration
from modelinstance.registry.intake.workers import BeatResult

RETRY_AFTER_SECONDS = 5
REFUSED = {
    Refusal.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.CONFLICT: HTTPStatus.CONFLICT,
    Refusal.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}


def registering(source: Source) -> APIRouter:
    """The routes of ``/api/v1`` by which workers come and stay."""
    router = APIRouter(prefix="/api/v1", tags=["workers"])
    records, workers = source.records, source.workers

    async def enrol(caller: Caller, registration: Registration) -> Registered:
        refuse_unless_seen(caller, registration.namespace)
        try:
            return await source.enrolment.register(registration)
        except RefusedError as error:
            busy = error.refusal is Refusal.BUSY
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if busy else None
            raise ProblemError(REFUSED[error.refusal], str(error), headers) from error

    @router.post(
        "/instances",
        status_code=HTTPStatus.CREATED,
        responses={
            200: {"model": RegisteredInstance, "description": "It was there already"},
            202: {"model": RegisteredInstance, "description": "Held in memory, not stored yet"},
            **problems.documented(400, 403, 409, 422, 503),
        },
    )
    async def register_instance(
        body: RegistrationBody, caller: Who, response: Response
    ) -> RegisteredInstance:
        """A worker registers: it is listed, and taken for heard from just now.

        Its resource is written for it. Where the registry knows one of this namespace with the same
        model, host and port already, the worker is taken for that one.
        """
        registration = body.meant(source.enrolment.default_namespace)
        registered = await enrol(caller, registration)
        record = registered.record
        if not registered.stored:
            response.status_code = HTTPStatus.ACCEPTED
        elif not registered.created:
            response.status_code = HTTPStatus.OK
        return RegisteredInstance(
            **shown(records, record).model_dump(),
            stored=registered.stored,
            detail=registered.why,
            heartbeat_timeout_seconds=records.timeout_of(record),
        )

    async def take(beat: BeatBody, caller: Caller) -> BeatAnswer:
        record = records.identified(beat.incarnation)
        if record is not None and not caller.sees(record.key.namespace):
            record = None
            result = BeatResult.UNKNOWN
        else:
            result = workers.beat(beat.incarnation, load_of(beat.load), beat.failure)
        outcome, known = BeatOutcome(result.value), beat.incarnation
        if record is not None:
            known = record.id
        elif beat.registration is not None:
            registration = beat.registration.meant(source.enrolment.default_namespace)
            if workers.may_return(beat.incarnation, registration):
                registered = await enrol(caller, registration)
                outcome, known = BeatOutcome.REGISTERED, registered.record.id
        return BeatAnswer(incarnation=known, result=outcome)

    async def take_or_leave(beat: BeatBody, caller: Caller) -> BeatAnswer:
        """One of several: a registration that is refused leaves the others alone."""
        try:
            return await take(beat, caller)
        except ProblemError:
            return BeatAnswer(incarnation=beat.incarnation, result=BeatOutcome.UNKNOWN)

    @router.post(
        "/heartbeats",
        responses=problems.documented(400, 403, 404, 409, 410, 422, 503),
    )
    async def send_heartbeats(body: Beats, caller: Who) -> BeatAnswer | BeatAnswers:
        """One heartbeat, or several as ``items``; none of them causes a write.

        For a single one, 404 says that the incarnation is unknown and 410 that it was deregistered:
        the worker has to register. Of several, each has its own result.
        """
        if isinstance(body, BeatBatch):
            return BeatAnswers(items=[await take_or_leave(beat, caller) for beat in body.items])
        answer = await take(body, caller)
        if answer.result is BeatOutcome.UNKNOWN:
            raise ProblemError(
                HTTPStatus.NOT_FOUND,
                f"body.incarnation={body.incarnation}: no such incarnation is known; register",
            )
        if answer.result is BeatOutcome.DEREGISTERED:
            raise ProblemError(
                HTTPStatus.GONE,
                f"body.incarnation={body.incarnation}: it was deregistered; register again",
            )
        return answer

    return router
