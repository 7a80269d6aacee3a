"""Errors as problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from reprlib import repr as abridged
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from modelinstance.http.models import Problem

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """An answer other than the one that was asked for."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(
        problem.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of problems with these statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Let every error of the application come out as a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, error: ProblemError) -> JSONResponse:
        return response(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> JSONResponse:
        return response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def on_bug(_: Request, error: Exception) -> JSONResponse:
        return response(500, f"an error of the server, which its log shows: {type(error).__name__}")

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f"={abridged(first.get('input'))}"
        return response(422, f"{field}{given}: {first['msg']}")
