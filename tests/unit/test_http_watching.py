"""The stream of changes: what a watcher is told, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from modelinstance.http import watching
from modelinstance.http.access import ANYONE, OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.filters import narrowed
from modelinstance.http.rendering import Renderings, shown
from modelinstance.http.watching import MAX_SECONDS, Watchers
from modelinstance.registry import EmbeddedModelRegistry, selectors
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Rotation
from modelinstance.registry.records.records import Records
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, key, live, named, put
from unit.clock import FakeClock
from unit.wire import by

WATCH = "/api/v1/watch"
ALIVE = b": the stream is alive\n\n"
PATIENCE = 5
"""Seconds within which what must come has come."""
NAMES = ["i0", "i1", "i2", "i3"]


def make_desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


@pytest.fixture
def desk(clock: FakeClock) -> StandaloneDesk:
    return make_desk(clock)


@pytest.fixture
def records(desk: StandaloneDesk) -> Records:
    return desk.records


@pytest.fixture
def watchers(desk: StandaloneDesk) -> Watchers:
    return Watchers(desk, Renderings(desk.records))


@dataclass(frozen=True)
class Event:
    """One event as a client reads it."""

    kind: str
    revision: int
    data: Any

    @classmethod
    def read(cls, chunk: bytes) -> Event:
        kind, revision, data = chunk.removesuffix(b"\n\n").split(b"\n")
        return cls(
            kind.decode().removeprefix("event: "),
            int(revision.removeprefix(b"id: ")),
            json.loads(data.removeprefix(b"data: ")),
        )

    @property
    def told(self) -> tuple[str, str]:
        """What is told of whom."""
        return self.kind, self.data.get("name", "")


def parts(chunk: bytes) -> list[bytes]:
    """What a chunk holds, one by one."""
    return [part + b"\n\n" for part in chunk.split(b"\n\n") if part]


class Stream:
    """What one watcher reads."""

    def __init__(
        self,
        watchers: Watchers,
        model: str | None = None,
        *,
        namespace: str | None = None,
        selector: str | None = None,
        seconds: float = MAX_SECONDS,
    ) -> None:
        matches = None if selector is None else selectors.parse(selector)
        events = watchers.watch(model, narrowed(ANYONE, namespace, matches), seconds)
        assert isinstance(events, AsyncGenerator)
        self.chunks: AsyncGenerator[bytes, None] = events
        self._read: list[bytes] = []

    async def _next(self) -> bytes:
        """The next event or comment; several may come in one chunk."""
        while not self._read:
            self._read = parts(await anext(self.chunks))
        return self._read.pop(0)

    async def chunk(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._next()

    async def at_once(self) -> bytes:
        """The next chunk, for which nothing has to happen first."""
        coming = asyncio.ensure_future(self._next())
        for _ in range(10):
            await asyncio.sleep(0)
        if not coming.done():
            coming.cancel()
            raise AssertionError("there is nothing more to be read")
        return await coming

    async def event(self) -> Event:
        return Event.read(await self.chunk())

    async def told(self) -> tuple[str, str]:
        return (await self.event()).told

    async def snapshot(self) -> set[str]:
        """The names of those that are there at first."""
        names = set()
        while (event := await self.event()).kind != "SYNCED":
            assert event.kind == "ADDED"
            names.add(event.data["name"])
        return names

    async def close(self) -> None:
        """The client reads no more."""
        await self.chunks.aclose()

    async def rest(self) -> list[bytes]:
        """All that comes until the end."""
        async with asyncio.timeout(PATIENCE):
            return [part async for chunk in self.chunks for part in parts(chunk)]


def heard(records: Records, name: str = "vicuna-0", **fields: Any) -> Record:
    """A healthy instance, at a port of its own."""
    record = put(records, name, **{"port": 8000 + len(records), **fields})
    records.beat(record)
    return record


def now(records: Records, record: Record) -> Any:
    """An instance as every other route shows it."""
    return shown(records, record).model_dump(mode="json", by_alias=True)


# -- the events --------------------------------------------------------------------------------


async def test_a_stream_begins_with_all_instances_and_says_when_it_has_told_them(
    watchers: Watchers, records: Records
) -> None:
    known = [heard(records), put(records, "vicuna-1", port=1)]
    stream = Stream(watchers)
    for record in known:
        assert await stream.event() == Event("ADDED", records.revision, now(records, record))
    assert await stream.event() == Event("SYNCED", records.revision, {"durable": False})


async def test_a_registry_with_a_cluster_forgets_nothing(
    watchers: Watchers, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = desk.view_state()
    monkeypatch.setattr(desk, "view_state", lambda: replace(state, durable=True))
    assert (await Stream(watchers).event()).data == {"durable": True}


async def test_a_stream_of_nothing_is_in_sync_at_once(watchers: Watchers) -> None:
    assert await Stream(watchers).snapshot() == set()


async def test_what_comes_changes_and_goes_is_told_as_it_is_then(
    watchers: Watchers, records: Records
) -> None:
    stream = Stream(watchers)
    assert await stream.snapshot() == set()
    record = put(records)
    assert await stream.event() == Event("ADDED", records.revision, now(records, record))
    records.beat(record)
    event = await stream.event()
    assert event == Event("MODIFIED", records.revision, now(records, record))
    assert event.data["healthy"]
    records.remove(record.key)
    event = await stream.event()
    assert event == Event("DELETED", records.revision, {"namespace": "prod", "name": "vicuna-0"})
    record = put(records)
    assert await stream.event() == Event("ADDED", records.revision, now(records, record))


CHANGES: dict[str, Callable[[Records, Record], object]] = {
    "weight": lambda records, record: heard(records, port=record.spec.port, weight=3.0),
    "alias": lambda records, record: heard(
        records, port=record.spec.port, aliases=frozenset({"chat"})
    ),
    "address": lambda records, record: heard(records, port=9999),
    "another life": lambda records, record: heard(records, port=record.spec.port, uid="another"),
    "labels": lambda records, record: heard(records, port=record.spec.port, labels={"a": "b"}),
    "rotation": lambda records, record: heard(
        records, port=record.spec.port, rotation=Rotation.DISABLED
    ),
    "deletion": lambda records, record: put(records, port=record.spec.port, deleting=True),
    "goodbye": lambda records, record: records.set_deregistered(record, deregistered=True),
    "drain": lambda records, record: records.set_drained(record, drained=True),
    "word of a caller": lambda records, record: records.set_by_caller(record, healthy=False),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_each_change_is_told(watchers: Watchers, records: Records, change: str) -> None:
    record = heard(records)
    stream = Stream(watchers)
    await stream.snapshot()
    CHANGES[change](records, record)
    event = await stream.event()
    assert event.told == ("MODIFIED", "vicuna-0")
    present = records.get(record.key)
    assert present is not None
    assert event.data == now(records, present)


async def test_who_falls_silent_is_told(
    watchers: Watchers, records: Records, clock: FakeClock
) -> None:
    heard(records)
    stream = Stream(watchers)
    await stream.snapshot()
    live(records, clock, TIMEOUT + 1)
    assert (await stream.event()).data["reason"] == "HeartbeatExpired"


async def test_who_has_fallen_silent_meanwhile_is_not_shown_as_healthy(
    watchers: Watchers, records: Records, clock: FakeClock
) -> None:
    heard(records, heartbeat_timeout=0.5)
    clock.advance(1)
    assert not (await Stream(watchers).event()).data["healthy"]


async def test_a_beat_that_changes_nothing_is_not_told(
    watchers: Watchers, records: Records
) -> None:
    record = heard(records)
    stream = Stream(watchers)
    await stream.snapshot()
    records.beat(record)
    heard(records, "vicuna-1")
    assert await stream.told() == ("ADDED", "vicuna-1")


async def test_each_event_is_one_whatever_is_in_it(watchers: Watchers, records: Records) -> None:
    name = 'a\n\ndata: {}\r\n\r\nid: "7"\u2028\x85'
    heard(records, model_name=name)
    event = await Stream(watchers, name).event()
    assert event.data["model"] == name


async def test_several_watchers_are_told_the_same(watchers: Watchers, records: Records) -> None:
    streams = [Stream(watchers), Stream(watchers, "vicuna"), Stream(watchers, namespace="prod")]
    waiting = []
    for stream in streams:
        await stream.snapshot()
        waiting.append(asyncio.create_task(stream.chunk()))
    await asyncio.sleep(0)
    heard(records)
    first, *others = await asyncio.gather(*waiting)
    assert others == [first, first]


# -- what is asked for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, {"vicuna-0", "vicuna-1", "llama-0"}),
        ({"model": "vicuna"}, {"vicuna-0", "vicuna-1"}),
        ({"model": "chat"}, {"vicuna-0", "llama-0"}),
        ({"model": "nobody"}, set()),
        ({"namespace": "test"}, {"vicuna-1"}),
        ({"selector": "tier=gold"}, {"vicuna-0", "vicuna-1"}),
        ({"selector": "tier=gold", "namespace": "test"}, {"vicuna-1"}),
        ({"model": "chat", "selector": "!tier"}, {"llama-0"}),
    ],
    ids=named,
)
async def test_only_what_is_asked_for_is_told(
    watchers: Watchers, records: Records, asked: dict[str, Any], names: set[str]
) -> None:
    def enter(suffix: str) -> None:
        chat, gold = frozenset({"chat"}), {"tier": "gold"}
        heard(records, f"vicuna-0{suffix}", aliases=chat, labels=gold)
        heard(records, f"vicuna-1{suffix}", namespace="test", labels=gold)
        heard(records, f"llama-0{suffix}", model_name="llama", aliases=chat)

    enter("")
    stream = Stream(watchers, **asked)
    assert await stream.snapshot() == names
    enter("-late")
    came = {await stream.told() for _ in names}
    assert came == {("ADDED", f"{name}-late") for name in names}
    for record in records:
        records.remove(record.key)
    went = {await stream.told() for _ in 2 * [*names]}
    assert went == {("DELETED", f"{name}{suffix}") for name in names for suffix in ("", "-late")}


@pytest.mark.parametrize(
    ("asked", "within", "beyond"),
    [
        ({"model": "vicuna"}, {}, {"model_name": "llama"}),
        ({"model": "chat"}, {"aliases": frozenset({"chat"})}, {}),
        ({"selector": "tier=gold"}, {"labels": {"tier": "gold"}}, {"labels": {"tier": "lead"}}),
        ({"selector": "!tier"}, {}, {"labels": {"tier": "lead"}}),
    ],
    ids=named,
)
async def test_what_is_asked_for_no_more_is_deleted_and_comes_back(
    watchers: Watchers, records: Records, asked: dict[str, Any], within: Any, beyond: Any
) -> None:
    heard(records, **{"port": 1, **within})
    stream = Stream(watchers, **asked)
    assert await stream.snapshot() == {"vicuna-0"}
    for _ in range(2):
        heard(records, **{"port": 1, **beyond})
        event = await stream.event()
        assert event == Event(
            "DELETED", records.revision, {"namespace": "prod", "name": "vicuna-0"}
        )
        heard(records, **{"port": 1, **beyond}, weight=0.5)
        heard(records, **{"port": 1, **within})
        assert await stream.told() == ("ADDED", "vicuna-0")


async def test_what_was_never_told_is_not_deleted(watchers: Watchers, records: Records) -> None:
    heard(records, "llama-0", model_name="llama")
    stream = Stream(watchers, "vicuna")
    assert await stream.snapshot() == set()
    records.remove(key("llama-0"))
    records.remove(heard(records, "vicuna-0").key)
    heard(records, "vicuna-1")
    assert await stream.told() == ("ADDED", "vicuna-1")


# -- slow readers ------------------------------------------------------------------------------


async def test_of_changes_in_quick_succession_a_slow_reader_is_told_the_last(
    watchers: Watchers, records: Records
) -> None:
    record = heard(records, port=1)
    stream = Stream(watchers)
    await stream.snapshot()
    for number in range(1, 1000):
        heard(records, port=1, weight=float(number))
        records.set_drained(record, drained=number % 2 == 0)
    [watcher] = watchers._watchers
    assert list(watcher.changed) == [record.key]
    event = await stream.event()
    assert (event.kind, event.data["weight"], event.data["phase"]) == ("MODIFIED", 999, "Healthy")
    heard(records, "vicuna-1")
    assert await stream.told() == ("ADDED", "vicuna-1")


async def test_what_goes_and_comes_back_between_two_reads_is_modified(
    watchers: Watchers, records: Records
) -> None:
    heard(records, port=1)
    stream = Stream(watchers)
    await stream.snapshot()
    records.remove(key())
    again = heard(records, port=1, uid="another")
    event = await stream.event()
    assert (event.kind, event.data["incarnation"]) == ("MODIFIED", again.id)


async def test_what_changes_while_the_first_ones_are_read_is_told_after_them(
    watchers: Watchers, records: Records
) -> None:
    heard(records, "vicuna-0")
    heard(records, "vicuna-1")
    stream = Stream(watchers)
    assert await stream.told() == ("ADDED", "vicuna-0")
    records.remove(key("vicuna-0"))
    records.remove(key("vicuna-1"))
    heard(records, "vicuna-2")
    assert await stream.snapshot() == {"vicuna-1"}
    assert [await stream.told() for _ in range(3)] == [
        ("DELETED", "vicuna-0"),
        ("DELETED", "vicuna-1"),
        ("ADDED", "vicuna-2"),
    ]


STEPS = st.tuples(
    st.sampled_from(["put", "put", "edit", "alias", "label", "beat", "drain", "remove"])
    | st.sampled_from(["read", "read", "read", "silence"]),
    st.sampled_from(NAMES),
    st.integers(0, 3),
)


def step(records: Records, clock: FakeClock, kind: str, name: str, number: int) -> None:
    """Change something about an instance."""
    port, known = 1 + NAMES.index(name), records.get(key(name))
    if kind == "put":
        put(records, name, port=port)
    elif kind == "silence":
        live(records, clock, TIMEOUT + 1)
    elif known is None:
        return
    elif kind == "edit":
        put(records, name, port=port, weight=float(number))
    elif kind == "alias":
        put(records, name, port=port, aliases=frozenset({f"alias-{number}"}))
    elif kind == "label":
        put(records, name, port=port, labels={"number": str(number)})
    elif kind == "beat":
        records.beat(known)
    elif kind == "drain":
        records.set_drained(known, drained=number > 1)
    elif kind == "remove":
        records.remove(known.key)


class Follower:
    """Keeps a list by the events that it reads."""

    def __init__(self, stream: Stream, records: Records) -> None:
        self.kept: dict[str, Any] = {}
        self._stream = stream
        self._records = records
        self.synced = False
        self._marks = 0

    async def read(self) -> None:
        """Read one event, which must be there and fit what was read before."""
        event = Event.read(await self._stream.at_once())
        name = event.data.get("name", "")
        self.synced |= event.kind == "SYNCED"
        assert (name in self.kept) is (event.kind in {"MODIFIED", "DELETED"})
        assert self.synced or event.kind == "ADDED"
        if event.kind == "DELETED":
            del self.kept[name]
        elif name:
            self.kept[name] = event.data | {"heartbeatAgeSeconds": None}

    async def catch_up(self) -> None:
        """Read all that there is to be told by now."""
        self._marks += 1
        put(
            self._records, "mark", port=99, weight=float(self._marks),
            aliases=frozenset({"alias-1"}), labels={"number": "1"},
        )  # fmt: skip
        while not self.synced or self.kept.get("mark", {}).get("weight") != self._marks:
            await self.read()


@settings(max_examples=200)
@given(
    st.lists(STEPS, max_size=40),
    st.sampled_from([{}, {"model": "alias-1"}, {"selector": "number in (1,2)"}]),
)
def test_whoever_keeps_a_list_by_the_events_has_what_there_is(
    steps: list[tuple[str, str, int]], asked: dict[str, Any]
) -> None:
    clock = FakeClock()
    desk = make_desk(clock)
    records = desk.records

    def wanted() -> dict[str, Any]:
        return {
            record.key.name: now(records, record) | {"heartbeatAgeSeconds": None}
            for record in (records.named(asked["model"]) if "model" in asked else records)
            if "selector" not in asked or record.labels.get("number") in {"1", "2"}
        }

    async def follow() -> None:
        stream = Stream(Watchers(desk, Renderings(records)), **asked)
        follower = Follower(stream, records)
        for number, (kind, name, value) in enumerate(steps):
            if kind != "read":
                step(records, clock, kind, name, value)
            elif number < len(steps) / 2 and not follower.synced:
                await follower.read()
            else:
                await follower.catch_up()
                assert follower.kept == wanted()
        await follower.catch_up()
        assert follower.kept == wanted()
        await stream.close()

    asyncio.run(follow())


# -- the end -----------------------------------------------------------------------------------


async def test_a_stream_in_which_nothing_happens_shows_that_it_is_alive(
    watchers: Watchers, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "KEEPALIVE_SECONDS", 0.01)
    stream = Stream(watchers)
    await stream.snapshot()
    assert [await stream.chunk() for _ in range(3)] == [ALIVE] * 3
    heard(records)
    assert await stream.told() == ("ADDED", "vicuna-0")
    assert await stream.chunk() == ALIVE


async def test_a_stream_ends_when_its_time_is_over(watchers: Watchers, records: Records) -> None:
    heard(records)
    loop = asyncio.get_running_loop()
    began = loop.time()
    stream = Stream(watchers, seconds=0.05)
    await stream.snapshot()
    assert set(await stream.rest()) <= {ALIVE}
    assert 0.05 <= loop.time() - began < PATIENCE
    assert len(watchers) == 0


async def test_a_stream_in_which_much_happens_ends_when_its_time_is_over(
    watchers: Watchers, records: Records
) -> None:
    stream = Stream(watchers, seconds=0.5)
    number = 0
    async with asyncio.timeout(PATIENCE):
        async for _ in stream.chunks:
            number += 1
            heard(records, port=1, weight=float(number))
    assert number > 1
    assert len(watchers) == 0


async def test_nobody_is_told_that_all_is_read_before_it_is(
    watchers: Watchers, desk: StandaloneDesk, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a registry that has just started would look like one without instances."""
    state = desk.view_state()
    monkeypatch.setattr(desk, "view_state", lambda: replace(state, synced=False))
    monkeypatch.setattr(watching, "UNSYNCED_SECONDS", 0.01)
    stream = Stream(watchers)
    assert [await stream.chunk() for _ in range(3)] == [ALIVE] * 3
    heard(records, "vicuna-0")
    while (chunk := await stream.chunk()) == ALIVE:
        pass
    assert Event.read(chunk).told == ("ADDED", "vicuna-0")
    monkeypatch.setattr(desk, "view_state", lambda: state)
    while (chunk := await stream.chunk()) == ALIVE:
        pass
    assert Event.read(chunk).kind == "SYNCED"
    await stream.close()


