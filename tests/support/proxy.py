"""Proxies on loopback between a client and an API server, to make the network misbehave.

`TcpProxy` passes bytes, so TLS runs through it end to end. `HoldingProxy` ends TLS itself and
sees requests, so a client certificate does not get through: its clients use bearer tokens. Both
live in the event loop that enters them, and none of their methods may be called from another
thread.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from controlplane.plane import ControlPlane
from controlplane.ports import free_port

HOST = "127.0.0.1"
CHUNK = 64 * 1024

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host"}
)


@dataclass
class _Connection:
    """`writers` are its two ends, the client's first; `flowing` is set unless it is stalled."""

    writers: list[asyncio.StreamWriter]
    flowing: asyncio.Event = field(default_factory=asyncio.Event)


class TcpProxy:
    """Forwards TCP connections to one target, until told to do otherwise.

    `cut` resets connections, `refuse` refuses new ones, `stall` falls silent, `stall_open` only on
    the connections that are open. Its `port` stays the same throughout.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._stalled = False
        self._listener: socket.socket | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self.port = 0
        self.accepted = 0
        """How many connections it has accepted so far."""

    async def __aenter__(self) -> Self:
        self.port = free_port()
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self.refuse()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address to give to a client of a TLS server behind it."""
        return f"https://{HOST}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open through it, stalled ones included."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset every open connection on both sides; new ones are served as before."""
        for task, connection in self._connections.items():
            for writer in connection.writers:
                _reset(writer)
            task.cancel()

    def refuse(self) -> None:
        """Refuse new connections; the open ones go on."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Accept new connections again."""
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port))
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    def stall(self) -> None:
        """Forward nothing in either direction; connections, new ones too, stay open and silent."""
        self._stalled = True
        self.stall_open()

    def stall_open(self) -> None:
        """The same for the connections that are open now; later ones are served as before."""
        for connection in self._connections.values():
            connection.flowing.clear()

    def resume(self) -> None:
        """Forward again, beginning with what was held back."""
        self._stalled = False
        for connection in self._connections.values():
            connection.flowing.set()

    def _take(self, listener: socket.socket) -> None:
        """Take a connection in. A server of asyncio's loses the ones it accepts as it is closed."""
        with contextlib.suppress(OSError):  # the client may be gone already
            connection, _ = listener.accept()
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        task = asyncio.current_task()
        assert task is not None
        if self._closed:
            _reset(writer)
            return
        self.accepted += 1
        self._connections[task] = connection = _Connection([writer])
        if not self._stalled:
            connection.flowing.set()
        try:
            await connection.flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            connection.writers.append(far_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer, connection.flowing))
                pumps.create_task(self._pump(far_reader, writer, connection.flowing))
        except* OSError:
            for broken in connection.writers:
                _reset(broken)
        except* asyncio.CancelledError:  # by `cut`
            pass
        finally:
            del self._connections[task]
            for each in connection.writers:
                each.close()

    @staticmethod
    async def _pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while data := await source.read(CHUNK):
            await flowing.wait()
            sink.write(data)
            await sink.drain()
        await flowing.wait()
        sink.write_eof()


@dataclass(frozen=True)
class Request:
    """One request as `HoldingProxy` saw it; of a repeated query parameter the last counts."""

    method: str
    path: str
    query: Mapping[str, str]


Predicate = Callable[[str, str, Mapping[str, str]], bool]
"""Gets a request's method, path and query."""


