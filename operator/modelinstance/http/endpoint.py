"""The routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Protocol

from fastapi import FastAPI, Query, Request, Response

from modelinstance.http import problems
from modelinstance.http.models import Instance, InstanceList, Readiness
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.records import Records
from modelinstance.registry.tallies import Tallies
from modelinstance.registry.view import ViewState

REVISION_HEADER = "Modelinstance-Revision"
AGE_HEADER = "Modelinstance-View-Age"
STALE_HEADER = "Modelinstance-View-Stale"
RETRY_AFTER_SECONDS = 1

ModelQuery = Annotated[
    str,
    Query(
        description="A model name or alias; it may hold '/', '@' and ':'.",
        min_length=1,
        max_length=253,
    ),
]


class Source(Protocol):
    """What the endpoint reads."""

    records: Records
    tallies: Tallies
    stopping: bool

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        ...


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
    _add_queries(app, source)
    _add_probes(app, source, metrics)
    return app


def _add_queries(app: FastAPI, source: Source) -> None:
    records = source.records

    @app.middleware("http")
    async def describe_view(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        if request.url.path.startswith("/api/"):
            state = source.view_state()
            response.headers[REVISION_HEADER] = str(records.revision)
            response.headers[AGE_HEADER] = f"{state.age:.3f}"
            response.headers[STALE_HEADER] = str(state.stale).lower()
        return response

    @app.get("/api/v1/instances", tags=["queries"], responses=problems.documented(422))
    async def list_instances(
        model: ModelQuery | None = None,
        healthy: Annotated[bool | None, Query(description="Only those that are, or are not.")] = (
            None
        ),
    ) -> InstanceList:
        """The instances of all models or of one, whatever their health."""
        records.expire()
        now = records.clock.monotonic()
        found = records if model is None else records.named(model)
        return InstanceList(
            items=[
                Instance.of(record, message=records.explain(record), monotonic=now)
                for record in found
                if healthy is None or record.verdict.ready is healthy
            ]
        )

    @app.get("/api/v1/select", tags=["queries"], responses=problems.documented(404, 422, 503))
    async def select(model: ModelQuery) -> Instance:
        """One healthy instance of a model, at random by weight."""
        try:
            record = records.select(model)
        except NoHealthyInstanceError as error:
            if not error.listed:
                source.tallies.selections["unknown"] += 1
                raise problems.ProblemError(HTTPStatus.NOT_FOUND, str(error)) from error
            source.tallies.selections["unavailable"] += 1
            raise problems.ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                str(error),
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from error
        source.tallies.selections["selected"] += 1
        return Instance.of(
            record, message=records.explain(record), monotonic=records.clock.monotonic()
        )


def _add_probes(app: FastAPI, source: Source, metrics: Callable[[], tuple[bytes, str]]) -> None:
    @app.get("/livez", tags=["probes"])
    async def livez() -> dict[str, str]:
        """Whether this process answers at all."""
        return {"status": "ok"}

    @app.get(
        "/readyz",
        tags=["probes"],
        responses={503: {"model": Readiness, "description": "Not ready"}},
    )
    async def readyz(response: Response) -> Readiness:
        """Whether requests should come here: not before the first full LIST, nor during stop."""
        readiness = Readiness.of(
            source.view_state(), stopping=source.stopping, watching=source.tallies.watch_running
        )
        if not readiness.ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return readiness

    @app.get("/metrics", tags=["probes"], response_class=Response)
    async def expose_metrics() -> Response:
        """Metrics for Prometheus."""
        body, media_type = metrics()
        return Response(body, headers={"Content-Type": media_type})
