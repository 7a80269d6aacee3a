"""The router of vLLM (``vllm-router``): workers are known by their URLs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelinstance.feed.routers import RouterConnection, RouterError, Worker, parsed

LIST, ADD, REMOVE = "/list_workers", "/add_worker", "/remove_worker"


class VLLMRouter:
    """A `Router`. It takes an addition, and answers, when the engine has answered."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._connection = RouterConnection(url, token_file)
        self.name = f"vllm={self._connection.url}"

    async def workers(self) -> Sequence[Worker]:
        """All its workers."""
        body = parsed(self.name, await self._connection.request("GET", LIST))
        try:
            return [Worker(str(url), str(url)) for url in body["urls"]]
        except (KeyError, TypeError) as error:
            raise RouterError(f"{self.name}: GET {LIST} answered no list of workers") from error

    async def add(self, url: str) -> None:
        """Ask for a worker, and wait for its engine.

        The router gives up when nobody waits any more, which is as well: by itself it looks at an
        engine again after half a minute, and at once when it is asked again.
        """
        await self._connection.request("POST", ADD, query={"url": url})

    async def remove(self, worker: Worker) -> None:
        """Take a worker out; one that is not there is no error."""
        await self._connection.request("POST", REMOVE, query={"url": worker.id})

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()
