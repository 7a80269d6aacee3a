"""How a router tells a registry of its calls, and that no call waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelinstance.client import Connection, RouterReports
from modelinstance.client.reports import MAX_COUNT, MAX_INSTANCES, MAX_WAITING

ONE, TWO = "0" * 16, "1" * 16


@dataclass
class Registry:
    """Takes reports, or answers with the status that it is told to."""

    status: int = 200
    taken: list[Any] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append(json.loads(await request.read()))
        self.came.set()
        await self.answers.wait()
        return web.json_response({"items": []}, status=self.status)

    def told(self) -> list[tuple[str, str, int]]:
        """The reports that came in the last request."""
        return [
            (item["incarnation"], item["outcome"], item["count"])
            for item in self.taken[-1]["items"]
        ]


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    made = Registry()
    made.answers.set()
    app = web.Application(client_max_size=2**20)
    app.router.add_post("/api/v1/reports", made.take)
    async with TestServer(app, shutdown_timeout=0.1) as running:
        made.url = str(running.make_url("/"))
        yield made


@pytest.fixture
async def reports(registry: Registry) -> AsyncIterator[RouterReports]:
    async with Connection(registry.url, timeout=5) as connection:
        yield RouterReports(connection, "router-0", period=0.01)


async def test_what_was_gathered_is_told_in_one_request(
    registry: Registry, reports: RouterReports
) -> None:
    reports.failure(ONE)
    reports.failure(ONE)
    reports.timeout(ONE)
    reports.success(TWO)
    reports.success(TWO)
    await reports.send()
    [body] = registry.taken
    assert body["reporter"] == "router-0"
    assert registry.told() == [(ONE, "failure", 2), (ONE, "timeout", 1), (TWO, "success", 1)]
    assert (reports.sent, reports.lost, len(reports)) == (3, 0, 0)


async def test_failures_before_a_success_say_nothing_any_more(
    registry: Registry, reports: RouterReports
) -> None:
    for tell in (reports.failure, reports.timeout, reports.success, reports.failure):
        tell(ONE)
    await reports.send()
    assert registry.told() == [(ONE, "success", 1), (ONE, "failure", 1)]


async def test_nothing_is_sent_where_there_is_nothing_to_tell(
    registry: Registry, reports: RouterReports
) -> None:
    await reports.send()
    assert registry.taken == []


async def test_what_waits_is_bounded_and_the_oldest_goes(
    registry: Registry, reports: RouterReports
) -> None:
    for number in range(MAX_WAITING + 5):
        reports.failure(f"{number:016x}")
    for _ in range(MAX_COUNT + 1):
        reports.failure(f"{MAX_WAITING:016x}")
    assert len(reports) == MAX_WAITING
    assert reports.lost == 5
    await reports.send()
    told = [item for body in registry.taken for item in body["items"]]
    assert max(len(body["items"]) for body in registry.taken) == MAX_INSTANCES
    assert [item["incarnation"] for item in told] == [
        f"{number:016x}" for number in range(5, MAX_WAITING + 5)
    ]
    assert max(item["count"] for item in told) == MAX_COUNT


@contextlib.asynccontextmanager
async def running(reports: RouterReports) -> AsyncIterator[None]:
    task = asyncio.create_task(reports.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_router_goes_on_while_a_registry_does_not_answer(
    registry: Registry, reports: RouterReports
) -> None:
    registry.answers.clear()
    async with running(reports):
        reports.failure(ONE)
        await asyncio.wait_for(registry.came.wait(), 5)
        registry.came.clear()
        for _ in range(1000):
            reports.success(TWO)
        assert len(registry.taken) == len(reports) == 1
        registry.answers.set()
        await asyncio.wait_for(registry.came.wait(), 5)
    assert registry.told() == [(TWO, "success", 1)]


@pytest.mark.parametrize("status", [500, 422, 401])
async def test_what_a_registry_does_not_take_is_lost_counted_and_told_once(
    registry: Registry, reports: RouterReports, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    registry.status = status
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reports.failure(ONE)
            reports.failure(TWO)
            await reports.send()
        assert (reports.lost, reports.sent, len(reports)) == (6, 0, 0)
        registry.status = 200
        reports.failure(ONE)
        await reports.send()
        assert reports.sent == 1
        registry.status = status
        reports.failure(ONE)
        await reports.send()
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "reports are lost", "reports are lost",
    ]  # fmt: skip


async def test_a_registry_that_takes_nothing_ends_nothing(
    registry: Registry, reports: RouterReports
) -> None:
    registry.status = 500
    async with running(reports):
        for incarnation in (ONE, TWO):
            registry.came.clear()
            reports.failure(incarnation)
            await asyncio.wait_for(registry.came.wait(), 5)
    assert registry.told() == [(TWO, "failure", 1)]


async def test_a_registry_that_is_not_there_raises_nothing() -> None:
    async with Connection("http://127.0.0.1:1", timeout=1) as nowhere:
        alone = RouterReports(nowhere, "router-0")
        for lost in (1, 2):
            alone.failure(ONE)
            await alone.send()
            assert alone.lost == lost
