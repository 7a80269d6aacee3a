"""How an engine is asked, and what is no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from modelinstance.agent.engine import MAX_BODY_BYTES, Engine, EngineTroubleError
from modelinstance.agent.settings import Target
from support.engine import CHAT, COMPLETIONS, HEALTH, METRICS, MODELS, FakeEngine, Fault


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    async with FakeEngine("a") as running:
        yield running


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[Engine]:
    async with beside(fake) as asking:
        yield asking


def beside(fake: FakeEngine, seconds: float = 30.0, **settings: Path) -> Engine:
    target = Target(fake.host, fake.port)
    return Engine(target, timeout=seconds, completion_timeout=seconds, **settings)


async def trouble(asked: Awaitable[object]) -> EngineTroubleError:
    with pytest.raises(EngineTroubleError) as raised:
        await asked
    return raised.value


async def test_what_a_well_engine_answers(fake: FakeEngine, engine: Engine) -> None:
    await engine.check("/health")
    assert (await engine.models())["data"][0]["id"] == "m"
    assert "vllm:num_requests_running" in await engine.metrics()
    await engine.complete("m")
    assert fake.requests == {HEALTH: 1, MODELS: 1, METRICS: 1, COMPLETIONS: 1}
    assert fake.bodies == [{"model": "m", "prompt": "1", "max_tokens": 1, "temperature": 0}]


async def test_chat_is_asked_for_where_there_are_no_plain_completions(
    fake: FakeEngine, engine: Engine
) -> None:
    fake.missing = {COMPLETIONS}
    await engine.complete("m")
    await engine.complete("m")
    assert fake.requests == {COMPLETIONS: 1, CHAT: 2}
    assert fake.bodies[-1]["messages"] == [{"role": "user", "content": "1"}]
    fake.missing = {CHAT}
    await engine.complete("m")
    fake.missing = {CHAT, COMPLETIONS}
    assert "/completions: HTTP 404" in str(await trouble(engine.complete("m")))


Ask = Callable[[Engine], Awaitable[object]]
ASKS: dict[str, tuple[str, Ask]] = {
    HEALTH: ("GET /health", lambda engine: engine.check(HEALTH)),
    MODELS: ("GET /v1/models", lambda engine: engine.models()),
    METRICS: ("GET /metrics", lambda engine: engine.metrics()),
    COMPLETIONS: ("POST /v1/completions", lambda engine: engine.complete("m")),
}


@pytest.mark.parametrize("route", ASKS)
async def test_what_comes_instead(route: str, fake: FakeEngine, engine: Engine) -> None:
    what, ask = ASKS[route]
    for status in (500, 503, 401, 204, 307):
        fake.fail(route, status, "")
        assert str(await trouble(ask(engine))) == f"{what}: HTTP {status}"
    fake.hang(route)
    async with beside(fake, 0.4) as hasty:
        late = await trouble(ask(hasty))
    assert (str(late), late.timed_out) == (f"{what}: no answer within 0.4 s", True)
    fake.fail(route, 200, "x" * (MAX_BODY_BYTES + 1))
    long = await trouble(ask(engine))
    assert (str(long), long.timed_out) == (f"{what}: an answer of more than 4 MiB", False)
    await fake.stop()
    assert str(await trouble(ask(engine))) == f"{what}: connection refused"


@pytest.mark.parametrize("body", ["", "<html>", "[" * 100_000])
async def test_what_is_no_json(body: str, fake: FakeEngine, engine: Engine) -> None:
    fake.faults = dict.fromkeys((MODELS, COMPLETIONS), Fault(200, body))
    assert str(await trouble(engine.models())) == "GET /v1/models: an answer that is not JSON"
    why = str(await trouble(engine.complete("m")))
    assert why == "POST /v1/completions: an answer that is not JSON"


@pytest.mark.parametrize("body", ["[]", "{}", '{"choices": []}', '{"error": {}}', "7"])
async def test_what_is_no_completion(body: str, fake: FakeEngine, engine: Engine) -> None:
    fake.fail(COMPLETIONS, 200, body)
    why = str(await trouble(engine.complete("m")))
    assert why == "POST /v1/completions: an answer without a completion"


async def test_a_port_that_never_answers(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = Target("127.0.0.1", mute.getsockname()[1])
        async with Engine(target, timeout=0.3, completion_timeout=0.3) as asking:
            why = str(await trouble(asking.check("/health")))
    assert why == "GET /health: no answer within 0.3 s"


async def test_a_connection_that_is_closed_without_an_answer() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
        async with Engine(target, timeout=5, completion_timeout=5) as asking:
            why = str(await trouble(asking.check("/health")))
    assert why == "GET /health: the connection was closed without an answer"


async def test_nothing_leads_it_elsewhere(
    fake: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeEngine("b") as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("http_proxy", other.url)
        await engine.check("/health")
        assert fake.requests == {HEALTH: 1}
        for status in (301, 302, 303, 307, 308):
            fake.faults[HEALTH] = Fault(status, location=f"{other.url}{HEALTH}")
            why = str(await trouble(engine.check("/health")))
            assert why == f"GET /health: HTTP {status}"
        assert not other.requests


async def test_the_token_that_an_engine_wants(fake: FakeEngine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with beside(fake, token_file=token) as asking:
        assert "no such file" in str(await trouble(asking.check("/health")))
        token.write_text("secret\n", encoding="utf-8")
        await asking.check("/health")
        assert fake.authorization == "Bearer secret"


@pytest.mark.parametrize(
    ("target", "root"),
    [
        (Target("10.0.0.5", 8000), "http://10.0.0.5:8000"),
        (Target("fd00::5", 443, "https", "/v1"), "https://[fd00::5]:443"),
        (Target("h", 80, base_path="/a/v1"), "http://h:80/a"),
        (Target("h", 80, base_path="/a"), "http://h:80/a"),
    ],
)
def test_its_own_routes_are_beside_the_version(target: Target, root: str) -> None:
    assert target.root == root
