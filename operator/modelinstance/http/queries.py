"""What routers ask: which models and instances there are, and which one to call."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from modelinstance.http import problems
from modelinstance.http.access import Who
from modelinstance.http.bodies import EXCLUDED
from modelinstance.http.explanations import Explanation, explained
from modelinstance.http.filters import Filter, Wanted, find
from modelinstance.http.models import Instance, InstanceList, Model, ModelList
from modelinstance.http.rendering import shown
from modelinstance.http.source import Source
from modelinstance.http.waiting import WaitingRoom
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.record import Record
from modelinstance.registry.records.selection import Policy, Wish, policy_for

RETRY_AFTER_SECONDS = 1
MAX_WAIT_SECONDS = 60.0
MAX_EXCLUDED = 64
MAX_NAME, MAX_KEY = 253, 1024
"""The longest name of a model, and the longest key, in characters."""
REASONS_SHOWN = 20
"""How many instances a 503 explains."""

MODEL_NAME = Query(
    description="A model name or alias; it may hold '/', '@' and ':'.",
    min_length=1,
    max_length=MAX_NAME,
)
Namespace = Annotated[
    str, Path(description="The namespace of the resource.", min_length=1, max_length=253)
]
Name = Annotated[str, Path(description="The name of the resource.", min_length=1, max_length=253)]


def queries(source: Source, room: WaitingRoom) -> APIRouter:
    """The routes of ``/api/v1`` that only read."""
    router = APIRouter(prefix="/api/v1", tags=["queries"])
    records, tallies = source.records, source.tallies

    @router.get("/models", responses=problems.documented(422))
    async def list_models(wanted: Wanted) -> ModelList:
        """The model names, with how many of their instances may be called."""
        records.expire()
        counts: dict[str, list[int]] = {}
        for record in records:
            if wanted is None or wanted(record):
                count = counts.setdefault(record.spec.model_name, [0, 0])
                count[0] += 1
                count[1] += record.verdict.ready
        return ModelList(
            items=[
                Model(model=name, instances=count[0], healthy=count[1])
                for name, count in sorted(counts.items())
            ]
        )

    @router.get("/instances", responses=problems.documented(422))
    async def list_instances(
        wanted: Wanted,
        model: Annotated[str | None, MODEL_NAME] = None,
        healthy: Annotated[bool | None, Query(description="Only those that are, or are not.")] = (
            None
        ),
    ) -> InstanceList:
        """The instances of all models or of one, whatever their health."""
        records.expire()
        found = records if model is None else records.named(model)
        return InstanceList(
            items=[
                shown(records, record)
                for record in found
                if (healthy is None or record.verdict.ready is healthy)
                and (wanted is None or wanted(record))
            ]
        )

    @router.get("/instances/{namespace}/{name}", responses=problems.documented(404, 422))
    async def get_instance(namespace: Namespace, name: Name, caller: Who) -> Instance:
        """One instance, whatever its health."""
        return shown(records, find(records, caller, namespace, name))

    @router.get("/instances/{namespace}/{name}/why", responses=problems.documented(404, 422))
    async def explain_instance(namespace: Namespace, name: Name, caller: Who) -> Explanation:
        """Why an instance is in its phase: what each check sees, and what would change it."""
        return explained(source, find(records, caller, namespace, name))

    @router.get("/select", responses=problems.documented(404, 422, 503))
    async def select(
        *,
        model: Annotated[str, MODEL_NAME],
        wanted: Wanted,
        policy: Annotated[
            Policy | None,
            Query(description="How to pick; by default weighted at random, and with a key sticky."),
        ] = None,
        key: Annotated[
            str,
            Query(
                description="What is to stay with one instance, for example a session.",
                max_length=MAX_KEY,
            ),
        ] = "",
        exclude: Annotated[
            list[Annotated[str, Field(pattern=EXCLUDED)]] | None,
            Query(
                description="Instances that are not to be picked, as NAMESPACE/NAME; repeatable.",
                max_length=MAX_EXCLUDED,
            ),
        ] = None,
        wait: Annotated[
            float,
            Query(
                description="Seconds to wait for an instance if none can be called now.",
                ge=0,
                le=MAX_WAIT_SECONDS,
                allow_inf_nan=False,
            ),
        ] = 0.0,
    ) -> Instance:
        """One healthy instance of a model."""
        chosen = policy_for(policy, key)
        if chosen is None:
            raise _bad("query.key: policy=sticky needs a key, for example the session")
        wish = Wish(chosen, key, _without(exclude, wanted))

        def attempt() -> Record | None:
            try:
                return records.select(model, wish)
            except NoHealthyInstanceError:
                return None

        record = await room.until(model, attempt, wait)
        if record is None:
            raise _nobody(source, model, wanted)
        tallies.selections["selected"] += 1
        return shown(records, record)

    return router


def _bad(detail: str) -> problems.ProblemError:
    return problems.ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _without(exclude: list[str] | None, wanted: Filter) -> Filter:
    """What may be picked: what is meant, less what is excluded."""
    if not exclude:
        return wanted
    excluded = frozenset(exclude)
    return lambda record: str(record.key) not in excluded and (wanted is None or wanted(record))


def _nobody(source: Source, model: str, wanted: Filter) -> problems.ProblemError:
    """Why nobody can be called: an unknown model, or the reason of each instance."""
    records = source.records
    known = [record for record in records.named(model) if wanted is None or wanted(record)]
    if not known:
        source.tallies.selections["unknown"] += 1
        near = [name for name in records.near(model) if name != model] if wanted is None else []
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return problems.ProblemError(HTTPStatus.NOT_FOUND, f"no instance of {model!r}{hint}")
    source.tallies.selections["unavailable"] += 1
    reasons = [
        f"{record.key} is {record.verdict.phase} ({_why_not(record)})"
        for record in known[:REASONS_SHOWN]
    ]
    if len(known) > REASONS_SHOWN:
        reasons.append(f"and {len(known) - REASONS_SHOWN} more")
    return problems.ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"no instance of {model!r} can be called: {'; '.join(reasons)}",
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _why_not(record: Record) -> str:
    if not record.verdict.ready:
        return record.verdict.reason
    return "weight 0" if record.spec.weight <= 0 else "excluded"
