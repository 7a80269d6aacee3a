"""How long requests take until their answer begins, by route: for the metrics."""

from __future__ import annotations

import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelinstance.registry.tallies import Requests

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Stands for methods and paths that there are not: a caller could make up any number of them."""


class Measured:
    """Counts and times the requests to an application by the route that they matched."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answered = time.perf_counter(), False

        def observe(status: int) -> None:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", OTHER)
            self._requests.observe(method, route, status, time.perf_counter() - began)

        async def note(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                observe(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            if not answered:
                observe(HTTPStatus.INTERNAL_SERVER_ERROR)
