"""The application."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI

from modelinstance.http import problems
from modelinstance.http.headers import ViewHeaders
from modelinstance.http.probes import probes
from modelinstance.http.queries import queries
from modelinstance.http.source import Source


def create_app(source: Source, metrics: Callable[[], tuple[bytes, str]]) -> FastAPI:
    """The application. ``metrics`` returns the exposition of all metrics and its media type."""
    app = FastAPI(
        title="modelinstance",
        summary="Where can a model be called right now?",
        version=version("modelinstance-operator"),
        docs_url="/docs",
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app)
    app.add_middleware(ViewHeaders, source=source)
    app.include_router(queries(source))
    app.include_router(probes(source, metrics))
    return app
