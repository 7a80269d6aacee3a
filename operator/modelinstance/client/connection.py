"""Requests to one registry, with their limits."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from modelinstance.client.bounded import body_of
from modelinstance.client.errors import RegistryUnavailableError

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 2**20
"""An answer that is longer is no answer of a registry."""
MAX_WHY = 1000
"""How many characters of an explanation are passed on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry answered: the status, the JSON value of the body, and the headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Connection:
    """A registry at a base URL. Use it in one event loop; close it in the end.

    ``token_file`` holds the bearer token, and is read anew for each request, as tokens rotate.
    ``timeout`` is in seconds, for a whole request. ``address`` is an IP address to connect to
    instead of what the URL's host resolves to: one of several replicas behind one name.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        timeout: float = TIMEOUT_SECONDS,
        address: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.address = address
        self._base = URL(self.url)
        self._token_file = token_file
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def __str__(self) -> str:
        return self.url if self.address is None else f"{self.url} at {self.address}"

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        """One request with a JSON body; raises `RegistryUnavailableError` for an error status."""
        what = f"{method} {path} of {self}"
        with self._told(what):
            async with self._send(method, path, query, body, self._timeout) as response:
                raw = await self._read(what, response)
                answer = Answer(response.status, _parsed(what, response, raw), response.headers)
        if answer.status >= 300:
            raise _refusal(what, answer)
        return answer

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str] | None = None, silence: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response that goes on; ``silence`` is how long nothing may come, in seconds.

        Raises `RegistryUnavailableError`, also for what fails while the body is read.
        """
        what = f"GET {path} of {self}"
        with self._told(what):
            async with self._send("GET", path, query, None, None, silence=silence) as response:
                if response.status >= 300:
                    raw = await self._read(what, response)
                    parsed = _parsed(what, response, raw)
                    raise _refusal(what, Answer(response.status, parsed, response.headers))
                yield response

    @contextlib.contextmanager
    def _told(self, what: str) -> Any:
        try:
            yield
        except TimeoutError as error:
            raise RegistryUnavailableError(what, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RegistryUnavailableError(what, str(error) or type(error).__name__) from error

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        total: float | None,
        *,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        url = self._base.with_path(self._base.path.rstrip("/") + path)
        headers = {"Accept": "application/json"}
        if self._token_file is not None:
            token = self._token_file.read_text(encoding="utf-8").strip()
            headers["Authorization"] = f"Bearer {token}"
        server_name: str | None = None
        if self.address is not None:
            headers["Host"] = url.authority
            server_name = url.host
            url = url.with_host(self.address)
        async with self._session.request(
            method,
            url,
            params=query,
            json=body,
            headers=headers,
            allow_redirects=False,
            server_hostname=server_name,
            timeout=aiohttp.ClientTimeout(
                total=total, sock_connect=self._timeout, sock_read=silence
            ),
        ) as response:
            yield response

    @staticmethod
    async def _read(what: str, response: aiohttp.ClientResponse) -> bytes:
        """The body, unless it is longer than any answer of a registry."""
        raw = await body_of(response, MAX_ANSWER_BYTES)
        if raw is None:
            raise RegistryUnavailableError(what, "the answer is too long")
        return raw


def _parsed(what: str, response: aiohttp.ClientResponse, raw: bytes) -> Any:
    """The JSON value of a body; ``None`` for an empty one, or an error that is no JSON."""
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        if response.status >= 300:
            return None
        raise RegistryUnavailableError(what, "the answer is not one of a registry") from error


def _refusal(what: str, answer: Answer) -> RegistryUnavailableError:
    """The error that says what an answer with an error status said (RFC 9457)."""
    body = answer.body if isinstance(answer.body, dict) else {}
    why = str(body.get("detail") or body.get("title") or "no explanation")[:MAX_WHY]
    try:
        retry_after = float(answer.headers.get("Retry-After", 0))
    except ValueError:
        retry_after = 0.0
    if not 0 <= retry_after < math.inf:
        retry_after = 0.0
    return RegistryUnavailableError(
        what, f"HTTP {answer.status}: {why}", answer.status, retry_after=retry_after
    )
