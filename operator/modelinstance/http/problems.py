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

from modelinstance.http.bodies import PATTERNS, UNION_TAGS
from modelinstance.http.models import Problem

MEDIA_TYPE = "application/problem+json"
ERRORS_SHOWN = 5
NAME_SHOWN = 64
"""How much of a field's name is shown: of an unknown one it is the caller's."""
ADVICE = {
    "extra_forbidden": "there is no such field",
    "missing": "this field is required",
    "model_attributes_type": "write a JSON object",
    "model_type": "write a JSON object",
    "dict_type": "write a JSON object",
}
"""What to write instead, by pydantic's type of error, where its own words do not say."""
UNREADABLE = {
    "There was an error parsing the body": "body: it cannot be read as JSON in UTF-8",
}
"""FastAPI's words, and those that name the field."""


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
    """A problem as a response; control characters that a caller sent are shown escaped."""
    detail = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in detail)
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(
        problem.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of problems with these statuses."""
    entries: dict[int | str, dict[str, Any]] = {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }
    if HTTPStatus.SERVICE_UNAVAILABLE in entries:
        entries[HTTPStatus.SERVICE_UNAVAILABLE]["headers"] = {
            "Retry-After": {
                "description": "Seconds after which to try again.",
                "schema": {"type": "integer"},
            }
        }
    return entries


def install(app: FastAPI) -> None:
    """Let every error of the application come out as a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem(_: Request, error: ProblemError) -> JSONResponse:
        return response(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        detail = UNREADABLE.get(str(error.detail), str(error.detail))
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            path = getattr(request.scope.get("route"), "path", "")
            allowed = ", ".join(app.openapi()["paths"].get(path, {"get": None})).upper()
            detail, headers = (
                f"{request.method} is not for this path: {allowed}",
                {"Allow": allowed},
            )
        return response(error.status_code, detail, headers)

    @app.exception_handler(Exception)
    async def on_bug(_: Request, error: Exception) -> JSONResponse:
        return response(500, f"an error of the server, which its log shows: {type(error).__name__}")

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        told = [_tell(each) for each in errors[:ERRORS_SHOWN]]
        if len(errors) > ERRORS_SHOWN:
            told.append(f"and {len(errors) - ERRORS_SHOWN} more")
        return response(422, "; ".join(told))


def _tell(error: Mapping[str, Any]) -> str:
    """What is wrong with which field, what was given, and what to write instead."""
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "json_invalid":
        return f"body: no JSON, at character {error['loc'][-1]}: {context.get('error')}"
    field = ".".join(str(part)[:NAME_SHOWN] for part in error["loc"] if part not in UNION_TAGS)
    if isinstance(given, bytes):
        return f"{field}: send JSON, and say so: Content-Type: application/json"
    reason = error["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        reason = PATTERNS.get(context.get("pattern", ""), reason)
    shown = "" if kind == "missing" else f"={abridged(given)}"
    return f"{field}{shown}: {ADVICE.get(kind, reason)}"
