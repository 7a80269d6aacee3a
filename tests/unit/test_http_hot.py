"""The short way: it answers what the documented routes answer, and leaves all else to them."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from modelinstance.http import hot, patience
from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.hot import (
    HEARTBEATS,
    MAX_CACHED_QUERY,
    PATHS,
    SELECT,
    ShortProtocol,
    ShortWay,
)
from modelinstance.http.patience import MAX_BODY_BYTES
from modelinstance.http.rendering import Renderings, shown
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, InstanceSpec, Rotation
from modelinstance.registry.intake.registrations import Registered, Registration
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.load import Load
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, live, named, put, spec
from unit.clock import FakeClock
from unit.wire import over_the_wire

EXAMPLES = 300
PATIENCE = 5
"""Seconds within which what must come has come."""
LLAMA = "meta-llama/Llama-3.1-8B"
ODD = "täglich 50%+50% a=b&c;d"
JSON = "application/json"
ADOPTED = Registration("prod", spec(port=5))
"""Of one whose resource was written later."""
EARLY = Registration("new", spec()).early_id
"""The id of one whose resource is yet to be written; nobody has it at first."""
UNKNOWN = "0" * 16
AGE = re.compile(rb'"heartbeatAgeSeconds":([^}]+)\}')


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def told(self) -> tuple[Any, ...]:
        """All that must be the same on both ways; ages as numbers."""
        ages = [json.loads(age) for age in AGE.findall(self.body)]
        assert int(self.headers[b"content-length"]) == len(self.body)
        headers = {name: value for name, value in self.headers.items() if name != b"content-length"}
        return self.status, headers, AGE.sub(b"", self.body), ages


async def ask(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    body: Sequence[bytes] = (),
    media_type: str | None = None,
) -> Answer:
    """Send one request, with a body in so many parts."""
    left = list(body) or [b""]
    sent: list[Message] = []

    async def receive() -> Message:
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    typed = [] if media_type is None else [(b"content-type", media_type.encode())]
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query, "headers": typed,
    }  # fmt: skip
    await app(scope, receive, send)
    start, *rest = sent
    headers = dict(start["headers"])
    assert len(headers) == len(start["headers"])
    return Answer(start["status"], headers, b"".join(part["body"] for part in rest))


class Numbered:
    """Enrols workers in memory, under uids that are numbers."""

    default_namespace = "default"
    removals = held = 0

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._number = 0

    async def register(self, registration: Registration) -> Registered:
        self._number += 1
        record = self._workers.enter(registration, str(self._number))
        self._workers.arrive(record, registration.load)
        return Registered(record, created=True)


def settle(desk: StandaloneDesk, clock: FakeClock) -> None:
    """Have the same instances as at first, in the same state, and nothing counted."""
    records = desk.records
    for record in records:
        records.remove(record.key)
    records._decider.revision = 0
    desk.tallies.selections.clear()
    desk.workers.beats.clear()
    desk.enrolment = Numbered(desk.workers)  # type: ignore[assignment]
    heard(records, "vicuna-0", labels={"tier": "gold"}, aliases=frozenset({"chat"}), weight=2.5)
    clock.advance(0.0625)
    heard(records, "vicuna-1", namespace="test", port=2)
    heard(records, "vicuna-2", port=3, weight=0.0)
    put(records, "vicuna-3", port=4)
    heard(records, "llama-0", model_name=LLAMA, aliases=frozenset({"chat"}), host="fd00::5")
    heard(records, "odd-0", model_name=ODD, scheme="https", base_path="/v1")
    put(records, "off-0", model_name="off", rotation=Rotation.DISABLED)
    put(records, "idle-0", model_name="idle", heartbeat_required=False)
    records.set_deregistered(heard(records, "gone-0", model_name="gone"), deregistered=True)
    put(records, "leaving-0", model_name="leaving", deleting=True)
    adopted = desk.workers.enter(ADOPTED, NO_UID)
    records.adopt(adopted, "written", 0.0)
    desk.workers.arrive(adopted, Load(1e12, 1e-7, 0.5, {"tps": -0.5}))
    clock.advance(0.123456)


def heard(records: Records, name: str, **fields: Any) -> Record:
    """An instance that has just sent a heartbeat."""
    record = put(records, name, **fields)
    records.beat(record)
    return record


def make_desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


def short_over(served: ASGIApp, world: World) -> ASGIApp:
    """The short way of a world, with something else behind it."""
    short_way = ShortWay(world.desk, OpenAccess(), world.renderings)
    return over_the_wire(served, partial(ShortProtocol, short_way))


class World:
    """A registry, the documented application over it, and the short way over that one."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.desk = make_desk(self.clock)
        self.records = self.desk.records
        self.renderings = Renderings(self.records)
        self.documented = Endpoint(self.desk, lambda: (b"", ""), OpenAccess()).documented
        self.short = short_over(self._pass_on, self)
        self.passed_on = 0

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed_on += 1
        await self.documented(scope, receive, send)

    @property
    def state(self) -> list[object]:
        """All that requests may change."""
        return [
            self.desk.tallies.selections,
            self.desk.workers.beats,
            *((r.key, r.id, r.spec, r.verdict, r.load, r.last_beat) for r in self.records),
        ]


