"""The consumer of the stream of changes, on a stream that a test writes."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.client import watching
from modelinstance.client.connection import Connection
from modelinstance.client.errors import RegistryUnavailableError
from modelinstance.client.watching import EventParser, Instance, Snapshot, Watcher

SOON = 5.0


def data(name: str = "a", **changes: Any) -> dict[str, Any]:
    """What the registry sends of an instance."""
    return {
        "namespace": "n", "name": name, "model": "m", "aliases": [], "host": "10.0.0.5",
        "port": 8000, "address": "http://10.0.0.5:8000", "weight": 1.0, "healthy": True,
        "phase": "Healthy", "reason": "HeartbeatReceived",
        "incarnation": "0123456789abcdef", "more": "than is known", **changes,
    }  # fmt: skip


def event(kind: str, body: Any = None) -> bytes:
    """One event as the registry sends it."""
    return f"event: {kind}\nid: 7\ndata: {json.dumps(body or {})}\n\n".encode()


SYNCED = event("SYNCED")


class Registry:
    """Serves streams: each connection gets the next of ``scripts``, a function that writes it."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[web.StreamResponse], Any]] = []
        self.queries: list[dict[str, str]] = []
        self.asked = asyncio.Condition()

    async def watch(self, request: web.Request) -> web.StreamResponse:
        async with self.asked:
            self.queries.append(dict(request.query))
            self.asked.notify_all()
        if not self.scripts:
            return web.json_response({"detail": "not now"}, status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self.scripts.pop(0)(response)
        return response


@asynccontextmanager
async def served(registry: Registry) -> AsyncIterator[Connection]:
    app = web.Application()
    app.router.add_get(watching.WATCH, registry.watch)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with Connection(f"http://{host}:{port}") as connection:
        yield connection
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_DELAY_SECONDS", 0.01)


async def first(snapshots: AsyncIterator[Snapshot]) -> Snapshot:
    async with asyncio.timeout(SOON):
        return await anext(snapshots)


async def test_it_tells_all_at_once_and_then_each_change() -> None:
    registry, step = Registry(), asyncio.Queue[bytes]()

    async def script(response: web.StreamResponse) -> None:
        await response.write(event("ADDED", data("a")))
        await response.write(event("ADDED", data("b")) + b": alive\n\n")
        await response.write(SYNCED)
        while piece := await step.get():
            await response.write(piece)

    registry.scripts = [script]
    async with served(registry) as connection:
        watcher = Watcher(connection, model="m", namespace="n", selector="tier=gold")
        async with aclosing(watcher.follow()) as snapshots:
            told = await first(snapshots)
            assert told.instances.keys() == {"n/a", "n/b"}
            assert told.fresh
            assert told.instances["n/a"].selectable
            step.put_nowait(event("MODIFIED", data("a", healthy=False, phase="Draining")))
            told = await first(snapshots)
            assert told.instances["n/a"].phase == "Draining"
            assert not told.fresh
            gone = event("DELETED", {"namespace": "n", "name": "a"})
            step.put_nowait(gone + event("ADDED", data("c")) + b": alive\n\n")
            assert (await first(snapshots)).instances.keys() == {"n/b", "n/c"}
            half = event("DELETED", {"namespace": "n", "name": "b"})
            step.put_nowait(half[:20])
            step.put_nowait(half[20:])
            assert (await first(snapshots)).instances.keys() == {"n/c"}
    assert registry.queries == [{"model": "m", "namespace": "n", "selector": "tier=gold"}]


@pytest.mark.parametrize(
    ("said", "durable"),
    [({"durable": True}, True), ({"durable": False}, False), ({}, False), ([True], False)],
)
async def test_a_registry_says_whether_it_forgets(said: Any, durable: bool) -> None:
    registry, more = Registry(), asyncio.Event()

    async def script(response: web.StreamResponse) -> None:
        await response.write(event("SYNCED", said))
        await more.wait()
        await response.write(event("ADDED", data("a")))
        await asyncio.sleep(60)

    registry.scripts = [script]
    async with (
        served(registry) as connection,
        aclosing(Watcher(connection).follow()) as snapshots,
    ):
        assert (await first(snapshots)).durable is durable
        more.set()
        assert (await first(snapshots)).durable is durable


async def test_a_loss_is_told_once_and_the_next_snapshot_is_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, lost = Registry(), list[str]()

    async def cut(response: web.StreamResponse) -> None:
        await response.write(event("ADDED", data("a")) + SYNCED)

    async def early(response: web.StreamResponse) -> None:
        await response.write(event("ADDED", data("b")))

    async def stays(response: web.StreamResponse) -> None:
        await response.write(event("ADDED", data("c")) + SYNCED)
        await asyncio.sleep(60)

    registry.scripts = [cut, early, early]
    async with served(registry) as connection:
        watcher = Watcher(connection, on_loss=lambda: lost.append("lost"))
        with caplog.at_level(logging.INFO, "modelinstance"):
            async with aclosing(watcher.follow()) as snapshots:
                assert (await first(snapshots)).instances.keys() == {"n/a"}
                following = asyncio.ensure_future(first(snapshots))
                async with asyncio.timeout(SOON), registry.asked:
                    await registry.asked.wait_for(lambda: len(registry.queries) >= 6)
                registry.scripts.append(stays)
                told = await following
                assert told.instances.keys() == {"n/c"}, "b was never told"
                assert told.fresh
    assert lost == ["lost"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "before the registry had told of all" in caplog.text


async def test_silence_is_a_loss() -> None:
    registry, lost = Registry(), asyncio.Event()

    async def silent(response: web.StreamResponse) -> None:
        await response.write(SYNCED)
        await asyncio.sleep(60)

    registry.scripts = [silent] * 10  # a slow machine may lose some before it is told anything
    async with served(registry) as connection:
        watcher = Watcher(connection, on_loss=lost.set, silence=0.1)
        async with aclosing(watcher.follow()) as snapshots:
            await first(snapshots)
            following = asyncio.ensure_future(first(snapshots))
            async with asyncio.timeout(SOON):
                await lost.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize(
    "piece",
    [
        b"data: " + b"x" * (watching.MAX_EVENT_BYTES + 1),
        event("ADDED", {"namespace": "n"}),
        event("DELETED", {"namespace": "n"}),
        event("ADDED", data(aliases=[1])),
        b"event: ADDED\ndata: {\n\n",
        b"event: ADDED\ndata: []\n\n",
        b"event: ADDED\ndata: " + b"[" * 100_000 + b"\n\n",
        event("ADDED", data(port=math.inf)),
        event("ADDED", data(weight=math.inf)),
        event("ADDED", data(weight=10**400)),
        event("ADDED", data(model="half \ud800")),
        event("DELETED", {"namespace": "n", "name": "\ud800"}),
    ],
)
async def test_what_no_registry_sends_is_a_loss(piece: bytes) -> None:
    registry, lost = Registry(), asyncio.Event()

    async def wrong(response: web.StreamResponse) -> None:
        await response.write(SYNCED)
        await response.write(piece)
        await asyncio.sleep(60)

    registry.scripts = [wrong]
    async with served(registry) as connection:
        watcher = Watcher(connection, on_loss=lost.set)
        async with aclosing(watcher.follow()) as snapshots:
            following = asyncio.ensure_future(drain(snapshots))
            async with asyncio.timeout(SOON):
                await lost.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def drain(snapshots: AsyncIterator[Snapshot]) -> None:
    async for _ in snapshots:
        pass


async def test_a_query_that_is_wrong_is_an_error() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"detail": "query.selector: no"}, status=422)

    registry = Registry()
    registry.watch = refuse  # type: ignore[method-assign]
    async with (
        served(registry) as connection,
        aclosing(Watcher(connection).follow()) as snapshots,
    ):
        with pytest.raises(RegistryUnavailableError, match=r"query\.selector: no"):
            await first(snapshots)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ADDED", "SYNCED"]), st.text(alphabet="ab :{}é", max_size=8)),
    max_size=6,
)


@given(events=EVENTS, cuts=st.lists(st.integers(0, 200), max_size=8), newline=st.booleans())
def test_events_are_the_same_however_the_bytes_come(
    events: list[tuple[str, str]], cuts: list[int], newline: bool
) -> None:
    text = "".join(f": alive\n\nevent: {kind}\ndata: {body}\n\n" for kind, body in events)
    raw = (text.replace("\n", "\r\n") if newline else text).encode()
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parser, found = EventParser(), list[tuple[str, str]]()
    for start, end in itertools.pairwise(edges):
        found += [(kind, body.decode()) for kind, body in parser.feed(raw[start:end])]
    assert found == events or found == [(kind, body.removeprefix(" ")) for kind, body in events]


def test_an_event_of_many_lines_has_a_bound() -> None:
    parser = EventParser(limit=100)
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        list(parser.feed(b"data: 1234567890\n" * 20))


def test_names_hold_each_name_once() -> None:
    instance = Instance.parse(data(aliases=["b", "m", "b"]))
    assert instance.names == ("m", "b")
    assert instance.key == "n/a"
