"""The agent's work goes on after an error that nobody has thought of, and still ends well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from aiohttp import web

from modelinstance.agent import lasting, links
from modelinstance.agent.engine import Engine
from modelinstance.agent.run import Agent
from modelinstance.agent.settings import AgentSettings, Target
from support.engine import FakeEngine
from unit import virtual

ANSWER = {
    "namespace": "ns", "name": "m-1", "incarnation": "1" * 16, "stored": True, "detail": "",
    "heartbeatTimeoutSeconds": 120.0, "result": "accepted", "phase": "Healthy",
}  # fmt: skip
BEAT, GOODBYE = "POST /api/v1/heartbeats", "DELETE /api/v1/instances/ns/m-1"


class Registry:
    """Takes everything; ``asked`` is what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        return web.json_response(ANSWER)

    def beats(self) -> int:
        return self.asked.count(BEAT)


@pytest.fixture
async def registry() -> AsyncIterator[tuple[Registry, str]]:
    """A registry, and where it is."""
    taken = Registry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", taken.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield taken, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this loop."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of any kind, as in support.waiting
            await asyncio.sleep(0.01)


class Faulty:
    """Stands for a method, and raises what is no trouble of an engine or a registry."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, *given: Any) -> Any:
        self.calls += 1
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("of", "method", "beats_go_on"),
    [(Engine, "check", False), (Engine, "complete", False), (links, "places", True)],
    ids=["looking", "completing", "resolving"],
)
async def test_no_error_of_its_own_ends_it(
    of: Any,
    method: str,
    *,
    beats_go_on: bool,
    registry: tuple[Registry, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lasting, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(lasting, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(links, "RESOLVE_INTERVAL", 0.05)
    taken, url = registry
    stop = asyncio.Event()
    async with FakeEngine() as engine:
        settings = AgentSettings(
            registries=(url,), target=Target(engine.host, engine.port), drain_seconds=0,
            period=0.1, completion_interval=0.1,
        )  # fmt: skip
        agent = Agent(settings, random=Random(1))
        running = asyncio.create_task(agent.run(stop, asyncio.Event()))
        await until(lambda: taken.beats() > 0)
        faulty = Faulty()
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(of, method, faulty)
            await until(lambda: faulty.calls >= 3)
            before = taken.beats()
            if beats_go_on:
                await until(lambda: taken.beats() > before)
            else:
                await until(lambda: faulty.calls >= 6)
                assert taken.beats() <= before + 1, "nothing is proven: silence, but for one on way"
        assert not running.done()
        assert caplog.records
        assert all(record.exc_info for record in caplog.records), "each with its traceback"
        assert "an error of the agent itself; it begins anew in 0.05 s" in caplog.text
        before = taken.beats()
        await until(lambda: taken.beats() > before)
        stop.set()
        await asyncio.wait_for(running, 20)
    assert taken.asked[-1] == GOODBYE


async def test_it_ends_well_while_its_work_fails(
    registry: tuple[Registry, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, url = registry
    stop = asyncio.Event()
    async with FakeEngine() as engine:
        settings = AgentSettings(
            registries=(url,), target=Target(engine.host, engine.port), drain_seconds=0, period=0.1
        )
        running = asyncio.create_task(Agent(settings, random=Random(1)).run(stop, asyncio.Event()))
        await until(lambda: taken.beats() > 0)
        faulty = Faulty()
        monkeypatch.setattr(Engine, "check", faulty)
        await until(lambda: faulty.calls > 0)
        stop.set()
        await asyncio.wait_for(running, 20)
    assert taken.asked[-1] == GOODBYE


def test_the_pauses_double_up_to_a_bound_and_are_short_again_after_it_was_well() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) == 9:
            await asyncio.sleep(2 * lasting.LONGEST_PAUSE)
        if len(begun) < 11:
            raise ZeroDivisionError

    virtual.run(lasting.lasting("working", work, random=Random(1)))
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    pauses[8] -= 2 * lasting.LONGEST_PAUSE
    for pause, expected in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 1, 2], strict=True):
        assert 0.79 * expected < pause < 1.21 * expected


def test_what_is_cancelled_does_not_begin_anew() -> None:
    async def main() -> None:
        task = asyncio.create_task(
            lasting.lasting("waiting", lambda: asyncio.sleep(60), random=Random(1))
        )
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    virtual.run(main())
