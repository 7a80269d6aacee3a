"""How far an answer can be trusted, in the headers of each answer of the API."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelinstance.http.source import Source

REVISION_HEADER = "Modelinstance-Revision"
AGE_HEADER = "Modelinstance-View-Age"
STALE_HEADER = "Modelinstance-View-Stale"


class ViewHeaders:
    """Adds revision, age and staleness of the view to the answers under ``/api/``."""

    def __init__(self, app: ASGIApp, source: Source) -> None:
        self._app = app
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return

        async def describe(message: Message) -> None:
            if message["type"] == "http.response.start":
                state = self._source.view_state()
                headers = MutableHeaders(scope=message)
                headers[REVISION_HEADER] = str(self._source.records.revision)
                headers[AGE_HEADER] = f"{state.age:.3f}"
                headers[STALE_HEADER] = str(state.stale).lower()
            await send(message)

        await self._app(scope, receive, describe)
