"""What the client sends for a worker, and what it makes of answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelinstance.client import (
    Connection,
    Heard,
    Load,
    Pod,
    Registered,
    Registration,
    RegistryUnavailableError,
    WorkerClient,
)
from modelinstance.client.workers import has_ended

KNOWN = Registered("ns", "m-1", "0123456789abcdef", True, "", 120.0)
REGISTERED = {
    "namespace": "ns", "name": "m-1", "incarnation": "0123456789abcdef", "stored": True,
    "detail": "", "heartbeatTimeoutSeconds": 120.0, "phase": "Healthy",
}  # fmt: skip


@dataclass
class Scripted:
    """A server that answers everything alike, and remembers what it was asked."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stalls: bool = False
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.requests.append(
            (request.method, str(request.rel_url), json.loads(raw) if raw else None)
        )
        self.tokens.append(request.headers.get("Authorization"))
        if self.stalls:
            await asyncio.Event().wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)

    def say(self, body: Any) -> None:
        self.body = json.dumps(body).encode()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.answer)
    async with TestServer(app, shutdown_timeout=0.1) as running:
        scripted.url = str(running.make_url("/")).rstrip("/")
        yield scripted


@pytest.fixture
async def client(server: Scripted) -> AsyncIterator[WorkerClient]:
    async with Connection(server.url, timeout=5) as connection:
        yield WorkerClient(connection)


async def test_a_registration(server: Scripted, client: WorkerClient) -> None:
    server.say(REGISTERED)
    assert await client.register(Registration("m", "10.0.0.5", 8000)) == KNOWN
    full = Registration(
        "m", "fd00::5", 443, "ns", "https", "/v1", ("a", "b"), 0.5, {"tier": "gold"}, 30,
        Pod("p-0", "u-1"),
    )  # fmt: skip
    await client.register(full, Load(1, 2, 0.5))
    plain = {
        "model": "m", "aliases": [], "host": "10.0.0.5", "port": 8000, "scheme": "http",
        "basePath": "", "weight": 1.0, "labels": {},
    }  # fmt: skip
    assert server.requests == [
        ("POST", "/api/v1/instances", plain),
        (
            "POST",
            "/api/v1/instances",
            {
                "model": "m", "aliases": ["a", "b"], "host": "fd00::5", "port": 443,
                "scheme": "https", "basePath": "/v1", "weight": 0.5, "labels": {"tier": "gold"},
                "namespace": "ns", "heartbeat": {"timeoutSeconds": 30},
                "pod": {"name": "p-0", "uid": "u-1"},
                "load": {"running": 1, "waiting": 2, "kvCache": 0.5},
            },
        ),
    ]  # fmt: skip


async def test_a_heartbeat(server: Scripted, client: WorkerClient) -> None:
    server.say({"incarnation": "fedcba9876543210", "result": "registered"})
    registration = Registration("m", "h", 1)
    assert await client.beat("0" * 16) == Heard("fedcba9876543210", "registered")
    await client.beat("0" * 16, load=Load(1), failure="x" * 2000, registration=registration)
    bare, full = (body for _, _, body in server.requests)
    assert bare == {"incarnation": "0" * 16}
    assert full == {
        "incarnation": "0" * 16, "load": {"running": 1, "waiting": 0.0}, "failure": "x" * 1024,
        "registration": registration.body(),
    }  # fmt: skip


async def test_a_drain_and_a_goodbye_name_the_incarnation(
    server: Scripted, client: WorkerClient
) -> None:
    await client.drain(KNOWN)
    await client.deregister(KNOWN)
    assert server.requests == [
        ("POST", "/api/v1/instances/ns/m-1/drain?incarnation=0123456789abcdef", None),
        ("DELETE", "/api/v1/instances/ns/m-1?incarnation=0123456789abcdef", None),
    ]


async def test_whether_it_is_drained(server: Scripted, client: WorkerClient) -> None:
    for phase in ("Draining", "Healthy"):
        server.say({"phase": phase})
        assert await client.is_draining(KNOWN) == (phase == "Draining")
    assert server.requests[-1][:2] == ("GET", "/api/v1/instances/ns/m-1")
    server.say({})
    with pytest.raises(RegistryUnavailableError, match="phase is missing or odd"):
        await client.is_draining(KNOWN)


