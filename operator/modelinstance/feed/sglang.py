"""The router of SGLang (``sglang-router``): workers are resources with ids."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from modelinstance.feed.routers import RouterConnection, RouterError, Worker, parsed

WORKERS = "/workers"
UNKNOWN = "unknown"
"""The model of an engine that has not told it."""


class SGLangRouter:
    """A `Router`. It takes an addition at once, asks the engine, and then lists the worker."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._connection = RouterConnection(url, token_file)
        self.name = f"sglang={self._connection.url}"

    async def workers(self) -> Sequence[Worker]:
        """All its workers."""
        body = parsed(self.name, await self._connection.request("GET", WORKERS))
        try:
            return [
                Worker(str(item["url"]), str(item["id"]), _model(item.get("model_id")))
                for item in body["workers"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise RouterError(f"{self.name}: GET {WORKERS} answered no list of workers") from error

    async def add(self, url: str) -> None:
        """Ask for a worker; one that is there already is no error."""
        await self._connection.request("POST", WORKERS, body={"url": url})

    async def remove(self, worker: Worker) -> None:
        """Take a worker out; one that is not there is no error."""
        passes = frozenset({HTTPStatus.NOT_FOUND})
        await self._connection.request("DELETE", f"{WORKERS}/{worker.id}", passes=passes)

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()


def _model(value: object) -> str | None:
    return value if isinstance(value, str) and value != UNKNOWN else None
