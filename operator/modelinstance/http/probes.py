"""The routes for the kubelet and for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, Response

from modelinstance.http import problems
from modelinstance.http.access import Who
from modelinstance.http.models import Readiness
from modelinstance.http.source import Source


def probes(source: Source, metrics: Callable[[], tuple[bytes, str]]) -> APIRouter:
    """The routes. ``metrics`` returns the exposition of all metrics and its media type."""
    router = APIRouter(tags=["probes"])

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """Whether this process answers at all."""
        return {"status": "ok"}

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
    async def readyz(response: Response) -> Readiness:
        """Whether requests should come here: not before the first full LIST, nor during stop."""
        readiness = Readiness.of(
            source.view_state(),
            source.pods_state(),
            stopping=source.stopping,
            watching=source.tallies.watch_running,
        )
        if not readiness.ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return readiness

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {
                "description": "In Prometheus' text format",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **problems.documented(403),
        },
    )
    async def expose_metrics(caller: Who) -> Response:
        """Metrics for Prometheus, for those who may see the models of all namespaces."""
        if caller.namespaces is not None:
            raise problems.ProblemError(
                HTTPStatus.FORBIDDEN, f"{caller.name} may not see all namespaces"
            )
        body, media_type = metrics()
        return Response(body, headers={"Content-Type": media_type})

    return router