@pytest.fixture(scope="module")
def worlds() -> tuple[World, World]:
    """Two that are alike: one is asked by the documented way, one by the short way."""
    return World(), World()


@pytest.fixture
def world() -> World:
    made = World()
    settle(made.desk, made.clock)
    return made


Asked = tuple[str, str, dict[str, Any]]
"""The method and the path of a request, and the rest of it."""


def selecting(query: str | bytes) -> Asked:
    return "GET", SELECT, {"query": query.encode() if isinstance(query, str) else query}


def beating(body: Any, media_type: str | None = JSON) -> Asked:
    """A heartbeat, written as JSON or given as the parts of its body."""
    parts = [json.dumps(body, separators=(",", ":")).encode()]
    return "POST", HEARTBEATS, {"body": parts, "media_type": media_type}


def same_answers(worlds: tuple[World, World], requests: Iterable[Asked]) -> list[Answer]:
    """Ask both ways, one request after the other; returns the answers."""

    async def compare() -> list[Answer]:
        answers = []
        for number, (method, path, rest) in enumerate(requests):
            for world in worlds:
                world.records.random.seed(number)
            passed_on = worlds[1].passed_on
            answer = await ask(worlds[1].short, method, path, **rest)
            assert answer.told == (await ask(worlds[0].documented, method, path, **rest)).told
            assert worlds[0].state == worlds[1].state
            assert answer.status == 200 or worlds[1].passed_on == passed_on + 1
            answers.append(answer)
        return answers

    for world in worlds:
        settle(world.desk, world.clock)
    return asyncio.run(compare())


# -- select: the same answers ------------------------------------------------------------------

NAMES = ["vicuna", "chat", LLAMA, ODD, "off", "idle", "gone", "leaving", "nobody", "Vicuna", ""]
ESCAPES: list[Callable[[str], str]] = [
    quote,
    quote_plus,
    lambda value: quote(value, safe="/:@+;"),
    lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    lambda value: value,
]
ANY = st.one_of(
    st.text("%+&=;/\0 aé\u2028", max_size=6),
    st.sampled_from(
        ["%ff", "%C3", "%c3%28", "%ED%A0%80", "%", "%zz", "%00", "%26", "a=b", "\udcff"]
    ),
    st.integers(250, 257).map("n".__mul__),
    st.integers(1020, 1028).map("k".__mul__),
)
VALUES = {
    "model": st.sampled_from(NAMES) | ANY,
    "policy": st.sampled_from(
        ["weighted", "round-robin", "least-loaded", "sticky", "Sticky", "fastest", ""]
    ),
    "key": st.sampled_from(["session-1", "s 2", "0", ""]) | ANY,
    "namespace": st.sampled_from(["prod", "test", "nowhere", "n" * 63, "n" * 64, ""]) | ANY,
    "selector": st.sampled_from(["tier=gold", "tier", "!tier", "a in (", ""]),
    "exclude": st.sampled_from(["prod/vicuna-0", "test/vicuna-1", "nonsense", ""]),
    "wait": st.sampled_from(["0", "-1", "soon", "nan", ""]),
    "unknown": ANY,
    "Model": st.sampled_from(NAMES),
    "": ANY,
}


@st.composite
def pairs(draw: st.DrawFn) -> str:
    """One parameter, in one of the ways in which it may be written."""
    name = draw(st.sampled_from([*VALUES]) | st.sampled_from(["model", "key", "policy"]))
    value = draw(st.sampled_from(ESCAPES))(draw(VALUES[name]).encode(errors="replace").decode())
    if draw(st.integers(0, 19)) == 0:
        name = "".join(f"%{byte:02X}" for byte in name.encode())
    equals = "" if draw(st.integers(0, 19)) == 0 else "="
    return f"{name}{equals}{value}"


PLAIN = st.builds(
    "model={}{}{}".format,
    st.sampled_from(NAMES).map(quote),
    st.sampled_from(["", "&policy=weighted", "&policy=round-robin", "&policy=least-loaded"])
    | st.sampled_from(["s", "s 2", "é"]).map(lambda key: f"&key={quote_plus(key)}")
    | st.sampled_from(["s", "t"]).map("&policy=sticky&key={}".format),
    st.sampled_from(["", "&namespace=prod", "&namespace=test", "&namespace=nowhere"]),
)
"""Queries that are understood on the short way."""
WILD = st.lists(pairs(), max_size=4).map("&".join) | ANY
ASCII = "".join(chr(number) for number in range(33, 127) if number != ord("#"))
QUERIES = (PLAIN | st.builds("{}&{}".format, PLAIN, pairs()) | WILD).map(
    lambda query: quote(query, safe=ASCII, errors="surrogateescape").encode()
)
"""The server lets nothing else come in."""


