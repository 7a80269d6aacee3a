"""The links to all registries: one for each address, as their names are resolved."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from random import Random

from modelinstance.agent.addresses import Place, places
from modelinstance.agent.link import Describe, Link
from modelinstance.agent.state import Word, jittered
from modelinstance.client.connection import Connection
from modelinstance.client.workers import WorkerClient
from modelinstance.notices import Notices

logger = logging.getLogger("modelinstance.agent")

RESOLVE_INTERVAL = 30.0
UNRESOLVED_INTERVAL = 2.0
"""How soon it is tried again while a name has no address, in seconds."""


class Links:
    """Keeps a link to every address of the registries' URLs.

    An address that the name has no more is given up when it does not answer either: a replica that
    is unready for a moment goes on being told. ``timeout`` is in seconds, for a request; for
    ``period`` and ``silence`` see `Link`.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        describe: Describe,
        *,
        period: float,
        silence: float,
        timeout: float,
        token_file: Path | None,
        random: Random,
        notices: Notices,
    ) -> None:
        self._urls = urls
        self._describe = describe
        self._period = period
        self._silence = silence
        self._timeout = timeout
        self._token_file = token_file
        self._random = random
        self._notices = notices
        self._word: Word | None = None
        self._links: dict[Place, tuple[Link, Connection, asyncio.Task[None]]] = {}
        self._began: set[str] = set()

    @property
    def registered(self) -> bool:
        """Whether any registry knows this worker."""
        return any(link.registered for link, _, _ in self._links.values())

    def tell(self, word: Word | None) -> None:
        """Tell all of them."""
        self._word = word
        for link, _, _ in self._links.values():
            link.tell(word)

    def drain(self) -> None:
        """Ask all of them for no new requests."""
        for link, _, _ in self._links.values():
            link.drain()

    async def leave(self) -> None:
        """Say goodbye to all of them; it takes two timeouts at most."""
        for link, _, _ in self._links.values():
            link.leave()
        if tasks := [task for _, _, task in self._links.values()]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End all of them as they are."""
        for place in list(self._links):
            await self._end(place)

    async def follow(self) -> None:
        """Resolve the names now and then, until cancelled."""
        while True:
            found = await places(self._urls, self._notices)
            for url, now_there in found.items():
                await self._keep(url, now_there)
            missing = len(found) < len(self._urls)
            interval = UNRESOLVED_INTERVAL if missing else RESOLVE_INTERVAL
            await asyncio.sleep(jittered(interval, self._random))

    async def _keep(self, url: str, now_there: list[Place]) -> None:
        for place in now_there:
            if place not in self._links:
                self._begin(place, others_begin_as_well=url in self._began)
        self._began.add(url)
        for place, (link, _, _) in list(self._links.items()):
            if place.url == url and place not in now_there and link.failing:
                logger.info("registry %s: %s is given up", url, place.address)
                await self._end(place)

    def _begin(self, place: Place, *, others_begin_as_well: bool) -> None:
        connection = Connection(
            place.url, address=place.address, token_file=self._token_file, timeout=self._timeout
        )
        link = Link(
            WorkerClient(connection),
            self._describe,
            period=self._period,
            silence=self._silence,
            random=self._random,
            now=time.monotonic,
            notices=self._notices,
        )
        if others_begin_as_well:
            link.wait_at_random()
        link.tell(self._word)
        task = asyncio.create_task(link.run(), name=f"link to {place.url} at {place.address}")
        self._links[place] = (link, connection, task)

    async def _end(self, place: Place) -> None:
        """End a link as it is; what is cancelled meanwhile is left to `close`."""
        _, connection, task = self._links[place]
        task.cancel()
        await asyncio.wait([task])
        await connection.close()
        del self._links[place]
