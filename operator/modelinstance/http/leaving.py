"""What workers tell, and those who look after them: that they go, or are to be spared."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from modelinstance.http import problems
from modelinstance.http.access import Caller, Who
from modelinstance.http.bodies import INCARNATION
from modelinstance.http.filters import find
from modelinstance.http.models import Instance
from modelinstance.http.problems import ProblemError
from modelinstance.http.queries import Name, Namespace
from modelinstance.http.rendering import shown
from modelinstance.http.source import Source
from modelinstance.registry.health.record import Record

Late = Annotated[
    str | None,
    Query(
        description="The incarnation that this is about: for another one it is refused.",
        pattern=INCARNATION,
    ),
]


def leaving(source: Source) -> APIRouter:
    """The routes of ``/api/v1`` by which instances go, for good or for a while."""
    router = APIRouter(prefix="/api/v1", tags=["workers"])
    records, workers = source.records, source.workers

    def meant(caller: Caller, namespace: str, name: str, incarnation: str | None) -> Record:
        record = find(records, caller, namespace, name)
        if not workers.concerns(record, incarnation):
            raise ProblemError(
                HTTPStatus.CONFLICT,
                f"query.incarnation={incarnation}: {namespace}/{name} is {record.id} by now, and "
                f"was left as it is",
            )
        return record

    @router.delete("/instances/{namespace}/{name}", responses=problems.documented(404, 409, 422))
    async def deregister_instance(
        namespace: Namespace, name: Name, caller: Who, incarnation: Late = None
    ) -> Instance:
        """A worker says goodbye: it stays listed, is not picked, and no late heartbeat revives it.

        It returns by registering again. What came by registration is removed some time later.
        """
        record = meant(caller, namespace, name, incarnation)
        workers.deregister(record)
        return shown(records, record)

    @router.post(
        "/instances/{namespace}/{name}/drain", responses=problems.documented(404, 409, 422)
    )
    async def drain_instance(
        namespace: Namespace, name: Name, caller: Who, incarnation: Late = None
    ) -> Instance:
        """No new requests from now on; running ones may end."""
        record = meant(caller, namespace, name, incarnation)
        workers.drain(record, drained=True)
        return shown(records, record)

    @router.delete(
        "/instances/{namespace}/{name}/drain", responses=problems.documented(404, 409, 422)
    )
    async def undrain_instance(
        namespace: Namespace, name: Name, caller: Who, incarnation: Late = None
    ) -> Instance:
        """Take a drain back. What the resource's ``spec.rotation`` says stays."""
        record = meant(caller, namespace, name, incarnation)
        workers.drain(record, drained=False)
        return shown(records, record)

    return router