@settings(max_examples=EXAMPLES)
@given(st.lists(QUERIES, min_size=1, max_size=8))
@example([b"", b"&", b"model", b"model=", b"=vicuna", b"model=vicuna&", b"&model=vicuna"])
@example([b"model=vicuna&model=chat", b"model=vicuna&policy=", b"model=vicuna&key="])
@example([b"model=t%C3%A4glich", b"model=t%c3%A4glich+50%25%2B50%25+a=b%26c;d", b"model=%ff"])
@example([b"m%6Fdel=vicuna", b"model=vicuna%00", b"model=%76icuna", b"model=vicuna;key=1"])
def test_both_ways_answer_every_select_alike(
    worlds: tuple[World, World], queries: list[bytes]
) -> None:
    same_answers(worlds, map(selecting, queries))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("model=vicuna", {"vicuna-0", "vicuna-1", ADOPTED.key.name}),
        ("model=vicuna&policy=round-robin", {"vicuna-0", "vicuna-1", ADOPTED.key.name}),
        ("model=vicuna&policy=weighted&namespace=test", {"vicuna-1"}),
        ("namespace=test&policy=least-loaded&model=vicuna", {"vicuna-1"}),
        ("model=chat&namespace=prod", {"vicuna-0", "llama-0"}),
        ("model=vicuna&key=a+session", None),
        ("key=%C3%A9&policy=sticky&model=vicuna", None),
        (f"model={quote(LLAMA, safe='')}", {"llama-0"}),
        (f"model={LLAMA}", {"llama-0"}),
        (f"model={quote_plus(ODD)}", {"odd-0"}),
        ("model=idle", {"idle-0"}),
    ],
)
def test_a_plain_select_is_answered_on_the_short_way(
    worlds: tuple[World, World], query: str, names: set[str] | None
) -> None:
    before = worlds[1].passed_on
    answers = same_answers(worlds, [selecting(query)] * (8 if names is None else 40))
    assert worlds[1].passed_on == before
    picked = {json.loads(answer.body)["name"] for answer in answers}
    assert len(picked) == 1 if names is None else picked == names


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", SELECT, b"", 422),
        ("GET", SELECT, b"model=", 422),
        ("GET", SELECT, b"model=nobody", 404),
        ("GET", SELECT, b"model=off", 503),
        ("GET", SELECT, b"model=leaving", 503),
        ("GET", SELECT, b"model=vicuna&namespace=nowhere", 404),
        ("GET", SELECT, b"model=vicuna&policy=fastest", 422),
        ("GET", SELECT, b"model=vicuna&policy=sticky", 422),
        ("GET", SELECT, b"model=vicuna&exclude=prod/vicuna-0", 200),
        ("GET", SELECT, b"model=vicuna&selector=tier%3Dgold", 200),
        ("GET", SELECT, b"model=vicuna&wait=1", 200),
        ("GET", SELECT, b"model=vicuna&tier=gold", 200),
        ("GET", SELECT, b"model=nobody&model=vicuna", 200),
        ("GET", SELECT, b"model=%FF", 404),
        ("GET", f"{SELECT}/", b"model=vicuna", 404),
        ("POST", SELECT, b"model=vicuna", 405),
        ("GET", HEARTBEATS, b"", 405),
        ("GET", "/livez", b"", 200),
    ],
)
def test_what_is_not_plain_or_not_granted_is_answered_by_the_documented_route(
    worlds: tuple[World, World], method: str, path: str, query: bytes, status: int
) -> None:
    before = worlds[1].passed_on
    [answer] = same_answers(worlds, [(method, path, {"query": query})])
    assert answer.status == status
    assert worlds[1].passed_on == before + 1


@pytest.mark.parametrize(
    "query",
    [
        f"model={'m' * 254}",
        f"model=vicuna&namespace={'n' * 64}",
        f"model=vicuna&key={'k' * 1025}",
    ],
    ids=lambda query: query[:20],
)
async def test_what_is_too_long_is_refused_even_if_there_is_such_a_thing(
    world: World, query: str
) -> None:
    heard(world.records, "long", namespace="n" * 64, port=77)
    heard(world.records, "long", model_name="m" * 254, port=78)
    answer = await ask(world.short, "GET", SELECT, query=query.encode())
    assert (answer.status, world.passed_on) == (422, 1)


async def test_what_falls_due_is_not_picked_on_the_short_way(world: World) -> None:
    heard(world.records, "due-0", model_name="due", heartbeat_timeout=0.5)
    assert (await ask(world.short, "GET", SELECT, query=b"model=due")).status == 200
    world.clock.advance(1)
    assert (await ask(world.short, "GET", SELECT, query=b"model=due")).status == 503


# -- heartbeats: the same answers --------------------------------------------------------------

