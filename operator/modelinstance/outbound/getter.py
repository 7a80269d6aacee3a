"""An HTTP GET at an address that a user named."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Address

STEPS = 10
"""In how many parts a time limit runs out."""
STALL_SECONDS = 1.0
"""A process that looks at its clock so much later than it wanted to was stopped."""
HEAD_BYTES = 2**16
"""How much may come beside the body that is read: the head, TLS, any number of interim answers."""
HEADERS = {"User-Agent": "modelinstance-operator", "Accept-Encoding": "identity"}

ResultT = TypeVar("ResultT")


class ForbiddenAddressError(Exception):
    """No connection was made, as it may not be; the message says why, and what would allow it."""


class UnreachableError(Exception):
    """There was no answer; the message says what came instead.

    ``stalled``: this process was stopped meanwhile, so it may be the reason itself.
    """

    def __init__(self, why: str, *, stalled: bool = False) -> None:
        super().__init__(why)
        self.stalled = stalled


@dataclass(frozen=True, slots=True)
class Got:
    """An answer: its HTTP status, and the first bytes of its body."""

    status: int
    body: bytes


class Getter:
    """Makes GET requests, to no other addresses than a `Guard` allows. Use it in one event loop.

    A name is resolved once, and the connection goes to an address that was allowed: what the
    name's servers answer a moment later is never asked for. Redirects are answers like others.
    Nothing is sent but the request: no cookies, no credentials; no proxy of the environment's is
    used, and each request has a connection of its own.

    The certificate of an https server is not verified, nor does the kubelet for its probes: inside
    of a cluster most are self-signed, and nothing secret is sent.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def get(
        self,
        url: str,
        *,
        timeout: float,  # noqa: ASYNC109 - a limit in attended time, see `_within`
        limit: int,
    ) -> Got:
        """What is answered within so many seconds; of the body at most ``limit`` bytes.

        The time does not run while this process is stopped, nor while a name waits for others to
        be resolved first. Raises `ForbiddenAddressError`, `UnreachableError`, and ValueError for
        what is no URL.
        """
        target = URL(url)
        host = target.raw_host
        if target.scheme not in {"http", "https"} or not host:
            raise ValueError(f"{url!r} is no URL of a server: write http://host:port/path")
        await self._guard.ready()
        try:
            addresses = [ip_address(host)]
        except ValueError:
            lookup = await self._guard.lookup.begin(host)
            return await _within(timeout, self._resolve_and_ask(target, lookup, limit))
        return await _within(timeout, self._ask(target, addresses, limit))

    async def _resolve_and_ask(
        self, target: URL, lookup: asyncio.Future[list[Address]], limit: int
    ) -> Got:
        try:
            addresses = await lookup
        except OSError as error:
            raise UnreachableError(
                f"the name {target.raw_host} was not resolved: {error.strerror}"
            ) from error
        return await self._ask(target, addresses, limit)

    async def _ask(self, target: URL, addresses: Sequence[Address], limit: int) -> Got:
        host, port = target.raw_host, target.port or 0
        refusals = [self._guard.refusal(address, port) for address in addresses]
        allowed = [
            address for address, refusal in zip(addresses, refusals, strict=True) if refusal is None
        ]
        if not allowed:
            where = "" if host == str(addresses[0]) else f"{host} is at a forbidden address: "
            raise ForbiddenAddressError(f"{where}{refusals[0]}")
        try:
            async with (
                aiohttp.ClientSession(
                    connector=_connector(allowed, HEAD_BYTES + 2 * limit),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
                    headers=HEADERS,
                ) as session,
                session.get(target, allow_redirects=False) as response,
            ):
                return Got(response.status, await _beginning(response.content, limit))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(_what_came(error)) from error


class _Known(AbstractResolver):
    """Gives the addresses that were looked up and allowed."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver`; ``family`` is always that of all addresses."""
        del family
        return [
            ResolveResult(
                hostname=host, host=str(address), port=port, proto=0,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""


class _Bounded(socket.socket):
    """A socket that takes in so many bytes and no more, whatever they are.

    HTTP allows for any number of interim answers (1xx) before one: a server that sends nothing
    else would keep the event loop busy for as long as it is waited for.
    """

    left = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """See `socket.socket`. Raises `OSError` as well when there was enough."""
        data = super().recv(min(size, self._allowance()), flags)
        self.left -= len(data)
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Likewise."""
        count = super().recv_into(buffer, min(size or len(buffer), self._allowance()), flags)
        self.left -= count
        return count

    def _allowance(self) -> int:
        if self.left <= 0:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return self.left


def _connector(allowed: Sequence[Address], most: int) -> aiohttp.TCPConnector:
    """What connects to these addresses and to no others, and takes in so many bytes at most."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        # aiohttp asks no resolver for what it takes for an IP address: here all ways meet.
        if ip_address(info[4][0]) not in allowed:
            raise ForbiddenAddressError(f"{info[4][0]} is not the address that was allowed")
        bounded = _Bounded(info[0], info[1], info[2])
        bounded.left = most
        return bounded

    return aiohttp.TCPConnector(
        resolver=_Known(allowed),
        socket_factory=make,
        use_dns_cache=False,
        force_close=True,
        ssl=False,
    )


async def _within(seconds: float, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of a work, which is cancelled after so many seconds that were attended.

    They run out in parts, and to come late to one part uses up no more than that. So whatever
    keeps this process from its work, the work gets its turns before it is given up.
    """
    task = asyncio.create_task(work)
    part, stalled = seconds / STEPS, False
    try:
        for _ in range(STEPS):
            before = time.monotonic()
            await asyncio.wait({task}, timeout=part)
            stalled = stalled or time.monotonic() - before > part + STALL_SECONDS
            if task.done():
                break
        else:
            raise UnreachableError(f"no answer within {seconds:g} s", stalled=stalled)
        try:
            return task.result()
        except UnreachableError as error:
            raise UnreachableError(str(error), stalled=stalled) from error.__cause__
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _beginning(content: aiohttp.StreamReader, limit: int) -> bytes:
    """The first bytes of a body."""
    body = b""
    while len(body) < limit and (more := await content.read(limit - len(body))):
        body += more
    return body


def _what_came(error: aiohttp.ClientError | OSError | ValueError) -> str:
    """What came instead of an answer, in words that are ours: no server writes into statuses."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the connection was closed'}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    return "what came is no answer in HTTP"
