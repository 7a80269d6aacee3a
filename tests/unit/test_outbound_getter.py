"""GET requests to real servers on loopback, which misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.certificates import Authority
from modelinstance.outbound import getter as module
from modelinstance.outbound import lookup
from modelinstance.outbound.getter import ForbiddenAddressError, Getter, Got, UnreachableError
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks

HOST = "127.0.0.1"
LOOPBACK = Networks((ip_network("127.0.0.0/8"),))
GETADDRINFO = "modelinstance.outbound.lookup.socket.getaddrinfo"
SECONDS = 10.0
"""A time limit that is not to be reached."""
SETTLING = 10
"""Passes of the loop in which connections under way come and go."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request in its own way, and keeps what it was sent."""

    def __init__(self, answer: bytes | Answer = OK, tls: ssl.SSLContext | None = None) -> None:
        self._answer, self._tls = answer, tls
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[Any]] = set()
        self.arrived, self.asked, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        """End its connections with it, also one that is just being taken."""
        self._server.close()
        for _ in range(SETTLING):
            for writer in self.writers:
                writer.transport.abort()
            await asyncio.sleep(0)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self.writers)

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{HOST}:{self.port}/health"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self._serving |= {task for task in (asyncio.current_task(),) if task is not None}
        self.arrived.set()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            if isinstance(self._answer, bytes):
                writer.write(self._answer)
                await writer.drain()
            else:
                await self._answer(reader, writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the client hangs up
        self.gone.set()
        writer.close()


async def get(
    url: str, guard: Guard | None = None, *, seconds: float = SECONDS, limit: int = 0
) -> Got:
    return await Getter(guard or Guard(LOOPBACK)).get(url, timeout=seconds, limit=limit)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """What names resolve to: for each lookup the next list, and the last one from then on."""
    answers: dict[str, list[list[str]]] = {}

    def resolve(host: str, *rest: object, **options: object) -> list[Any]:
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        given = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0))
            for one in given
        ]

    monkeypatch.setattr(GETADDRINFO, resolve)
    return answers


# -- what is sent and what comes -----------------------------------------------------------------


async def test_an_answer_has_a_status_and_the_beginning_of_its_body() -> None:
    async with Server() as server:
        assert await get(server.url, limit=100) == Got(200, b"hello")
        assert await get(server.url, limit=2) == Got(200, b"he")
        assert await get(server.url) == Got(200, b"")
        assert server.connections == 3, "no connection is used again"


async def test_nothing_is_sent_but_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n")
    async with Server(cookie) as server:
        getter = Getter(Guard(LOOPBACK))
        for _ in range(2):
            await getter.get(f"{server.url}?a=%20b", timeout=SECONDS, limit=0)
        lines = server.requests[1].decode().split("\r\n")
        assert lines[0] == "GET /health?a=%20b HTTP/1.1"
        assert {line.split(":")[0] for line in lines[1:] if line} == {
            "Host", "User-Agent", "Accept", "Accept-Encoding", "Connection",
        }  # fmt: skip
        assert f"Host: {HOST}:{server.port}" in lines


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Server() as target:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {target.url}\r\nContent-Length: 0\r\n\r\n"
        async with Server(head.encode()) as server:
            assert await get(server.url) == Got(status, b"")
        assert target.connections == 0


