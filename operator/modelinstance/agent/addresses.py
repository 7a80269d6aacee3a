"""Where the registries are: every address of every name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from modelinstance.notices import Notices

RESOLVE_SECONDS = 10.0
MAX_ADDRESSES = 64
"""More of one name are left out: an agent tells replicas, and there are few."""


@dataclass(frozen=True, slots=True)
class Place:
    """One replica: the URL of a registry, and one of the IP addresses of its host."""

    url: str
    address: str


async def places(urls: Iterable[str], notices: Notices) -> dict[str, list[Place]]:
    """The places of each URL whose host can be resolved now; what fails is told."""
    found = {}
    for url in urls:
        subject = f"registry {url}"
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                addresses = await _addresses(url)
        except TimeoutError:
            notices.tell(subject, "its host name was not resolved in time; it is tried again")
        except OSError as error:
            notices.tell(subject, f"its host name is not resolved: {error.strerror or error}")
        except UnicodeError:  # of Python's own encoding of names: a label is empty or too long
            notices.tell(subject, "its host name is none")
        else:
            notices.settle(subject, f"resolved to {', '.join(addresses)}")
            found[url] = [Place(url, address) for address in addresses]
    return found


async def _addresses(url: str) -> list[str]:
    """The addresses of a URL's host, in their order."""
    parsed, loop = URL(url), asyncio.get_running_loop()
    answers = await loop.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))[:MAX_ADDRESSES]