async def test_streams_end_as_the_server_stops(
    watchers: Watchers, desk: StandaloneDesk, records: Records
) -> None:
    streams = [Stream(watchers), Stream(watchers, "vicuna"), Stream(watchers)]
    for stream in streams:
        await stream.snapshot()
    reading = [asyncio.create_task(stream.rest()) for stream in streams[:2]]
    await asyncio.sleep(0)
    desk.stopping = True
    watchers.end()
    assert await asyncio.gather(*reading, streams[2].rest()) == [[], [], []]
    assert len(watchers) == 0
    assert await Stream(watchers).snapshot() == set()


@pytest.mark.parametrize("read", [1, 2, 3])
async def test_a_watcher_whose_stream_is_closed_is_forgotten(
    watchers: Watchers, records: Records, read: int
) -> None:
    heard(records, "vicuna-0")
    heard(records, "vicuna-1")
    stream = Stream(watchers)
    for _ in range(read):
        await stream.chunk()
    assert len(watchers) == 1
    await stream.close()
    assert len(watchers) == 0


async def test_a_watcher_who_is_cancelled_while_it_waits_is_forgotten(
    watchers: Watchers,
) -> None:
    stream = Stream(watchers)
    await stream.snapshot()
    waiting = asyncio.create_task(stream.chunk())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(watchers) == 0