@pytest.mark.parametrize(
    "change",
    [
        {"stored": 1},
        {"name": None},
        {"heartbeatTimeoutSeconds": "1"},
        {"heartbeatTimeoutSeconds": True},
        {"heartbeatTimeoutSeconds": 10**400},
        {"incarnation": 7},
    ],
)
async def test_an_odd_answer_is_none(
    change: dict[str, Any], server: Scripted, client: WorkerClient
) -> None:
    server.say(REGISTERED | change)
    with pytest.raises(RegistryUnavailableError, match=f"{next(iter(change))} is missing or odd"):
        await client.register(Registration("m", "h", 1))
    server.say([REGISTERED])
    with pytest.raises(RegistryUnavailableError, match="incarnation is missing or odd") as odd:
        await client.beat("0" * 16)
    assert odd.value.passing


async def test_an_error_says_what_was_answered(server: Scripted, client: WorkerClient) -> None:
    server.status, server.headers = 503, {"Retry-After": "7"}
    server.say({"title": "Service Unavailable", "detail": "come again"})
    with pytest.raises(RegistryUnavailableError) as refused:
        await client.beat("0" * 16)
    assert str(refused.value) == (f"POST /api/v1/heartbeats of {server.url}: HTTP 503: come again")
    error = refused.value
    assert (error.status, error.passing, error.retry_after) == (503, True, 7.0)
    for status, ended in ((404, True), (409, True), (410, True), (401, False), (422, False)):
        late = {"Retry-After": "soon" if ended else "nan"}
        server.status, server.headers, server.body = status, late, b"<html>"
        with pytest.raises(RegistryUnavailableError, match=f"HTTP {status}: no expl") as refused:
            await client.drain(KNOWN)
        assert (refused.value.passing, has_ended(refused.value)) == (False, ended)
        assert refused.value.retry_after == 0


async def test_a_redirect_is_an_error_and_not_followed(
    server: Scripted, client: WorkerClient
) -> None:
    server.status, server.headers = 307, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(RegistryUnavailableError, match="HTTP 307"):
        await client.beat("0" * 16)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_no_answer(
    body: bytes, server: Scripted, client: WorkerClient
) -> None:
    server.body = body
    with pytest.raises(RegistryUnavailableError, match="the answer is not one of a registry"):
        await client.drain(KNOWN)


async def test_an_answer_has_its_time_and_its_length(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelinstance.client.connection.MAX_ANSWER_BYTES", 1000)
    server.body = b" " * 1001
    async with Connection(server.url, timeout=5) as connection:
        with pytest.raises(RegistryUnavailableError, match="the answer is too long"):
            await WorkerClient(connection).drain(KNOWN)
    async with Connection(server.url, timeout=0.3) as connection:
        client = WorkerClient(connection)
        server.stalls = True
        with pytest.raises(RegistryUnavailableError, match="no answer in time") as late:
            await client.drain(KNOWN)
    assert (late.value.status, late.value.passing) == (None, True)


async def test_nobody_there(client: WorkerClient) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with Connection(url, timeout=5) as connection:
            with pytest.raises(RegistryUnavailableError) as refused:
                await WorkerClient(connection).drain(KNOWN)
    assert refused.value.passing


async def test_a_token_is_read_anew_and_never_shown(server: Scripted, tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with Connection(server.url, token_file=token, timeout=5) as connection:
        client = WorkerClient(connection)
        with pytest.raises(RegistryUnavailableError, match="No such file") as missing:
            await client.drain(KNOWN)
        assert missing.value.passing
        for text in ("first\n", "second"):
            token.write_text(text, encoding="utf-8")
            await client.drain(KNOWN)
        token.write_text("sec\nret", encoding="utf-8")
        with pytest.raises(RegistryUnavailableError) as odd:
            await client.drain(KNOWN)
    assert server.tokens == ["Bearer first", "Bearer second"]
    assert "sec" not in str(odd.value)


async def test_one_address_of_a_name(server: Scripted) -> None:
    port = server.url.rpartition(":")[2]
    url = f"http://registry.example:{port}/prefix/"
    async with Connection(url, address="127.0.0.1", timeout=5) as connection:
        await WorkerClient(connection).drain(KNOWN)
        assert str(connection) == f"http://registry.example:{port}/prefix at 127.0.0.1"
    (asked,) = server.requests
    assert asked[1].startswith("/prefix/api/v1/instances/ns/m-1/drain")
