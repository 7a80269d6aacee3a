"""What is served behind the protocol that reads its connections, in memory: no sockets.

What is asked by ASGI is written as HTTP, read by the protocol, and what it writes is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.hot import ShortProtocol
from modelinstance.standalone import StandaloneDesk


class Wire(asyncio.Transport):
    """The server's end of a connection; what it writes is parsed as an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._closing = False

    def write(self, data: Any) -> None:
        self._parser.feed_data(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self.ended.set()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """There is nothing to pause: all is read already."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended.set()


def by(way: str, endpoint: Endpoint) -> ASGIApp:
    """An endpoint by its documented way, or by the short way before it."""
    if way == "documented":
        return endpoint.documented
    return over_the_wire(endpoint.app, endpoint.protocol)


def over_the_wire(served: ASGIApp, protocol_of: Callable[..., ShortProtocol]) -> ASGIApp:
    """What a protocol serves; each request comes on a connection of its own."""
    config = uvicorn.Config(
        served, log_config=None, access_log=False, lifespan="off", interface="asgi3",
        proxy_headers=False,
    )  # fmt: skip
    config.load()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        protocol = protocol_of(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        wire = Wire()
        protocol.connection_made(wire)
        path = scope.get("raw_path") or scope["path"].encode()
        target = path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
        lines = [b"%b: %b\r\n" % pair for pair in (*headers, (b"transfer-encoding", b"chunked"))]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (scope["method"].encode(), target, b"".join(lines))
        protocol.data_received(head)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                protocol.connection_lost(None)
                return
            part, more = message.get("body", b""), message.get("more_body", False)
            if part:
                protocol.data_received(b"%x\r\n%b\r\n" % (len(part), part))
        protocol.data_received(b"0\r\n\r\n")
        await wire.ended.wait()
        protocol.connection_lost(None)
        await asyncio.sleep(0)  # the loop forgets the timers of the connection
        names = [(name, value) for name, value in wire.headers if name != b"transfer-encoding"]
        await send({"type": "http.response.start", "status": wire.status, "headers": names})
        await send({"type": "http.response.body", "body": wire.body})

    return app


def client_of(desk: StandaloneDesk) -> httpx.AsyncClient:
    """A client of the application over a registry, which lets everyone in; to be closed."""
    endpoint = Endpoint(desk, lambda: (b"", ""), OpenAccess())
    transport = httpx.ASGITransport(endpoint.app)
    return httpx.AsyncClient(transport=transport, base_url="http://registry")
