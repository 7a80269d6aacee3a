"""Limits on the reading of a request, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from modelinstance.http import patience
from modelinstance.http.patience import MAX_BODY_BYTES, MAX_HEAD_BYTES, ImpatientProtocol

HEAD = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
LONG = b"a" * MAX_HEAD_BYTES
TOO_MUCH = b"content-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (MAX_BODY_BYTES, b"x" * MAX_BODY_BYTES)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers with its length."""
    assert scope["type"] == "http"
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of another's making
            await asyncio.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for a request no longer than a third of a second."""
    monkeypatch.setattr(patience, "READ_SECONDS", 0.3)


@pytest.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    """A server that waits for a request."""
    config = uvicorn.Config(
        app, http=ImpatientProtocol, log_config=None, access_log=False, lifespan="off", ws="none"
    )
    made = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(made._serve([listener]))
    await until(lambda: made.started)
    yield made
    made.should_exit = True
    await serving


async def exchange(server: uvicorn.Server, *parts: bytes) -> bytes:
    """Send the parts one by one, as long as the server listens, and read what it says."""
    address = server.servers[0].sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02 if len(parts) > 1 else 0)
        answer = await reader.read()
    except OSError:  # it has closed the connection, and answered before
        pass
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        pytest.param(HEAD + b"\r\n", b"HTTP/1.1 200 OK", id="small"),
        pytest.param(HEAD + b"x: " + LONG + b"\r\n\r\n", b"HTTP/1.1 431", id="head"),
        pytest.param(b"GET /" + LONG, b"HTTP/1.1 431", id="url"),
        pytest.param(POST + TOO_MUCH, b"HTTP/1.1 413", id="length"),
        pytest.param(POST + CHUNKED + CHUNK + CHUNK, b"HTTP/1.1 413", id="chunks"),
        pytest.param(POST + b"content-length: 9\r\n\r\nabc", b"HTTP/1.1 408", id="body missing"),
        pytest.param(HEAD, b"HTTP/1.1 408", id="head unfinished"),
        pytest.param(b"\xff\xfe\r\n\r\n", b"HTTP/1.1 400", id="no HTTP"),
    ],
)
async def test_a_request_is_understood_or_refused(
    server: uvicorn.Server, request_bytes: bytes, answer: bytes, request: pytest.FixtureRequest
) -> None:
    if answer.endswith(b" 408"):
        request.getfixturevalue("impatient")
    assert (await exchange(server, request_bytes)).startswith(answer)


async def test_a_body_of_the_largest_size_is_taken(server: uvicorn.Server) -> None:
    head = POST + b"content-length: %d\r\n\r\n" % MAX_BODY_BYTES
    answer = await exchange(server, head + b"x" * MAX_BODY_BYTES)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(str(MAX_BODY_BYTES).encode())


@pytest.mark.usefixtures("impatient")
async def test_refusals_are_problems(server: uvicorn.Server) -> None:
    answer = await exchange(server, HEAD)
    assert b"content-type: application/problem+json" in answer
    assert b'"status":408' in answer


@pytest.mark.usefixtures("impatient")
async def test_trickling_senders_are_sent_away_and_others_are_served_meanwhile(
    server: uvicorn.Server,
) -> None:
    trickle = [bytes([byte]) for byte in HEAD]
    tricklers = [asyncio.create_task(exchange(server, *trickle)) for _ in range(50)]
    for tries_left in (2, 1, 0):  # a slow machine may be too late itself
        if (answer := await exchange(server, HEAD + b"\r\n")).startswith(b"HTTP/1.1 200 OK"):
            break
        assert tries_left, answer
    await asyncio.gather(*tricklers)
    await until(lambda: not server.server_state.connections)


@pytest.mark.usefixtures("impatient")
async def test_requests_on_one_connection_each_have_their_own_time(server: uvicorn.Server) -> None:
    one = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    address = server.servers[0].sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(4):
        writer.write(one)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(1) == b"0"
        await asyncio.sleep(0.15)
    writer.close()