def certified(folder: Path) -> ssl.SSLContext:
    """Of a server with a certificate of its own."""
    pair = Authority.create("nobody").issue_client("someone else")
    (folder / "pair.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "pair.pem")
    return context


async def test_a_certificate_that_nobody_vouches_for_will_do(tmp_path: Path) -> None:
    async with Server(tls=certified(tmp_path)) as server:
        assert await get(server.url, limit=9) == Got(200, b"hello")


async def test_plain_http_where_tls_is_asked_for_is_told_so() -> None:
    async with Server() as server:
        asking = asyncio.create_task(get(server.url.replace("http:", "https:")))
        await server.arrived.wait()
        server.writers[0].write(OK)
        with pytest.raises(UnreachableError, match=r"^TLS failed: \w+$"):
            await asking


# -- bounds --------------------------------------------------------------------------------------


async def test_an_endless_body_is_read_to_the_limit() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    async with Server(endless) as server:
        assert await get(server.url, limit=5000) == Got(200, b"x" * 5000)
        await asyncio.wait_for(server.gone.wait(), 5)


@pytest.mark.parametrize(
    "endless", [b"X: y\r\n", b"x" * 1024, b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["headers", "one header", "informational answers"],
)  # fmt: skip
async def test_an_endless_head_ends(endless: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" if endless[:1] in b"Xx" else b"")
        while True:
            writer.write(endless * 10)
            await writer.drain()

    async with Server(answer) as server:
        with pytest.raises(UnreachableError, match=r"no answer in HTTP|Message too long"):
            await get(server.url)
        await asyncio.wait_for(server.gone.wait(), 5)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_no_more_is_taken_in_than_an_answer_needs(
    encrypted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it is made of: interim answers could else come for as long as it waits."""
    monkeypatch.setattr(module, "HEAD_BYTES", 5000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
        writer.write(OK)
        await writer.drain()

    context = certified(tmp_path) if encrypted else None
    async with Server(answer, tls=context) as server:
        with pytest.raises(UnreachableError, match="Message too long"):
            await get(server.url)
        assert await get(server.url, limit=50_000) == Got(200, b"hello")


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_silence_ends_by_the_time_limit(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", SECONDS)
    async with Server(beginning) as server:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"^no answer within 0\.3 s$") as raised:
            await get(server.url, seconds=0.3, limit=9)
        assert 0.3 <= time.monotonic() - began < SECONDS
        assert not raised.value.stalled
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_a_bytewise_answer_ends_by_the_time_limit() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Server(drip) as server:
        with pytest.raises(UnreachableError, match="no answer within"):
            await get(server.url, seconds=0.3, limit=10_000)


async def test_a_name_that_is_not_resolved_in_time_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Event()

    def resolve(*name: object, **options: object) -> list[Any]:
        told.wait(30)
        return []

    monkeypatch.setattr(GETADDRINFO, resolve)
    try:
        with pytest.raises(UnreachableError, match="no answer within"):
            await get("http://slow.example:1/", seconds=0.1)
    finally:
        told.set()


async def test_cancelling_hangs_up() -> None:
    async with Server(b"") as server:
        asking = asyncio.create_task(get(server.url))
        await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(server.gone.wait(), 5)


# -- our own lateness ----------------------------------------------------------------------------


async def test_an_answer_in_time_counts_however_late_this_process_is() -> None:
    """The time limit has long passed on the clock, but not one part of it was attended."""
    async with Server(b"") as server:
        asking = asyncio.create_task(get(server.url, seconds=0.5, limit=5))
        await server.asked.wait()
        for _ in range(3):
            time.sleep(0.4)  # noqa: ASYNC251 - that is what this is about
            await asyncio.sleep(0)
        server.writers[0].write(OK)
        assert await asking == Got(200, b"hello")


async def test_a_failure_after_a_stall_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    async with Server(b"") as server:
        asking = asyncio.create_task(get(server.url, seconds=0.5))
        await server.asked.wait()
        time.sleep(0.3)  # noqa: ASYNC251 - that is what this is about
        with pytest.raises(UnreachableError) as raised:
            await asking
        assert raised.value.stalled


async def test_waiting_for_a_turn_to_resolve_a_name_costs_no_time(
    names: dict[str, list[list[str]]],
) -> None:
    guard = Guard(LOOPBACK)
    names["w.example"] = [[HOST]]
    async with Server() as server:
        free = guard.lookup._free
        for _ in range(lookup.MAX_LOOKUPS):
            await free.acquire()
        asking = asyncio.create_task(
            get(f"http://w.example:{server.port}/", guard, seconds=1, limit=5)
        )
        await asyncio.wait({asking}, timeout=1.5)
        assert not asking.done()
        free.release()
        assert await asking == Got(200, b"hello")


# -- where connections lead ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "what"),
    [
        (HOST, "loopback"), ("127.1", "loopback"), ("2130706433", "loopback"),
        ("0x7f.0.0.1", "loopback"), ("017700000001", "loopback"), ("localhost", "loopback"),
        ("LOCALHOST", "loopback"), ("[::1]", "loopback"), ("[::ffff:127.0.0.1]", "loopback"),
        ("[0:0:0:0:0:ffff:7f00:1]", "loopback"), ("[64:ff9b::7f00:1]", "loopback"),
        ("0.0.0.0", "no machine"), ("0", "no machine"), ("[::]", "no machine"),
        ("169.254.169.254", "link-local"), ("[fe80::1%25lo]", "link-local"),
        ("2852039166", "link-local"), ("0xa9fea9fe", "link-local"),
    ],
)  # fmt: skip
async def test_no_spelling_of_a_closed_address_is_connected_to(host: str, what: str) -> None:
    async with Server() as server:
        with pytest.raises(ForbiddenAddressError, match=what):
            await get(f"http://{host}:{server.port}/", Guard(Networks()))
        assert server.connections == 0


@pytest.mark.parametrize(
    "address", [HOST, "::1", "::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0", "fe80::1"]
)
async def test_a_name_of_a_closed_address_is_not_connected_to(
    address: str, names: dict[str, list[list[str]]]
) -> None:
    names["evil.example"] = [[address]]
    async with Server() as server:
        with pytest.raises(ForbiddenAddressError) as raised:
            await get(f"http://evil.example:{server.port}/", Guard(Networks()))
        assert server.connections == 0
    where = f"evil.example is at a forbidden address: {ip_address(address)} is "
    assert str(raised.value).startswith(where)


async def test_of_several_addresses_only_the_open_ones_are_tried(
    names: dict[str, list[list[str]]],
) -> None:
    names["both.example"] = [["127.0.0.1", "127.0.0.2"]]
    guard = Guard(Networks((ip_network("127.0.0.2/32"),)))
    async with Server() as server:
        with pytest.raises(UnreachableError, match="Connection refused"):
            await get(f"http://both.example:{server.port}/", guard)
        assert server.connections == 0


async def test_a_name_is_resolved_once_so_a_second_answer_has_no_chance(
    names: dict[str, list[list[str]]],
) -> None:
    names["rebind.example"] = [["127.0.0.2"], ["127.0.0.1"]]
    guard = Guard(Networks((ip_network("127.0.0.2/32"),)))
    async with Server() as server:
        url = f"http://rebind.example:{server.port}/"
        with pytest.raises(UnreachableError, match="Connection refused"):
            await get(url, guard)
        with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1"):
            await get(url, guard)
        assert server.connections == 0


async def test_the_socket_goes_to_no_other_address_than_was_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the HTTP library makes of a host."""
    monkeypatch.setattr(
        module._Known, "__init__",
        lambda self, addresses: setattr(self, "_addresses", [ip_address("127.0.0.2")]),
    )  # fmt: skip
    monkeypatch.setattr(lookup, "_resolve", lambda host: [ip_address("127.0.0.1")])
    async with Server() as server:
        with pytest.raises(ForbiddenAddressError, match="not the address that was allowed"):
            await get(f"http://w.example:{server.port}/")


async def test_the_api_server_is_not_connected_to() -> None:
    async with Server() as server:

        async def read() -> list[str]:
            return [server.url]

        guard = Guard(LOOPBACK, read)
        await guard.refresh()
        guard._asked.set()
        with pytest.raises(ForbiddenAddressError, match="the API server, which is never asked"):
            await get(server.url, guard)
        assert server.connections == 0


# -- what came instead ---------------------------------------------------------------------------


async def test_a_port_that_nobody_listens_on() -> None:
    async with Server() as server:
        port = server.port
    with pytest.raises(UnreachableError, match=r"^Connection refused$"):
        await get(f"http://{HOST}:{port}/")


async def test_a_name_that_nobody_knows(names: dict[str, list[list[str]]]) -> None:
    with pytest.raises(UnreachableError, match=r"^the name w\.example was not resolved: Name or"):
        await get("http://w.example:80/")


async def test_a_connection_that_is_closed_at_once() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with Server(close) as server:
        with pytest.raises(UnreachableError, match=r"^the connection was closed before an answer$"):
            await get(server.url)


async def test_words_of_the_server_come_into_no_message() -> None:
    async with Server(b"SSH-2.0-secret\r\n") as server:
        with pytest.raises(UnreachableError, match=r"^what came is no answer in HTTP$"):
            await get(server.url)


@pytest.mark.parametrize("url", ["", "10.0.0.5", "ftp://a/", "http:///x", "http://[", "//a:1/b"])
async def test_what_is_no_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its words are yarl's for some
        await get(url)


LINES = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK", b"HTTP/1.1 999 \xff", b"HTTP/9.9 200 OK", b"HTTP/1.1 101 Switch",
            b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 3",
            b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
            b"Content-Encoding: gzip", b"Set-Cookie: \xff=\x00; Domain=.", b"Set-Cookie: a=b; x",
            b"Connection: upgrade", b"Upgrade: websocket", b"Link: <http://[>; rel=next",
            b"Location: http://[", b"Content-Type: \xff/;;;charset=\x01", b": empty", b"", b"zz",
            b"\x00", b"Date",
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
)  # fmt: skip


@given(LINES, st.booleans())
@settings(max_examples=150)
async def test_whatever_comes_is_an_answer_or_unreachable(lines: list[bytes], ok: bool) -> None:
    """Nothing else may come out of it: it would end the operator."""
    text = b"\r\n".join([b"HTTP/1.1 200 OK"] * ok + lines) + b"\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.write_eof()

    async with Server(answer) as server:
        try:
            got = await get(server.url, limit=50)
        except UnreachableError:
            return
        assert len(got.body) <= 50
