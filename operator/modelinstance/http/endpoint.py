"""The application."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from modelinstance.http import problems
from modelinstance.http.access import Access, Doorkeeper
from modelinstance.http.headers import DESCRIBED_HEADERS, ViewHeaders
from modelinstance.http.hot import ShortProtocol, ShortWay
from modelinstance.http.leaving import leaving
from modelinstance.http.measuring import Measured
from modelinstance.http.probes import probes
from modelinstance.http.queries import queries
from modelinstance.http.registering import registering
from modelinstance.http.rendering import Renderings
from modelinstance.http.reports import reporting
from modelinstance.http.source import Source
from modelinstance.http.waiting import WaitingRoom
from modelinstance.http.watching import Watchers, watching

Metrics = Callable[[], tuple[bytes, str]]
"""Returns the exposition of all metrics and its media type."""


class Endpoint:
    """The whole endpoint.

    ``documented`` is the application that has every route and describes them all; ``app`` counts
    its requests. Plain selects and heartbeats do not get that far where ``protocol`` reads them.
    """

    def __init__(self, source: Source, metrics: Metrics, access: Access) -> None:
        renderings = Renderings(source.records)
        self._watchers = Watchers(source, renderings)
        self._short_way = ShortWay(source, access, renderings)
        self._room = WaitingRoom(source.records)
        self.documented = _documented(source, metrics, access, self._watchers, self._room)
        self.app: ASGIApp = Measured(self.documented, source.tallies.requests)

    def protocol(self, **options: Any) -> ShortProtocol:
        """What uvicorn is to read a connection with."""
        return ShortProtocol(self._short_way, **options)

    def end_streams(self) -> None:
        """End what would not end by itself, as the server stops."""
        self._watchers.end()
        self._room.close()


def _documented(
    source: Source, metrics: Metrics, access: Access, watchers: Watchers, room: WaitingRoom
) -> FastAPI:
    app = FastAPI(
        title="modelinstance",
        summary="Where can a model be called right now?",
        version=version("modelinstance-operator"),
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        responses=problems.documented(400, 401, 408, 413, 431, 500),
    )
    problems.install(app)
    app.add_middleware(Doorkeeper, access=access)
    app.add_middleware(ViewHeaders, source=source)
    app.include_router(queries(source, room))
    app.include_router(watching(watchers))
    app.include_router(registering(source))
    app.include_router(leaving(source))
    app.include_router(reporting(source))
    app.include_router(probes(source, metrics))
    app.openapi = cache(partial(_described, app.openapi))  # type: ignore[method-assign]
    return app


def _described(describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The document with what holds for all routes alike.

    Answers under ``/api/`` have the headers of the view, and a token is needed only where the
    registry was given some.
    """
    document = describe()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "security" in operation:
                operation["security"].append({})
            if path.startswith("/api/"):
                for answer in operation["responses"].values():
                    answer["headers"] = {**DESCRIBED_HEADERS, **answer.get("headers", {})}
    return document