REGISTRATION = {"model": "vicuna", "host": "10.0.0.5", "port": 8000, "namespace": "new"}
Strategy = st.SearchStrategy[Any]
NUMBERS: Strategy = st.sampled_from(
    [0, 1, 2.5, 1e12, 1e13, -1, 1e-9, True, "3", "x", None, 10**400]
) | (st.floats() | st.integers(-5, 2**70))
LOADS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "running": NUMBERS,
        "waiting": NUMBERS,
        "kvCache": st.floats(-0.1, 1.1) | st.none() | st.just("0.5"),
        "extra": st.dictionaries(
            st.sampled_from(["tps", "a:b", "x y", "", "é", "\ud800"]), NUMBERS, max_size=2
        ),
        "other": st.just(1),
    },
)
GOOD_LOADS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "running": st.floats(0, 1e12) | st.integers(0, 10**12),
        "waiting": st.floats(0, 100),
        "kvCache": st.none() | st.floats(0, 1),
        "extra": st.dictionaries(st.sampled_from(["tps", "a:b"]), st.floats(-1e12, 1e12)),
    },
)


def ids() -> dict[str, str]:
    """The id of each instance, by name."""
    clock = FakeClock()
    desk = make_desk(clock)
    settle(desk, clock)
    return {record.key.name: record.id for record in desk.records}


ID_OF = ids()
FORMER = ADOPTED.early_id
IDS = st.sampled_from([*ID_OF.values(), FORMER, EARLY, UNKNOWN])
BAD_IDS = st.sampled_from(
    ["", "x", "0" * 15, "0" * 17, UNKNOWN + "\n", "F" * 16, None, 5, "\ud800"]
)
REGISTRATIONS = st.sampled_from([None, REGISTRATION, REGISTRATION | {"port": 0}, {}, 7])
GOOD_BEATS = st.fixed_dictionaries({"incarnation": IDS}, optional={"load": GOOD_LOADS})
BEATS: Strategy = st.fixed_dictionaries(
    {"incarnation": IDS | BAD_IDS},
    optional={"load": LOADS, "registration": REGISTRATIONS, "items": st.just([])},
)
VALUES_OF_BODIES: Strategy = st.one_of(
    GOOD_BEATS,
    BEATS,
    st.fixed_dictionaries({"items": st.lists(GOOD_BEATS, max_size=4)}),
    st.fixed_dictionaries(
        {"items": st.lists(GOOD_BEATS | BEATS, max_size=3) | st.none()},
        optional={"incarnation": IDS, "more": st.just(1)},
    ),
    st.sampled_from([None, [], 1, "x", {}, True]),
)


