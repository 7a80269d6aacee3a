"""How far an answer can be trusted, in the headers of each answer of the API."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelinstance.http.source import Source

REVISION_HEADER = "Modelinstance-Revision"
AGE_HEADER = "Modelinstance-View-Age"
STALE_HEADER = "Modelinstance-View-Stale"
DESCRIBED_HEADERS = {
    REVISION_HEADER: {
        "description": "Grows with each change of the registry.",
        "schema": {"type": "integer"},
    },
    AGE_HEADER: {
        "description": "Seconds since the view of the cluster was last proven current.",
        "schema": {"type": "number"},
    },
    STALE_HEADER: {
        "description": "Whether it is older than a quiet, healthy cluster explains.",
        "schema": {"type": "boolean"},
    },
}
"""The same for the OpenAPI document."""
_REVISION, _AGE, _STALE = (
    name.lower().encode() for name in (REVISION_HEADER, AGE_HEADER, STALE_HEADER)
)


def view_headers(source: Source) -> list[tuple[bytes, bytes]]:
    """Revision, age and staleness of the view, as ASGI headers."""
    state = source.view_state()
    return [
        (_REVISION, b"%d" % source.records.revision),
        (_AGE, b"%.3f" % state.age),
        (_STALE, b"true" if state.stale else b"false"),
    ]


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
                message["headers"] = [*message["headers"], *view_headers(self._source)]
            await send(message)

        await self._app(scope, receive, describe)
