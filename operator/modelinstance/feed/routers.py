"""What a feed needs of a router, and the requests that the adapters make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from modelinstance.client.bounded import body_of

TIMEOUT_SECONDS = 5.0
"""For a whole request."""
MAX_ANSWER_BYTES = 16 * 2**20


class RouterError(Exception):
    """A router did not do what it was asked for, or could not be asked."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a router: its URL in the router's spelling, and the router's name for it.

    ``model`` is what the router takes its model for, if it does so and knows.
    """

    url: str
    id: str
    model: str | None = None


class Router(Protocol):
    """A running router whose workers can be changed. Every call may raise `RouterError`."""

    @property
    def name(self) -> str:
        """What it is called in the log and the state file."""
        ...

    async def workers(self) -> Sequence[Worker]:
        """All its workers."""
        ...

    async def add(self, url: str) -> None:
        """Ask for a worker. It may come later, or not at all."""
        ...

    async def remove(self, worker: Worker) -> None:
        """Take a worker out: it gets no new requests, and those that run may end."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class RouterConnection:
    """Requests to one router at a base URL. ``token_file`` is as in `client.Connection`."""

    def __init__(self, url: str, token_file: Path | None) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        passes: frozenset[int] = frozenset(),
    ) -> bytes:
        """The body of the answer. Error statuses other than ``passes`` are a `RouterError`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        what = f"{method} {self.url}{path}"
        try:
            async with self._session.request(
                method,
                self.url + path,
                params=query,
                json=body,
                headers=self._headers(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as response:
                raw = await body_of(response, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise RouterError(f"{what}: no answer within {TIMEOUT_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # also an odd token or name
            raise RouterError(f"{what}: {str(error) or type(error).__name__}") from error
        if raw is None:
            raise RouterError(f"{what}: the answer is too long")
        if response.status >= 300 and response.status not in passes:
            said = raw[:200].decode(errors="replace")
            raise RouterError(f"{what}: HTTP {response.status}: {said}")
        return raw

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        token = self._token_file.read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {token}"}

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def parsed(what: str, raw: bytes) -> Any:
    """The JSON value of a router's answer. Raises `RouterError`."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RouterError(f"{what}: the answer is no JSON; is it the right kind?") from error