@dataclass
class Hold:
    """Requests held back: `reached` is set when the first arrives, `release` lets all go on."""

    predicate: Predicate
    stage: Literal["request", "response"]
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let held requests go on, and hold no more."""
        self.released.set()


@dataclass(frozen=True)
class _Answer:
    predicate: Predicate
    status: int
    body: bytes
    headers: Mapping[str, str]


class HoldingProxy:
    """A reverse proxy that can hold requests back or answer them in the API server's stead.

    Everything else goes through unchanged, watches chunk by chunk. A connection that breaks on
    the API server's side is broken on the client's side too. `requests` records all of them.
    """

    def __init__(
        self, upstream: str, trust: ssl.SSLContext, certificate: tuple[Path, Path]
    ) -> None:
        self._upstream = upstream.rstrip("/")
        self._trust = trust
        self._certificate = certificate
        self._holds: list[Hold] = []
        self._answers: list[_Answer] = []
        self._stack = contextlib.AsyncExitStack()
        self._session: aiohttp.ClientSession
        self.requests: list[Request] = []
        self.port = 0

    @classmethod
    def before(cls, plane: ControlPlane) -> Self:
        """A proxy before a control plane, with a certificate that the plane's clients trust."""
        trust = ssl.create_default_context(cadata=plane.ca_data.decode())
        return cls(plane.url, trust, plane.issue_server_cert())

    @property
    def url(self) -> str:
        """The address to give to a client, in `token_kubeconfig(server=...)`."""
        return f"https://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            )
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*self._certificate)
            server = web.Server(self._handle, handler_cancellation=True, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.callback(_abort_all, server)
            self.port = free_port()
            await web.TCPSite(runner, HOST, self.port, ssl_context=tls).start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        for _round in range(3):  # what was just being accepted becomes a connection only now
            _abort_those_of(self.port)
            await asyncio.sleep(0)

    def hold(self, predicate: Predicate, stage: Literal["request", "response"] = "request") -> Hold:
        """Hold back what matches until released.

        Held at the `request` stage the API server has not seen it yet; at the `response` stage
        it has been carried out and answered, and the client waits for an answer growing stale.
        """
        hold = Hold(predicate, stage)
        self._holds.append(hold)
        return hold

    def respond(
        self,
        predicate: Predicate,
        status: int,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer what matches, until `clear`; without a body, with a Kubernetes `Status`."""
        content = body if body is not None else _status(status)
        answer = _Answer(predicate, status, json.dumps(content).encode(), headers or {})
        self._answers.append(answer)

    def clear(self) -> None:
        """Release every hold and answer nothing any more."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        self._answers.clear()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Request(request.method, request.path, dict(request.query))
        self.requests.append(seen)
        for answer in self._answers:
            if answer.predicate(seen.method, seen.path, seen.query):
                return web.Response(
                    status=answer.status,
                    body=answer.body,
                    headers={"Content-Type": "application/json", **answer.headers},
                )
        await self._held(seen, "request")
        try:
            return await self._forward(request, seen)
        except (aiohttp.ClientError, OSError):
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from None

    async def _forward(self, request: web.BaseRequest, seen: Request) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            data=await request.content.read() or None,
            allow_redirects=False,
        ) as upstream:
            await self._held(seen, "response")
            response = web.StreamResponse(
                status=upstream.status, headers=_end_to_end(upstream.headers)
            )
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    async def _held(self, seen: Request, stage: Literal["request", "response"]) -> None:
        for hold in list(self._holds):
            if (
                hold.stage == stage
                and not hold.released.is_set()
                and hold.predicate(seen.method, seen.path, seen.query)
            ):
                hold.reached.set()
                await hold.released.wait()


def _abort_all(server: web.Server) -> None:
    """Break the clients' connections: a closing TLS handshake would wait for clients long gone."""
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()


def _abort_those_of(port: int) -> None:
    """Break the connections to a port that the server lost as it was closed, or that are ending.

    They would outlive the loop, and the garbage collector complains of them in some later test.
    """
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    for transport in list(transports.values()):
        if (transport.get_extra_info("sockname") or ())[:2] == (HOST, port):
            transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST instead of a FIN."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in _HOP_BY_HOP)


def _status(code: int) -> Mapping[str, object]:
    reason = {401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "answered by the test's proxy",
        "reason": reason.get(code, "InternalError"),
        "code": code,
    }