# -- the route ---------------------------------------------------------------------------------


@pytest.fixture
def endpoint(desk: StandaloneDesk) -> Endpoint:
    return Endpoint(desk, lambda: (b"", ""), OpenAccess())


@pytest.fixture(params=["documented", "short"])
async def client(
    endpoint: Endpoint, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    app = by(request.param, endpoint)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield client


async def test_the_route_streams_events_to_those_who_do_not_cache(
    client: httpx.AsyncClient, records: Records
) -> None:
    heard(records)
    answer = await client.get(WATCH, params={"timeoutSeconds": 0.01})
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["modelinstance-revision"] == str(records.revision)
    events = [Event.read(chunk) for chunk in answer.content.split(b"\n\n")[:2]]
    assert [event.told for event in events] == [("ADDED", "vicuna-0"), ("SYNCED", "")]


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"model": "chat"}, {"vicuna-0"}),
        ({"namespace": "test"}, {"vicuna-1"}),
        ({"selector": "tier=gold"}, {"vicuna-0"}),
        ({"model": "vicuna", "selector": "!tier", "namespace": "test"}, {"vicuna-1"}),
        ({"model": "vicuna", "namespace": "nowhere"}, set()),
    ],
    ids=named,
)
async def test_the_route_takes_the_filters_of_every_read(
    client: httpx.AsyncClient, records: Records, params: dict[str, str], names: set[str]
) -> None:
    heard(records, "vicuna-0", aliases=frozenset({"chat"}), labels={"tier": "gold"})
    heard(records, "vicuna-1", namespace="test")
    answer = await client.get(WATCH, params={**params, "timeoutSeconds": 0.01})
    events = [Event.read(part) for part in answer.content.split(b"\n\n") if part[:5] == b"event"]
    assert {event.data["name"] for event in events if event.kind == "ADDED"} == names
    assert events[-1].kind == "SYNCED"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("timeoutSeconds=0", "query.timeoutSeconds"),
        ("timeoutSeconds=-1", "query.timeoutSeconds"),
        ("timeoutSeconds=3601", "query.timeoutSeconds"),
        ("timeoutSeconds=nan", "query.timeoutSeconds"),
        ("timeoutSeconds=inf", "query.timeoutSeconds"),
        ("timeoutSeconds=soon", "query.timeoutSeconds"),
        ("timeoutSeconds=", "query.timeoutSeconds"),
        ("model=", "query.model"),
        (f"model={'m' * 254}", "query.model"),
        ("namespace=", "query.namespace"),
        ("selector=a%20in%20(", "query.selector"),
    ],
    ids=lambda text: text[:30],
)
async def test_a_bad_request_is_told_which_field_is_bad(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await client.get(f"{WATCH}?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)


async def test_when_too_many_watch_the_next_is_told_to_come_again(
    client: httpx.AsyncClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MAX_WATCHERS", 2)
    streams = [Stream(endpoint._watchers) for _ in range(2)]
    for stream in streams:
        await stream.snapshot()
    answer = await client.get(WATCH, params={"timeoutSeconds": 0.01})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["detail"] == "2 watch already"
    await streams[0].close()
    assert (await client.get(WATCH, params={"timeoutSeconds": 0.01})).status_code == 200


class Connection:
    """A request to the route, over a connection that stays until the test ends it."""

    def __init__(self, endpoint: Endpoint, *, reads: bool = True) -> None:
        self._reads = reads
        self._gone = asyncio.Event()
        self._came = asyncio.Event()
        self._content = b""
        self._asked = False
        scope = {
            "type": "http", "method": "GET", "path": WATCH, "query_string": b"", "headers": [],
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        self.answering = asyncio.ensure_future(endpoint.app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._content += message.get("body", b"")
        self._came.set()
        if not self._reads:
            await asyncio.Event().wait()

    async def until(self, content: bytes) -> None:
        """Wait until that has come."""
        async with asyncio.timeout(PATIENCE):
            while content not in self._content:
                self._came.clear()
                await self._came.wait()

    def go(self) -> None:
        self._gone.set()


async def test_a_watcher_who_goes_is_forgotten(endpoint: Endpoint, records: Records) -> None:
    connection = Connection(endpoint)
    await connection.until(b"SYNCED")
    assert len(endpoint._watchers) == 1
    heard(records)
    await connection.until(b"ADDED")
    connection.go()
    await asyncio.wait_for(connection.answering, PATIENCE)
    assert len(endpoint._watchers) == 0


async def test_a_watcher_who_does_not_read_loses_its_place(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SEND_SECONDS", 0.05)
    connection = Connection(endpoint, reads=False)
    await asyncio.wait_for(connection.answering, PATIENCE)
    assert len(endpoint._watchers) == 0


async def test_the_endpoint_ends_its_streams(endpoint: Endpoint, desk: StandaloneDesk) -> None:
    connections = [Connection(endpoint) for _ in range(3)]
    for connection in connections:
        await connection.until(b"SYNCED")
    desk.stopping = True
    endpoint.end_streams()
    for connection in connections:
        await asyncio.wait_for(connection.answering, PATIENCE)
    assert len(endpoint._watchers) == 0
