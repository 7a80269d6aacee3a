"""Asks an engine, at the one address that it is told; with limits on everything that comes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from modelinstance.agent.settings import VERSION_PREFIX, Target
from modelinstance.client.bounded import body_of

MAX_BODY_BYTES = 4 * 2**20
"""What is longer is no answer to what is asked here; the metrics of an engine have some 100 KiB."""
MODELS, METRICS = f"{VERSION_PREFIX}/models", "/metrics"
COMPLETIONS, CHAT = f"{VERSION_PREFIX}/completions", f"{VERSION_PREFIX}/chat/completions"
NO_SUCH_ROUTE = frozenset({404, 405, 501})


class EngineTroubleError(Exception):
    """What was asked of an engine and what came instead.

    ``timed_out`` is whether nothing came in time, ``gone`` whether nobody took the connection.
    """

    def __init__(
        self,
        what: str,
        why: str,
        *,
        status: int = 0,
        timed_out: bool = False,
        gone: bool = False,
    ) -> None:
        super().__init__(f"{what}: {why}")
        self.status = status
        self.timed_out = timed_out
        self.gone = gone


class Engine:
    """An engine at its address. Use it in one event loop; it is an asynchronous context manager.

    ``timeout`` and ``completion_timeout`` are in seconds. ``token_file`` holds the bearer token
    that the engine wants, if it wants one, and is read anew each time. Each method raises
    `EngineTroubleError`.

    Nothing is kept open between two requests: each shows that the engine takes connections. No
    redirect is followed, and no proxy is used. Where the address is an IP address, which
    certificates hardly ever name, the certificate is not checked: it is this pod's own address.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout: float,
        completion_timeout: float,
        token_file: Path | None = None,
    ) -> None:
        self._root = target.root
        self._verified = not _is_ip_address(target.host)
        self._timeout, self._completion_timeout = timeout, completion_timeout
        self._token_file = token_file
        self._completes = COMPLETIONS

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, ssl=self._verified),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def check(self, path: str) -> None:
        """Ask its health route, which has to answer with 200."""
        await self._ask("GET", path, self._timeout)

    async def models(self) -> Any:
        """The JSON value of its list of models."""
        return _json(f"GET {MODELS}", await self._ask("GET", MODELS, self._timeout))

    async def metrics(self) -> str:
        """Its metrics, as they came."""
        return (await self._ask("GET", METRICS, self._timeout)).decode("utf-8", "replace")

    async def complete(self, model: str) -> None:
        """Have it make one token; by chat where there is no route for plain completions."""
        try:
            await self._complete_by(self._completes, model)
        except EngineTroubleError as error:
            if error.status not in NO_SUCH_ROUTE:
                raise
            other = CHAT if self._completes == COMPLETIONS else COMPLETIONS
            await self._complete_by(other, model)
            self._completes = other

    async def _complete_by(self, route: str, model: str) -> None:
        body: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0}
        if route == CHAT:
            body["messages"] = [{"role": "user", "content": "1"}]
        else:
            body["prompt"] = "1"
        raw = await self._ask("POST", route, self._completion_timeout, body)
        answer = _json(f"POST {route}", raw)
        if not isinstance(answer, Mapping) or not answer.get("choices"):
            raise EngineTroubleError(f"POST {route}", "an answer without a completion")

    async def _ask(self, method: str, path: str, seconds: float, body: Any = None) -> bytes:
        """The body of an answer with status 200."""
        what = f"{method} {path}"
        try:
            headers = {}
            if self._token_file is not None:
                token = self._token_file.read_text(encoding="utf-8").strip()
                headers["Authorization"] = f"Bearer {token}"
            async with self._session.request(
                method,
                URL(self._root + path),
                json=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                if response.status != 200:
                    raise EngineTroubleError(
                        what, f"HTTP {response.status}", status=response.status
                    )
                raw = await body_of(response, MAX_BODY_BYTES)
        except TimeoutError as error:
            raise EngineTroubleError(
                what, f"no answer within {seconds:g} s", timed_out=True
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            gone = isinstance(error, aiohttp.ClientConnectorError)
            raise EngineTroubleError(what, _reason(error), gone=gone) from error
        if raw is None:
            raise EngineTroubleError(what, f"an answer of more than {MAX_BODY_BYTES >> 20} MiB")
        return raw


def _json(what: str, raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EngineTroubleError(what, "an answer that is not JSON") from error


def _reason(error: Exception) -> str:
    """Why there was no answer, in words that stay the same while the reason does."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host name is not known"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return type(error).__name__


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