@st.composite
def bodies(draw: st.DrawFn) -> list[bytes]:
    """A body, written in one of several ways or broken, in some parts."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    value = draw(VALUES_OF_BODIES)
    text = json.dumps(value, separators=separators)
    body = draw(st.sampled_from(["{}", " {}", "{}\n", "\ufeff{}"])).replace("{}", text).encode()
    damage = draw(st.sampled_from(["none"] * 6 + ["cut", "byte", "utf-16", "twice"]))
    at = draw(st.integers(0, len(body)))
    if damage == "cut":
        body = body[:at]
    elif damage == "byte":
        body = body[:at] + draw(st.sampled_from([b"\xff", b"\0", b",", b'"', b"{"])) + body[at:]
    elif damage == "utf-16":
        body = text.encode("utf-16")
    elif damage == "twice" and isinstance(value, dict) and value:
        body = (text[:-1] + "," + json.dumps(draw(BEATS))[1:]).encode()
    parts = draw(st.integers(0, len(body)))
    return [body[:parts], body[parts:]]


TYPES = st.sampled_from(
    [JSON] * 8 + ["application/json; charset=utf-8", "Application/JSON", "text/plain", "x", None]
)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(bodies(), TYPES), min_size=1, max_size=6))
@example([([b'{"incarnation":"%b","incarnation":"%b"}' % (b"0" * 16, EARLY.encode())], JSON)])
@example([([b'{"items":[],"items":[{"incarnation":"%b"}]}' % EARLY.encode()], JSON)])
@example(
    [([b'{"items"', b':[{"incarnation":"%b","load":{"running":1e400}}]}' % (b"0" * 16)], JSON)]
)
@example([([json.dumps({"incarnation": EARLY, "registration": REGISTRATION}).encode()], JSON)] * 2)
@example([([b"[" * 50_000], JSON), ([b'{"items":' + b"[" * 50_000], JSON)])
@example([([b'{"incarnation":"%b","load":{"running":1%b}}' % (b"0" * 16, b"0" * 5_000)], JSON)])
def test_both_ways_answer_every_heartbeat_alike(
    worlds: tuple[World, World], requests: list[tuple[list[bytes], str | None]]
) -> None:
    asked: list[Asked] = [
        ("POST", HEARTBEATS, {"body": body, "media_type": media_type})
        for body, media_type in requests
    ]
    same_answers(worlds, asked)


def beat(name: str = "vicuna-0", **fields: Any) -> dict[str, Any]:
    """A heartbeat of an instance of that name."""
    return {"incarnation": ID_OF[name], **fields}


GRANTED = [
    beat(),
    beat(load={"running": 3, "kvCache": 0.25, "extra": {"tps": 1}}),
    beat(registration=REGISTRATION),
    {"items": [beat(), beat("vicuna-1", load={})]},
    {"items": [beat(), beat("gone-0"), beat("leaving-0"), {"incarnation": UNKNOWN}]},
    {"items": [beat(registration=REGISTRATION)]},
]
NOT_GRANTED = [
    ({"incarnation": UNKNOWN}, 404),
    (beat("leaving-0"), 404),
    (beat("gone-0"), 410),
    ({"incarnation": EARLY, "registration": REGISTRATION}, 200),
    ({"items": [beat(), {"incarnation": UNKNOWN, "registration": REGISTRATION}]}, 200),
    ({"items": []}, 422),
    ({"items": [beat(), 7]}, 422),
    (beat(load={"running": -1}), 422),
    ({"incarnation": "x"}, 422),
    ([], 422),
]


@pytest.mark.parametrize("body", GRANTED, ids=named)
def test_a_heartbeat_that_is_granted_is_answered_on_the_short_way(
    worlds: tuple[World, World], body: Any
) -> None:
    before = worlds[1].passed_on
    [answer] = same_answers(worlds, [beating(body)])
    assert answer.status == 200
    assert worlds[1].passed_on == before


@pytest.mark.parametrize(("body", "status"), NOT_GRANTED, ids=named)
def test_a_heartbeat_that_is_not_plain_or_not_granted_is_answered_by_the_documented_route(
    worlds: tuple[World, World], body: Any, status: int
) -> None:
    before = worlds[1].passed_on
    [answer] = same_answers(worlds, [beating(body)])
    assert answer.status == status
    assert worlds[1].passed_on == before + 1


def test_a_body_in_many_parts_is_one_body(worlds: tuple[World, World]) -> None:
    for body in (*GRANTED, *(body for body, _ in NOT_GRANTED)):
        method, path, rest = beating(body)
        [content] = rest["body"]
        parts = [content[at : at + 3] for at in range(0, len(content), 3)]
        parted: Asked = (method, path, {**rest, "body": [b"", *parts, b""]})
        first, second = same_answers(worlds, [(method, path, rest), parted])
        assert first.status == second.status


async def test_who_goes_in_the_middle_of_a_body_has_not_beaten(world: World) -> None:
    content = json.dumps(beat()).encode()
    messages: list[Message] = [
        {"type": "http.request", "body": content, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        del message

    scope = {
        "type": "http", "method": "POST", "path": HEARTBEATS, "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    await world.short(scope, receive, send)
    assert world.passed_on == 0
    assert not world.desk.workers.beats


# -- what is served short ----------------------------------------------------------------------


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(scope["path"])


async def test_each_of_the_paths_is_served_without_the_documented_application(
    world: World,
) -> None:
    short = short_over(fail, world)
    plain = [selecting("model=vicuna"), beating(beat())]
    assert {path: method for method, path, _ in plain} == PATHS
    for method, path, rest in plain:
        answer = await ask(short, method, path, **rest)
        assert (answer.status, answer.headers[b"content-type"]) == (200, b"application/json")


# -- on one connection -------------------------------------------------------------------------


class Connection:
    """A connection to a world, by which any number of requests may go."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        of_server: asyncio.Transport,
    ) -> None:
        self.reader = reader
        self.of_server = of_server
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send some bytes; each part arrives by itself."""
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def answer(self) -> Answer:
        """The next answer."""
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
            headers = dict(line.split(b": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers[b"content-length"]))
        return Answer(int(first.split(b" ")[1]), headers, body)

    async def is_silent(self) -> bool:
        """Whether nothing comes, as long as nothing else happens."""
        coming = asyncio.ensure_future(self.reader.read(1))
        for _ in range(20):
            await asyncio.sleep(0)
        silent = not coming.done()
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        return silent

    async def ends(self) -> bool:
        """Whether the server ends it, and says nothing more."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read() == b""


@asynccontextmanager
async def connected(
    world: World, served: ASGIApp | None = None, **options: Any
) -> AsyncIterator[Connection]:
    """A connection to a world, with its documented application or another one behind."""
    served = world.documented if served is None else served
    config = uvicorn.Config(served, log_config=None, lifespan="off", interface="asgi3", **options)
    config.load()
    short_way = ShortWay(world.desk, OpenAccess(), world.renderings)
    state = ServerState()
    state.default_headers = [(b"server", b"test")]
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(
        lambda: ShortProtocol(short_way, config=config, server_state=state, app_state={}), theirs
    )
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield Connection(reader, writer, transport)
    finally:
        writer.close()
        await writer.wait_closed()
        transport.abort()
        for task in state.tasks:
            await task


