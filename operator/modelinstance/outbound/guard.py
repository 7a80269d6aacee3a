"""What may be connected to at this moment: the networks, and where the API server is just now."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from modelinstance.outbound.lookup import Lookup
from modelinstance.outbound.networks import Address, Endpoint, Networks

logger = logging.getLogger(__name__)

REREAD_SECONDS = 60.0
"""How often it is asked anew where the API server is."""
FORGET_SECONDS = 3600.0
"""For how long an address is taken for the API server's after it was last told."""
HTTPS_PORT = 443

ReadServers = Callable[[], Awaitable[Iterable[str]]]
"""Gives the addresses of the API server that are known, as URLs or as ``host:port``."""


class Guard:
    """Says which connections may be made. Use it in one event loop.

    The API server is known by addresses and ports: those of the variables KUBERNETES_SERVICE_HOST
    and KUBERNETES_SERVICE_PORT, which are the Service's, and those that ``read`` gives: where the
    operator reaches it, the endpoints of the Service, and what it calls its own address. Where the
    operator may not read the endpoints, each of several API servers tells of itself alone. So all
    that was told in the last hour counts. Not known are then an API server that has not answered
    yet, and ever further ways to one, such as a load balancer or a port of a node: a connection
    there carries no credentials, as none does.
    """

    def __init__(self, networks: Networks, read: ReadServers | None = None) -> None:
        self.networks = networks
        self.lookup = Lookup()
        self._read = read
        self._told: dict[Endpoint, float] = {}
        self._asked = asyncio.Event()
        if read is None:
            self._asked.set()

    async def ready(self) -> None:
        """Wait until it was asked once where the API server is, whatever came of that."""
        await self._asked.wait()

    def refusal(self, address: Address, port: int) -> str | None:
        """See `Networks`."""
        return self.networks.refusal(address, port)

    async def follow(self) -> None:
        """Ask again and again where the API server is, until cancelled."""
        while True:
            await self.refresh()
            self._asked.set()
            await asyncio.sleep(REREAD_SECONDS)

    async def refresh(self) -> None:
        """Ask where the API server is now."""
        places = [] if self._read is None else [*await self._read()]
        host, port = map(os.environ.get, ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"))
        if host:
            places.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        for place in places:
            for endpoint in await self._endpoints(place):
                self._told[endpoint] = time.monotonic()
        oldest = time.monotonic() - FORGET_SECONDS
        self._told = {endpoint: at for endpoint, at in self._told.items() if at >= oldest}
        self.networks = replace(self.networks, servers=frozenset(self._told))

    async def _endpoints(self, place: str) -> list[Endpoint]:
        try:
            url = urlsplit(place if "://" in place else f"https://{place}")
            host, port = url.hostname or "", url.port or HTTPS_PORT
        except ValueError:
            logger.warning("%r is told to be the API server's address, and is none", place)
            return []
        try:
            return [(ip_address(host), port)]
        except ValueError:
            pass
        try:
            found = await (await self.lookup.begin(host))
        except OSError as error:
            logger.warning("the API server's name %s is not known: %s", host, error)
            return []
        return [(address, port) for address in found]
