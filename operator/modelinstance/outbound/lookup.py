"""Resolving the names of hosts, so that one name's slow servers do not hold up the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address

from modelinstance.outbound.networks import Address

MAX_LOOKUPS = 128
"""How many names are looked up at a time, each in a thread of its own."""


class Lookup:
    """Asks the system's resolver for the addresses of names. Use it in one event loop.

    The system's call can be neither interrupted nor given a time limit. So each one has a thread,
    which nothing waits for at the end of the process, and keeps its place among the `MAX_LOOKUPS`
    until it is over, even when nobody waits for it any more.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_LOOKUPS)

    async def begin(self, host: str) -> asyncio.Future[list[Address]]:
        """Wait until it is this name's turn, and give what will hold its addresses.

        It will raise OSError where there are none.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Address]] = loop.create_future()

        def settle(result: list[Address] | OSError) -> None:
            self._free.release()
            if found.done():  # nobody waits for it any more
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def ask() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, _resolve(host))

        threading.Thread(target=ask, name=f"lookup of {host}", daemon=True).start()
        return found


def _resolve(host: str) -> list[Address] | OSError:
    """What the system answers."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = [ip_address(text) for text in dict.fromkeys(str(info[4][0]) for info in infos)]
    except OSError as error:
        return error
    except ValueError:  # of Python's own encoding of names: a label is empty or too long
        return OSError(None, "This is no host name")
    return found or OSError(None, "It has no address")