def on_the_wire(asked: Asked, *headers: bytes, version: bytes = b"1.1") -> bytes:
    """A request as bytes."""
    method, path, rest = asked
    query, body = rest.get("query", b""), b"".join(rest.get("body", []))
    lines = [
        b"%b %b%b%b HTTP/%b" % (method.encode(), path.encode(), b"?" * bool(query), query, version),
        b"Host: registry",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    if rest.get("media_type"):
        lines.append(b"Content-Type: " + rest["media_type"].encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


MIXED: list[Asked] = [
    selecting("model=idle"),
    selecting("model=vicuna&namespace=test"),
    selecting("model=vicuna&key=session"),
    selecting("model=vicuna&namespace=prod&exclude=prod/vicuna-0&selector=!tier"),
    selecting("model=nobody"),
    selecting("model=off"),
    beating(beat(load={"running": 2})),
    beating(GRANTED[4]),
    *(beating(body) for body, _ in NOT_GRANTED),
    ("GET", "/livez", {}),
    ("GET", "/api/v1/models", {}),
]


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(MIXED), min_size=1, max_size=8),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_requests_on_one_connection_are_answered_in_their_order_however_they_arrive(
    worlds: tuple[World, World], requests: list[Asked], cuts: list[int]
) -> None:
    async def compare() -> None:
        content = b"".join(map(on_the_wire, requests))
        bounds = [0, *sorted({cut for cut in cuts if cut < len(content)}), len(content)]
        parts = [content[start:end] for start, end in pairwise(bounds)]
        async with connected(worlds[1]) as connection:
            await connection.send(*parts)
            for method, path, rest in requests:
                answer = await connection.answer()
                assert answer.headers.pop(b"server") == b"test"
                assert answer.told == (await ask(worlds[0].documented, method, path, **rest)).told
        assert worlds[0].state == worlds[1].state

    for world in worlds:
        settle(world.desk, world.clock)
    asyncio.run(compare())


async def test_a_plain_request_waits_until_the_one_before_it_is_answered(world: World) -> None:
    came, may_go = asyncio.Event(), asyncio.Event()

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        came.set()
        await may_go.wait()
        await world.documented(scope, receive, send)

    async with connected(world, served) as connection:
        await connection.send(on_the_wire(("GET", "/livez", {})))
        await asyncio.wait_for(came.wait(), PATIENCE)
        await connection.send(on_the_wire(selecting("model=idle")), on_the_wire(beating(beat())))
        assert await connection.is_silent()
        may_go.set()
        bodies = [json.loads((await connection.answer()).body) for _ in range(3)]
    assert [body.get("status") or body.get("name") or body.get("result") for body in bodies] == [
        "ok",
        "idle-0",
        "accepted",
    ]


async def test_who_asks_and_does_not_read_is_not_answered_without_end(world: World) -> None:
    count, request = 3_000, on_the_wire(selecting("model=idle"))
    async with connected(world, refuse) as connection:
        sending = asyncio.ensure_future(connection.send(*[request * (count // 10)] * 10))
        for _ in range(500):
            await asyncio.sleep(0)
        _, high_water = connection.of_server.get_write_buffer_limits()
        assert 0 < connection.of_server.get_write_buffer_size() < 2 * high_water
        answers = [await connection.answer() for _ in range(count)]
        await sending
    assert {answer.status for answer in answers} == {200, 404}
    assert answers[0].status == 200


@pytest.mark.parametrize("asked", [selecting("model=idle"), beating(beat())], ids=["get", "post"])
@pytest.mark.parametrize(
    ("headers", "version"),
    [([b"Connection: close"], b"1.1"), ([], b"1.0"), ([b"Connection: keep-alive"], b"1.0")],
    ids=["close", "1.0", "1.0 keep-alive"],
)
async def test_a_connection_that_is_to_end_ends_after_the_answer(
    world: World, asked: Asked, headers: list[bytes], version: bytes
) -> None:
    async with connected(world) as connection:
        await connection.send(on_the_wire(asked, *headers, version=version))
        assert (await connection.answer()).status == 200
        assert await connection.ends()


async def test_who_asks_whether_to_send_the_body_is_told_to(world: World) -> None:
    head, _, body = on_the_wire(beating(beat()), b"Expect: 100-continue").partition(b"\r\n\r\n")
    async with connected(world) as connection:
        await connection.send(head + b"\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            told = await connection.reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 100 ")
        await connection.send(body)
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1),
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (MAX_BODY_BYTES, b"x" * MAX_BODY_BYTES)
        + b"1\r\nx\r\n",
    ],
    ids=["announced", "chunked"],
)
async def test_heartbeats_that_are_too_large_are_refused(world: World, body: bytes) -> None:
    head = b"POST /api/v1/heartbeats HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with connected(world) as connection:
        sending = asyncio.ensure_future(connection.send(head + body))
        assert (await connection.answer()).status == 413
        sending.cancel()


async def test_a_heartbeat_that_does_not_arrive_in_whole_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "READ_SECONDS", 0.05)
    async with connected(world) as connection:
        await connection.send(on_the_wire(beating(beat()))[:-1])
        assert (await connection.answer()).status == 408
    assert not world.desk.workers.beats


async def test_a_connection_on_which_nothing_is_asked_any_more_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "READ_SECONDS", 1)
    async with connected(world, timeout_keep_alive=0) as connection:
        await connection.send(on_the_wire(selecting("model=idle")))
        assert (await connection.answer()).status == 200
        assert await connection.ends()


