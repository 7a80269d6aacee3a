"""Where the API servers are, as far as they tell."""

from __future__ import annotations

import logging

from modelinstance.cluster.access import Access, AccessError
from modelinstance.cluster.client import FORBIDDEN, NOT_FOUND, ClusterClient, ClusterError
from modelinstance.notices import Notices

logger = logging.getLogger(__name__)

ALL, ONE = "the addresses of all API servers", "the API server's own address"


class Servers:
    """Asks where the API servers are.

    ``of_all`` is whether the operator has the right to read the endpoints of their Service. Beside
    that, and where this is refused or not there, each tells of itself alone. So each time a
    connection of its own is made: behind a balancer it may lead to another.
    """

    def __init__(self, access: Access, *, of_all: bool) -> None:
        self._access = access
        self._of_all = of_all
        self._notices = Notices(logger)

    async def addresses(self) -> list[str]:
        """The addresses that are told, as URLs or as ``host:port``."""
        found: list[str] = []
        try:
            found.append((await self._access.configuration()).host or "")
        except AccessError as error:
            self._notices.tell(ONE, str(error))
            return found
        client = ClusterClient(self._access)
        try:
            if self._of_all:
                found += await self._all(client)
            found += await client.server_addresses()
        except ClusterError as error:
            self._notices.tell(ONE, str(error))
        else:
            self._notices.settle(ONE, "it is told again")
        finally:
            await client.close()
        return found

    async def _all(self, client: ClusterClient) -> list[str]:
        try:
            found = await client.all_server_addresses()
        except ClusterError as error:
            hint = ""
            if error.status in {FORBIDDEN, NOT_FOUND}:
                hint = "; each tells of itself alone, so another may be known only later"
            self._notices.tell(ALL, f"{error}{hint}")
            return []
        self._notices.settle(ALL, "they are told again")
        return found
