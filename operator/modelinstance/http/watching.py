"""A stream of changes as server-sent events, for routers that keep a list of their own.

A watcher is told of what has changed, not of each change: what it has not read yet is kept as a set
of names, so that a slow one costs no more than there are instances.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from modelinstance.http import problems
from modelinstance.http.filters import Filter, Wanted
from modelinstance.http.models import Gone, Synced
from modelinstance.http.queries import MODEL_NAME
from modelinstance.http.rendering import Renderings
from modelinstance.http.source import Source
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey

MAX_WATCHERS = 1000
KEEPALIVE_SECONDS = 15.0
UNSYNCED_SECONDS = 1.0
"""How often it is looked whether everything was read; until then nobody is told that it was."""
MAX_SECONDS = 3600.0
SEND_SECONDS = 30.0
"""How long a watcher may take to read what was sent."""
RETRY_AFTER_SECONDS = 5
EVENT_STREAM = "text/event-stream"


class _Watcher:
    """What one watcher has to be told; ``told`` are the instances that it knows of."""

    def __init__(self, model: str | None, wanted: Filter) -> None:
        self._model = model
        self._wanted = wanted
        self.news = asyncio.Event()
        self.changed: dict[InstanceKey, None] = {}
        self.told: set[InstanceKey] = set()

    def wants(self, record: Record) -> bool:
        """Whether an instance is one of those that it asked for."""
        named = self._model is None or self._model in record.spec.names
        return named and (self._wanted is None or self._wanted(record))

    def hear(self, record: Record) -> None:
        """An instance has changed, or has gone."""
        if record.key in self.told or self.wants(record):
            self.changed[record.key] = None
            self.news.set()


class Watchers:
    """All who watch."""

    def __init__(self, source: Source, renderings: Renderings) -> None:
        self._source = source
        self._records = source.records
        self._renderings = renderings
        self._watchers: set[_Watcher] = set()
        self._records.on_change(self._hear)

    def __len__(self) -> int:
        return len(self._watchers)

    def _hear(self, record: Record) -> None:
        for watcher in self._watchers:
            watcher.hear(record)

    def end(self) -> None:
        """End all streams, as the server stops."""
        for watcher in self._watchers:
            watcher.news.set()

    async def watch(
        self, model: str | None, wanted: Filter, seconds: float
    ) -> AsyncIterator[bytes]:
        """The events for one watcher, until its time is over or the server stops."""
        watcher = _Watcher(model, wanted)
        self._watchers.add(watcher)
        try:
            found = self._records if model is None else self._records.named(model)
            watcher.changed = {record.key: None for record in found if watcher.wants(record)}
            told_all = False
            ends = asyncio.get_running_loop().time() + seconds
            while True:
                if not told_all and (state := self._source.view_state()).synced:
                    told_all = True
                    durable = Synced(durable=state.durable).model_dump_json().encode()
                    yield self._tell(watcher) + _event("SYNCED", self._records.revision, durable)
                left = ends - asyncio.get_running_loop().time()
                if left <= 0 or self._source.stopping:
                    return
                patience = KEEPALIVE_SECONDS if told_all else UNSYNCED_SECONDS
                try:
                    async with asyncio.timeout(min(left, patience)):
                        await watcher.news.wait()
                except TimeoutError:
                    yield b": the stream is alive\n\n"
                else:
                    yield self._tell(watcher)
        finally:
            self._watchers.discard(watcher)

    def _tell(self, watcher: _Watcher) -> bytes:
        """The events of what has changed since it was last told."""
        self._records.expire()
        changed, watcher.changed = watcher.changed, {}
        watcher.news.clear()
        events = []
        for key in changed:
            record, revision = self._records.get(key), self._records.revision
            if record is not None and watcher.wants(record):
                kind = "MODIFIED" if key in watcher.told else "ADDED"
                watcher.told.add(key)
                events.append(_event(kind, revision, self._renderings.render(record)))
            elif key in watcher.told:
                watcher.told.discard(key)
                gone = Gone(namespace=key.namespace, name=key.name)
                events.append(_event("DELETED", revision, gone.model_dump_json().encode()))
        return b"".join(events)


class _Stream(StreamingResponse):
    """Ends when its reader takes nothing for a while: else it would keep its place for ever."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all, each part in time."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        with contextlib.suppress(TimeoutError):
            await super().__call__(scope, receive, send_in_time)


def _event(kind: str, revision: int, data: bytes) -> bytes:
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), revision, data)


def watching(watchers: Watchers) -> APIRouter:
    """The route of ``/api/v1`` that streams."""
    router = APIRouter(prefix="/api/v1", tags=["queries"])

    @router.get(
        "/watch",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Events ADDED, MODIFIED and DELETED, each with an instance as its "
                "data (of a deleted one the namespace and name alone); SYNCED follows those that "
                "were there at first, once the registry has read all of them. "
                "Its data holds `durable`: true where a cluster keeps what is registered, so that "
                "what was not told is gone; false where a restart forgets it. The id is the "
                "revision.",
                "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
            },
            **problems.documented(422, 503),
        },
    )
    async def watch_instances(
        wanted: Wanted,
        model: Annotated[str | None, MODEL_NAME] = None,
        timeout_seconds: Annotated[
            float,
            Query(
                alias="timeoutSeconds",
                description="After how many seconds the stream ends.",
                gt=0,
                le=MAX_SECONDS,
                allow_inf_nan=False,
            ),
        ] = MAX_SECONDS,
    ) -> StreamingResponse:
        """The instances of all models or of one as server-sent events: first all, then changes.

        Of changes in quick succession only the last is told. After a lost connection, or when the
        stream ends, watch again: it begins with all anew.
        """
        if len(watchers) >= MAX_WATCHERS:
            raise problems.ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_WATCHERS} watch already",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return _Stream(
            watchers.watch(model, wanted, timeout_seconds),
            media_type=EVENT_STREAM,
            headers={"Cache-Control": "no-cache"},
        )

    return router