@pytest.mark.parametrize(
    ("types", "status"),
    [([b"application/json", b"text/plain"], 200), ([b"text/plain", b"application/json"], 422)],
)
async def test_of_several_types_of_a_body_the_first_counts(
    worlds: tuple[World, World], types: list[bytes], status: int
) -> None:
    headers = [b"Content-Type: " + media_type for media_type in types]
    asked = beating(beat(), None)
    for world in worlds:
        settle(world.desk, world.clock)
    for world in worlds:
        # the short way, and the long way
        way = b"Connection: keep-alive" if world is worlds[1] else b"Connection: close"
        async with connected(world) as connection:
            await connection.send(on_the_wire(asked, way, *headers))
            assert (await connection.answer()).status == status


async def test_the_fragment_of_an_address_is_no_part_of_what_is_asked(world: World) -> None:
    heard(world.records, "odd-1", model_name="idle#1", port=77)
    async with connected(world) as connection:
        for headers in ([], [b"Connection: close"]):  # the short way, and the long way
            await connection.send(on_the_wire(selecting("model=idle#1"), *headers))
            assert json.loads((await connection.answer()).body)["name"] == "idle-0"


async def test_a_body_in_very_many_parts_costs_no_more_than_on_the_long_way(world: World) -> None:
    parts = b"1\r\nx\r\n" * 100_000

    async def seconds_of(path: bytes) -> float:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
        async with connected(world, refuse) as connection:
            began = time.process_time()
            await connection.send(head, *[parts] * 5, b"0\r\n\r\n")
            await connection.reader.readuntil(b"\r\n\r\n")
            return time.process_time() - began

    long = min([await seconds_of(b"/other") for _ in range(2)])
    assert await seconds_of(HEARTBEATS.encode()) < 4 * long


async def test_the_head_of_an_answer_says_what_holds_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(world) as connection:

        async def head() -> tuple[bytes, bytes, bytes]:
            await connection.send(on_the_wire(selecting("model=idle")))
            headers = (await connection.answer()).headers
            return (
                headers[b"modelinstance-revision"],
                headers[b"modelinstance-view-age"],
                headers[b"modelinstance-view-stale"],
            )

        before = world.records.revision
        assert await head() == (b"%d" % before, b"0.000", b"false")
        put(world.records, "vicuna-3", port=4, weight=0.5)
        assert await head() == (b"%d" % (before + 1), b"0.000", b"false")
        state = ViewState(synced=True, age=90.0, stale=True, failure="refused")
        monkeypatch.setattr(world.desk, "view_state", lambda: state)
        world.clock.advance(0.001)
        assert await head() == (b"%d" % (before + 1), b"90.000", b"true")


# -- what is remembered ------------------------------------------------------------------------


def written(world: World, record: Record) -> Any:
    """An instance as it is written on the short way."""
    return json.loads(world.renderings.render(record))


def current(world: World, record: Record) -> Any:
    """An instance as it is."""
    return shown(world.records, record).model_dump(mode="json", by_alias=True)


def edit(world: World, record: Record, **fields: Any) -> None:
    labels = fields.pop("labels", record.labels)
    deleting = fields.pop("deleting", record.deleting)
    kept = {name: getattr(record.spec, name) for name in InstanceSpec.__slots__}
    world.records.put(
        record.key, record.uid, InstanceSpec(**kept | fields),
        created=record.created, labels=labels, deleting=deleting,
    )  # fmt: skip


