"""Writes Events, the one way in which this project does.

Nothing waits for them, and what cannot be written is in the log.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from modelinstance import api
from modelinstance.cluster import FIELD_MANAGER
from modelinstance.cluster.client import CONFLICT, FORBIDDEN, NOT_FOUND, ClusterClient, ClusterError
from modelinstance.cluster.outcomes import FailureLog
from modelinstance.cluster.translate import rfc3339
from modelinstance.registry.telling.events import EventBook, EventOutcome, EventWrite

logger = logging.getLogger(__name__)

BATCH = 10
TICK_SECONDS = 1.0
MERGE = "application/merge-patch+json"
NAMESPACE = "metadata.namespace"
"""The field that the API server names when a namespace is being deleted; it answers with 403."""
API_VERSIONS = {"Pod": "v1"}
"""Those of objects that are not ours."""


class EventClient(ClusterClient):
    """Requests on Events, over connections of its own. Each call raises `ClusterError`."""

    async def create(self, write: EventWrite) -> None:
        """Make an Event, unless there is that very one."""
        try:
            await self._request(
                f"create an Event on {write.subject.kind} {write.subject.key}",
                "POST",
                _path(write),
                [("fieldManager", FIELD_MANAGER)],
                body=event_body(write),
            )
        except ClusterError as error:
            if error.status != CONFLICT:
                raise

    async def raise_count(self, write: EventWrite) -> None:
        """Say how often it has happened by now."""
        await self._request(
            f"patch an Event on {write.subject.kind} {write.subject.key}",
            "PATCH",
            f"{_path(write)}/{write.name}",
            [("fieldManager", FIELD_MANAGER)],
            body={"count": write.count, "lastTimestamp": rfc3339(write.last)},
            content_type=MERGE,
        )


class EventWriter:
    """Writes what the book plans. It lives in the thread that owns the registry."""

    def __init__(self, client: EventClient, book: EventBook) -> None:
        self._client = client
        self._book = book
        self._failures = FailureLog(logger)

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            while True:
                writes = self._book.plan(BATCH)
                await asyncio.gather(*map(self._write, writes))
                if not writes:
                    await asyncio.sleep(TICK_SECONDS)
        finally:
            await self._client.close()

    async def _write(self, write: EventWrite) -> None:
        try:
            await (self._client.raise_count if write.stands else self._client.create)(write)
        except ClusterError as error:
            self._book.settled(write, self._outcome(write, error), error.retry_after)
        else:
            self._book.settled(write, EventOutcome.WRITTEN)

    def _outcome(self, write: EventWrite, error: ClusterError) -> EventOutcome:
        """What a failure means; it is told once."""
        if error.status == FORBIDDEN and NAMESPACE not in error.fields:
            hint = "; grant the operator create and patch of events; the log has them"
            self._failures.say(write.subject.key, str(error), hint=hint, again=False)
            return EventOutcome.FORBIDDEN
        if error.status == NOT_FOUND and write.stands:
            return EventOutcome.EXPIRED
        gone = error.status in {FORBIDDEN, NOT_FOUND}
        again = error.passing and not gone
        if not gone:
            self._failures.say(write.subject.key, str(error), again=again)
        return EventOutcome.FAILED if again else EventOutcome.REFUSED


def event_body(write: EventWrite) -> dict[str, Any]:
    """The Event, with those fields that `kubectl describe` looks at and shows."""
    about, key = write.subject, write.subject.key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": write.name, "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSIONS.get(about.kind, api.API_VERSION),
            "kind": about.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": about.uid,
        },
        "type": "Warning" if write.warning else "Normal",
        "reason": write.reason,
        "message": write.message,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": rfc3339(write.first),
        "lastTimestamp": rfc3339(write.last),
        "count": write.count,
    }


def _path(write: EventWrite) -> str:
    return f"/api/v1/namespaces/{write.subject.key.namespace}/events"
