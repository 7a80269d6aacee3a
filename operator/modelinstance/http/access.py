"""Who calls, and what they may see: the one seam through which every route learns it."""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from modelinstance.http.problems import ProblemError, response

logger = logging.getLogger(__name__)

REREAD_SECONDS = 1.0
GUARDED = ("/api/", "/metrics")
"""How the paths begin that are not open to everyone where the registry asks for tokens."""
AUTHORIZATION = b"authorization"
CALLER = "modelinstance.caller"
_BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``namespaces`` are those whose instances they may see and change; None is all."""

    name: str
    namespaces: frozenset[str] | None = None

    def sees(self, namespace: str) -> bool:
        """Whether they may see and change the instances of a namespace."""
        return self.namespaces is None or namespace in self.namespaces


ANYONE = Caller("anyone")


class Access(Protocol):
    """Tells callers apart by their ``Authorization`` header."""

    def recall(self, authorization: bytes | None) -> Caller | None:
        """Who that is, if it can be told at once; None leaves it to `identify`."""
        ...

    async def identify(self, authorization: bytes | None) -> Caller:
        """Who that is. Raises `ProblemError` (401) when they are not let in."""
        ...


class OpenAccess:
    """Lets everyone in."""

    def recall(self, authorization: bytes | None) -> Caller | None:
        """See `Access`."""
        del authorization
        return ANYONE

    async def identify(self, authorization: bytes | None) -> Caller:
        """See `Access`."""
        del authorization
        return ANYONE


class TokenAccess:
    """Lets in who sends a bearer token that a file holds, one a line; the file may change.

    Raises `OSError` or `ValueError` when made from a file that cannot be used. One that cannot be
    read later on leaves the tokens as they were.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = self._read()
        self._read_at = time.monotonic()

    def _read(self) -> tuple[bytes, ...]:
        lines = self._path.read_bytes().split(b"\n")
        tokens = tuple(line.strip() for line in lines if line.strip())
        if not tokens:
            raise ValueError(f"{self._path} holds no token: write one a line")
        return tokens

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._read_at < REREAD_SECONDS:
            return
        self._read_at = now
        try:
            self._tokens = self._read()
        except (OSError, ValueError) as error:
            logger.warning("the tokens stay as they were: %s", error)

    def recall(self, authorization: bytes | None) -> Caller | None:
        """See `Access`."""
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        self._refresh()
        given = authorization[len(_BEARER) :].strip()
        fitting = [hmac.compare_digest(given, token) for token in self._tokens]
        return Caller("bearer of a token") if any(fitting) else None

    async def identify(self, authorization: bytes | None) -> Caller:
        """See `Access`."""
        caller = self.recall(authorization)
        if caller is None:
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                "header.authorization: send 'Authorization: Bearer TOKEN' with a token that this "
                "registry was given",
                {"WWW-Authenticate": "Bearer"},
            )
        return caller


class Doorkeeper:
    """Learns who calls before anything of a request is looked at; /livez and /readyz are open."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose caller is let in, and answer others."""
        if scope["type"] == "http" and scope["path"].startswith(GUARDED):
            given = next((value for name, value in scope["headers"] if name == AUTHORIZATION), None)
            try:
                scope[CALLER] = await self._access.identify(given)
            except ProblemError as error:
                answer = response(error.status, error.detail, error.headers)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _caller(
    request: Request,
    _: Annotated[
        HTTPAuthorizationCredentials | None,
        Security(HTTPBearer(auto_error=False, description="Where the registry asks for one.")),
    ],
) -> Caller:
    caller: Caller = request.scope[CALLER]
    return caller


Who = Annotated[Caller, Depends(_caller)]
"""Who calls: the one way in which a route learns it."""


def refuse_unless_seen(caller: Caller, namespace: str) -> None:
    """Raise `ProblemError` (403) where a caller may not change the instances of a namespace."""
    if not caller.sees(namespace):
        raise ProblemError(
            HTTPStatus.FORBIDDEN, f"{caller.name} may not change instances in {namespace!r}"
        )