CHANGES: dict[str, Callable[[World, Record], object]] = {
    "weight": lambda world, record: edit(world, record, weight=3.0),
    "aliases": lambda world, record: edit(world, record, aliases=frozenset({"talk"})),
    "model": lambda world, record: edit(world, record, model_name="other"),
    "host": lambda world, record: edit(world, record, host="10.0.0.99"),
    "port": lambda world, record: edit(world, record, port=99),
    "scheme": lambda world, record: edit(world, record, scheme="https"),
    "base path": lambda world, record: edit(world, record, base_path="/v2"),
    "rotation": lambda world, record: edit(world, record, rotation=Rotation.DRAINING),
    "need of beats": lambda world, record: edit(world, record, heartbeat_required=False),
    "deletion": lambda world, record: edit(world, record, deleting=True),
    "load": lambda world, record: world.records.set_load(record, Load(7)),
    "another load": lambda world, record: world.records.set_load(record, Load(1, 2, 0.5, {"a": 1})),
    "drain": lambda world, record: world.records.set_drained(record, drained=True),
    "goodbye": lambda world, record: world.records.set_deregistered(record, deregistered=True),
    "silence": lambda world, record: live(world.records, world.clock, TIMEOUT + 1),
    "time": lambda world, record: world.clock.advance(0.5),
    "a caller's word": lambda world, record: world.records.set_by_caller(record, healthy=False),
    "written resource": lambda world, record: world.records.adopt(record, "another", 0.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_written_as_it_is_now(world: World, change: str) -> None:
    record = heard(world.records, "changing", port=77)
    before = written(world, record)
    assert before == current(world, record)
    CHANGES[change](world, record)
    assert written(world, record) == current(world, record) != before


def test_labels_that_have_changed_count_at_once(world: World) -> None:
    record = heard(world.records, "changing", port=77)
    before = written(world, record)
    edit(world, record, labels={"tier": "new"})
    assert written(world, record) == current(world, record) == before


def test_a_load_that_was_taken_is_in_the_next_select(worlds: tuple[World, World]) -> None:
    query = f"model={quote(ODD)}"
    taken = beating(beat("odd-0", load={"running": 9}))
    *_, last = same_answers(worlds, [selecting(query), taken, selecting(query)])
    assert json.loads(last.body)["load"]["running"] == 9


def test_why_one_is_not_called_is_written_as_it_is_now(world: World) -> None:
    holder = heard(world.records, "holder", port=77, created=-2.0)
    record = heard(world.records, "conflicted", port=77)
    assert "ModelInstance holder holds" in written(world, record)["message"]
    heard(world.records, "heir", port=77, created=-1.0)
    world.records.remove(holder.key)
    assert "ModelInstance heir holds" in written(world, record)["message"]
    assert written(world, record) == current(world, record)


def test_a_timeout_that_has_changed_is_written_as_it_is_now(world: World) -> None:
    record = heard(world.records, "silent", port=77)
    live(world.records, world.clock, TIMEOUT + 1)
    assert f"within {TIMEOUT:g} s" in written(world, record)["message"]
    world.records.set_default_timeout(3 * TIMEOUT)
    assert f"within {3 * TIMEOUT:g} s" in written(world, record)["message"]
    assert written(world, record) == current(world, record)


OPERATIONS = st.tuples(
    st.sampled_from([*CHANGES]) | st.sampled_from(["put", "beat", "remove", "timeout"]),
    st.integers(0, 2),
    st.sampled_from([1, 1, 1, 2]),
)


@pytest.fixture(scope="module")
def busy() -> World:
    """One in which much changes."""
    return World()


@settings(max_examples=EXAMPLES)
@given(st.lists(OPERATIONS, max_size=30))
def test_whatever_changes_what_is_written_is_what_is(
    busy: World, operations: list[tuple[str, int, int]]
) -> None:
    world, records = busy, busy.records
    records.set_default_timeout(TIMEOUT)
    for record in records:
        records.remove(record.key)
    for number, (operation, which, port) in enumerate(operations):
        known = [record for record in records if record.key.name == f"i{which}"]
        if operation == "put":
            put(records, f"i{which}", port=port, uid=f"uid-{which}", created=float(number))
        elif operation == "timeout":
            records.set_default_timeout(TIMEOUT * (1 + which))
        elif operation == "remove":
            for record in known:
                records.remove(record.key)
        elif operation == "beat":
            for record in known:
                records.beat(record)
        else:
            for record in known:
                CHANGES[operation](world, record)
        for record in records:
            assert written(world, record) == current(world, record)
    assert len(world.renderings._rendered) == len(records)


def test_nothing_is_remembered_of_what_is_gone(world: World) -> None:
    for record in world.records:
        written(world, record)
    assert len(world.renderings._rendered) == len(world.records) > 5
    put(world.records, uid="another life")
    for record in world.records:
        world.records.remove(record.key)
    assert not world.renderings._rendered


# -- memory ------------------------------------------------------------------------------------


EMPTY = (b"content-length", b"0")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Costs nothing, so that what is measured is the short way."""
    await send({"type": "http.response.start", "status": 404, "headers": [EMPTY]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("model=nobody-{}", 404),
        ("model=vicuna&key=session-{}", 200),
        ("model=vicuna&namespace=nowhere-{}", 404),
        ("model=vicuna&unknown={}", 404),
        ("%FF{}", 404),
        (f"model=vicuna&key={'k' * MAX_CACHED_QUERY}{{}}", 200),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_any_number_of_queries_leaves_memory_flat(
    world: World, query: str, status: int
) -> None:
    short = short_over(refuse, world)
    scope = {"type": "http", "method": "GET", "path": SELECT, "headers": []}
    statuses: set[int] = set()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        statuses.add(message.get("status", status))

    async def blocks_after(numbers: range) -> int:
        for number in numbers:
            await short({**scope, "query_string": query.format(number).encode()}, receive, send)
        gc.collect()
        return sys.getallocatedblocks()

    kept = hot._ask_again.cache_info().maxsize
    assert kept is not None
    before = await blocks_after(range(10_000, 10_000 + 2 * kept))
    after = await blocks_after(range(10_000 + 2 * kept, 10_000 + 5 * kept))
    assert after - before < 400
    assert statuses == {status}


async def test_long_queries_are_not_remembered(world: World) -> None:
    hot._ask_again.cache_clear()
    for length, kept in ((MAX_CACHED_QUERY, 1), (MAX_CACHED_QUERY + 1, 1)):
        query = b"model=vicuna&key=".ljust(length, b"k")
        assert (await ask(world.short, "GET", SELECT, query=query)).status == 200
        assert hot._ask_again.cache_info().currsize == kept
    assert world.passed_on == 0
