"""The routes that only read, over ASGI: no sockets."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from modelinstance.enrolment import LocalEnrolment
from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.hot import PATHS
from modelinstance.http.waiting import WaitingRoom
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Incarnation, Rotation
from modelinstance.registry.intake.reports import Reports
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.load import Load
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.tallies import Tallies
from unit.builders import TIMEOUT, key, named, put
from unit.clock import FakeClock
from unit.wire import by

SOON = 0.05
"""Seconds that a request waits in vain."""
LONG = 30
"""Seconds that a request may wait; no test waits for so long."""
LLAMA = "meta-llama/Llama-3.1-8B"
CURRENT = ViewState(synced=True, age=1.5, stale=False, failure=None)
STALE = ViewState(synced=True, age=90.0, stale=True, failure="refused")
UNSEEN = ViewState(synced=False, age=9.0, stale=True, failure=None)


@dataclass
class Shown:
    """What the endpoint reads, as a test sets it."""

    records: Records
    tallies: Tallies = field(default_factory=Tallies)
    stopping: bool = False
    state: ViewState = CURRENT
    pods: ViewState | None = None

    def __post_init__(self) -> None:
        self.workers = Workers(self.records)
        self.reports = Reports(self.records)
        self.enrolment = LocalEnrolment(
            self.workers, default_namespace="default", remove_after=3600
        )

    def view_state(self) -> ViewState:
        return self.state

    def pods_state(self, namespace: str = "") -> ViewState | None:
        del namespace
        return self.pods


def metrics() -> tuple[bytes, str]:
    return b"up 1\n", "text/plain; version=0.0.4"


@pytest.fixture
def source(records: Records) -> Shown:
    return Shown(records)


@pytest.fixture
def endpoint(source: Shown) -> Endpoint:
    return Endpoint(source, metrics, OpenAccess())


@pytest.fixture
def app(endpoint: Endpoint) -> FastAPI:
    return endpoint.documented


@pytest.fixture(params=["documented", "short"])
async def client(
    endpoint: Endpoint, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    app = by(request.param, endpoint)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://registry"
    ) as client:
        yield client


Params = dict[str, Any]


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    """The answer to what must succeed."""
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def select(client: httpx.AsyncClient, model: str = "vicuna", **params: Any) -> str:
    """The name of the instance that is picked."""
    return str((await get(client, "/api/v1/select", model=model, **params))["name"])


async def problem(client: httpx.AsyncClient, status: int, path: str, **params: Any) -> str:
    """The detail of the problem that must be the answer."""
    answer = await client.get(path, params=params or None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == status
    return str(body["detail"])


def heard(records: Records, name: str = "vicuna-0", **fields: Any) -> Record:
    """A healthy instance, at a port of its own."""
    fields.setdefault("port", 8000 + len(records))
    record = put(records, name, **fields)
    records.beat(record)
    return record


@pytest.fixture
def fleet(records: Records) -> Records:
    """Several models in two namespaces with labels, healthy or not."""
    heard(records, "vicuna-0", labels={"tier": "gold", "zone": "a"}, aliases=frozenset({"chat"}))
    heard(records, "vicuna-1", namespace="test", labels={"tier": "silver"})
    put(records, "vicuna-2", port=9, labels={"tier": "gold"})
    heard(records, "llama-0", model_name=LLAMA, aliases=frozenset({"chat", "base"}))
    put(records, "off-0", model_name="off", port=10, rotation=Rotation.DISABLED)
    return records


# -- instances and models ----------------------------------------------------------------------


async def test_an_instance_is_shown_with_all_that_a_router_needs(
    client: httpx.AsyncClient, records: Records, clock: FakeClock
) -> None:
    spec = heard(
        records, host="2001:db8::1", port=8443, scheme="https", base_path="/v1", weight=0.5,
        aliases=frozenset({"small", "chat"}),
    ).spec  # fmt: skip
    clock.advance(0.25)
    shown = await get(client, "/api/v1/instances/prod/vicuna-0")
    assert shown.pop("message")
    assert shown == {
        "namespace": "prod",
        "name": "vicuna-0",
        "model": "vicuna",
        "aliases": ["chat", "small"],
        "host": "2001:db8::1",
        "port": 8443,
        "address": "https://[2001:db8::1]:8443/v1",
        "weight": 0.5,
        "phase": "Healthy",
        "healthy": True,
        "reason": "HeartbeatReceived",
        "incarnation": Incarnation("uid-of-vicuna-0", spec.address).id,
        "load": None,
        "heartbeatAgeSeconds": 0.25,
    }


async def test_an_instance_that_was_never_heard_has_no_age_of_a_heartbeat(
    client: httpx.AsyncClient, records: Records
) -> None:
    put(records)
    shown = await get(client, "/api/v1/instances/prod/vicuna-0")
    assert (shown["phase"], shown["healthy"]) == ("Starting", False)
    assert shown["heartbeatAgeSeconds"] is None


async def test_an_instance_is_shown_with_its_load_as_last_reported(
    client: httpx.AsyncClient, records: Records
) -> None:
    record = heard(records)
    for load in (Load(3, 1, 0.5, {"tps": 12.5}), Load(0.5, 0, None)):
        records.set_load(record, load)
        shown = await get(client, "/api/v1/instances/prod/vicuna-0")
        assert shown["load"] == {
            "running": load.running,
            "waiting": load.waiting,
            "kvCache": load.kv_cache,
            "extra": load.extra,
        }


async def test_every_route_shows_an_instance_alike(
    client: httpx.AsyncClient, records: Records
) -> None:
    records.set_load(heard(records), Load(3, 1, 0.5, {"tps": 12.5}))
    shown = await get(client, "/api/v1/instances/prod/vicuna-0")
    assert await get(client, "/api/v1/instances") == {"items": [shown]}
    assert await get(client, "/api/v1/select", model="vicuna") == shown
    assert (await get(client, "/api/v1/instances/prod/vicuna-0/why"))["instance"] == shown


@pytest.mark.parametrize("path", ["prod/nobody", "nowhere/vicuna-0", "PROD/vicuna-0"])
async def test_an_unknown_instance_is_not_found(
    client: httpx.AsyncClient, fleet: Records, path: str
) -> None:
    assert path in await problem(client, 404, f"/api/v1/instances/{path}")


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, {"vicuna-0", "vicuna-1", "vicuna-2", "llama-0", "off-0"}),
        ({"model": "vicuna"}, {"vicuna-0", "vicuna-1", "vicuna-2"}),
        ({"model": LLAMA}, {"llama-0"}),
        ({"model": "chat"}, {"vicuna-0", "llama-0"}),
        ({"model": "nobody"}, set()),
        ({"healthy": "true"}, {"vicuna-0", "vicuna-1", "llama-0"}),
        ({"healthy": "false"}, {"vicuna-2", "off-0"}),
        ({"model": "vicuna", "healthy": "false"}, {"vicuna-2"}),
        ({"namespace": "test"}, {"vicuna-1"}),
        ({"namespace": "nowhere"}, set()),
        ({"selector": "tier=gold"}, {"vicuna-0", "vicuna-2"}),
        ({"selector": "tier"}, {"vicuna-0", "vicuna-1", "vicuna-2"}),
        ({"selector": "!tier"}, {"llama-0", "off-0"}),
        ({"selector": "tier in (gold, silver),zone!=a"}, {"vicuna-1", "vicuna-2"}),
        ({"selector": ""}, {"vicuna-0", "vicuna-1", "vicuna-2", "llama-0", "off-0"}),
        ({"selector": "tier=gold", "namespace": "test"}, set()),
        ({"selector": "tier=gold", "model": "vicuna", "healthy": "true"}, {"vicuna-0"}),
    ],
    ids=named,
)
async def test_instances_are_listed_by_what_is_asked_for(
    client: httpx.AsyncClient, fleet: Records, params: Params, names: set[str]
) -> None:
    listed = await get(client, "/api/v1/instances", **params)
    assert sorted(shown["name"] for shown in listed["items"]) == sorted(names)


@pytest.mark.parametrize(
    ("params", "models"),
    [
        ({}, [(LLAMA, 1, 1), ("off", 1, 0), ("vicuna", 3, 2)]),
        ({"namespace": "prod"}, [(LLAMA, 1, 1), ("off", 1, 0), ("vicuna", 2, 1)]),
        ({"selector": "tier=gold"}, [("vicuna", 2, 1)]),
        ({"namespace": "test", "selector": "tier=silver"}, [("vicuna", 1, 1)]),
        ({"namespace": "nowhere"}, []),
    ],
    ids=named,
)
async def test_models_are_listed_by_name_with_their_instances(
    client: httpx.AsyncClient, fleet: Records, params: Params, models: list[tuple[str, int, int]]
) -> None:
    listed = await get(client, "/api/v1/models", **params)
    assert listed == {
        "items": [
            {"model": model, "instances": instances, "healthy": healthy}
            for model, instances, healthy in models
        ]
    }


@pytest.mark.parametrize("path", ["instances", "instances/prod/vicuna-0", "models"])
async def test_who_has_fallen_silent_is_not_shown_as_healthy(
    client: httpx.AsyncClient, records: Records, clock: FakeClock, path: str
) -> None:
    heard(records, heartbeat_timeout=0.5)
    clock.advance(1)
    shown = await get(client, f"/api/v1/{path}")
    [shown] = shown.get("items", [shown])
    assert not shown["healthy"]


# -- select ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, {"vicuna-0", "vicuna-1"}),
        ({"model": LLAMA}, {"llama-0"}),
        ({"model": "base"}, {"llama-0"}),
        ({"model": "chat"}, {"vicuna-0", "llama-0"}),
        ({"namespace": "test"}, {"vicuna-1"}),
        ({"selector": "tier=gold"}, {"vicuna-0"}),
        ({"model": "chat", "selector": "!tier"}, {"llama-0"}),
        ({"exclude": "prod/vicuna-0"}, {"vicuna-1"}),
        ({"exclude": ["test/vicuna-1", "test/vicuna-0", "no/nonsense"]}, {"vicuna-0"}),
        ({"model": "chat", "exclude": "prod/llama-0", "namespace": "prod"}, {"vicuna-0"}),
    ],
    ids=named,
)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"policy": "weighted"},
        {"policy": "round-robin"},
        {"policy": "least-loaded"},
        {"policy": "sticky", "key": "k"},
        {"key": "k"},
    ],
    ids=named,
)
async def test_select_picks_the_healthy_that_are_asked_for(
    client: httpx.AsyncClient, fleet: Records, how: Params, params: Params, names: set[str]
) -> None:
    picked = {await select(client, **{"model": "vicuna", **how, **params}) for _ in range(30)}
    assert picked == names


async def test_round_robin_takes_turns(client: httpx.AsyncClient, records: Records) -> None:
    for number in range(3):
        heard(records, f"vicuna-{number}")
    turns = [await select(client, policy="round-robin") for _ in range(9)]
    assert turns == turns[:3] * 3
    assert len(set(turns)) == 3


async def test_least_loaded_evens_out(client: httpx.AsyncClient, records: Records) -> None:
    for number in range(2):
        heard(records, f"vicuna-{number}")
    seen = Counter([await select(client, policy="least-loaded") for _ in range(20)])
    assert set(seen.values()) == {10}


async def test_a_key_sticks_unless_another_policy_is_asked_for(
    client: httpx.AsyncClient, records: Records
) -> None:
    for number in range(10):
        heard(records, f"vicuna-{number}")
    assert len({await select(client, key="session-1") for _ in range(8)}) == 1
    assert len({await select(client, key=f"session-{n}") for n in range(20)}) > 3
    assert (
        len({await select(client, key="session-1", policy="round-robin") for _ in range(10)}) == 10
    )


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("Vicuna", "; did you mean 'vicuna'?"),
        ("vicunna", "; did you mean 'vicuna'?"),
        ("llama-3.1-8b", f"; did you mean '{LLAMA}'?"),
        ("gpt-4o", ""),
        ("CHAT", "; did you mean 'chat'?"),
    ],
)
async def test_an_unknown_model_is_not_found_and_what_may_be_meant_is_named(
    client: httpx.AsyncClient, source: Shown, fleet: Records, asked: str, hint: str
) -> None:
    detail = await problem(client, 404, "/api/v1/select", model=asked)
    assert detail == f"no instance of {asked!r}{hint}"
    assert source.tallies.selections == {"unknown": 1}


@pytest.mark.parametrize(
    "params",
    [
        {"model": "vicuna", "namespace": "nowhere"},
        {"model": "vicuna", "selector": "tier=bronze"},
        {"model": "llama", "namespace": "test"},
    ],
    ids=named,
)
async def test_nothing_beyond_the_filter_is_named(
    client: httpx.AsyncClient, fleet: Records, params: Params
) -> None:
    detail = await problem(client, 404, "/api/v1/select", **params)
    assert detail == f"no instance of {params['model']!r}"


def in_conflict(records: Records) -> None:
    heard(records, "a-holder", namespace="other", port=1)
    heard(records, port=1)


@pytest.mark.parametrize(
    ("bring_about", "params", "why"),
    [
        (put, {}, "Starting (AwaitingFirstHeartbeat)"),
        (
            lambda records: records.set_age(heard(records), TIMEOUT),
            {},
            "Unhealthy (HeartbeatExpired)",
        ),
        (in_conflict, {"namespace": "prod"}, "Conflicted (AddressConflict)"),
        (
            lambda records: put(records, rotation=Rotation.DISABLED),
            {},
            "Disabled (Disabled)",
        ),
        (
            lambda records: heard(records, rotation=Rotation.DRAINING),
            {},
            "Draining (Draining)",
        ),
        (
            lambda records: records.set_deregistered(heard(records), deregistered=True),
            {},
            "Unhealthy (Deregistered)",
        ),
        (lambda records: heard(records, weight=0.0), {}, "Healthy (weight 0)"),
        (
            heard,
            {"exclude": "prod/vicuna-0"},
            "Healthy (excluded)",
        ),
    ],
)
async def test_when_nobody_can_be_called_the_reason_of_each_is_told(
    client: httpx.AsyncClient,
    source: Shown,
    bring_about: Callable[[Records], object],
    params: Params,
    why: str,
) -> None:
    bring_about(source.records)
    detail = await problem(client, 503, "/api/v1/select", model="vicuna", **params)
    assert detail == f"no instance of 'vicuna' can be called: prod/vicuna-0 is {why}"
    assert source.tallies.selections == {"unavailable": 1}


async def test_when_nobody_can_be_called_it_says_when_to_ask_again(
    client: httpx.AsyncClient, records: Records
) -> None:
    put(records)
    answer = await client.get("/api/v1/select", params={"model": "vicuna"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_of_many_that_cannot_be_called_some_are_told(
    client: httpx.AsyncClient, records: Records
) -> None:
    for number in range(25):
        put(records, str(number), port=1 + number)
    detail = await problem(client, 503, "/api/v1/select", model="vicuna")
    assert detail.count(" is Starting") == 20
    assert detail.endswith("; and 5 more")


async def test_what_was_selected_is_counted(client: httpx.AsyncClient, source: Shown) -> None:
    heard(source.records)
    await select(client)
    await select(client, wait=1)
    assert source.tallies.selections == {"selected": 2}


# -- waiting -----------------------------------------------------------------------------------


async def wait_for_one(client: httpx.AsyncClient, **params: Any) -> asyncio.Task[str]:
    """A request that has begun to wait."""
    waiting = asyncio.create_task(select(client, wait=LONG, **params))
    await asyncio.sleep(SOON)
    assert not waiting.done()
    return waiting


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (None, {}),
        ({"model_name": "other"}, {}),
        ({"model_name": "other"}, {"model_name": "other", "aliases": frozenset({"vicuna"})}),
        ({"weight": 0.0}, {}),
        ({"rotation": Rotation.DISABLED}, {}),
        ({"labels": {"tier": "silver"}}, {}),
    ],
    ids=["new", "new model", "new alias", "weight", "rotation", "labels"],
)
async def test_a_request_waits_for_what_may_be_picked_after_a_change(
    client: httpx.AsyncClient, records: Records, before: Params | None, change: Params
) -> None:
    always: Params = {"labels": {"tier": "gold"}, "port": 1}
    if before is not None:
        heard(records, **{**always, **before})
    waiting = await wait_for_one(client, selector="tier=gold")
    heard(records, **{**always, **change})
    assert await asyncio.wait_for(waiting, 5) == "vicuna-0"


async def test_a_request_waits_for_the_first_heartbeat(
    client: httpx.AsyncClient, records: Records
) -> None:
    record = put(records)
    waiting = await wait_for_one(client)
    records.beat(record)
    assert await asyncio.wait_for(waiting, 5) == "vicuna-0"


async def test_a_request_waits_for_the_end_of_a_conflict(
    client: httpx.AsyncClient, records: Records
) -> None:
    in_conflict(records)
    waiting = await wait_for_one(client, namespace="prod")
    records.remove(key("a-holder", "other"))
    assert await asyncio.wait_for(waiting, 5) == "vicuna-0"


async def test_a_change_that_does_not_help_lets_the_request_wait(
    client: httpx.AsyncClient, records: Records
) -> None:
    waiting = await wait_for_one(client, exclude="prod/vicuna-0")
    heard(records, "vicuna-0")
    heard(records, "vicuna-1", weight=0.0)
    heard(records, "llama-0", model_name=LLAMA)
    await asyncio.sleep(SOON)
    assert not waiting.done()
    heard(records, "vicuna-2")
    assert await asyncio.wait_for(waiting, 5) == "vicuna-2"


@pytest.mark.parametrize(
    ("instances", "status"), [(["vicuna-0"], 503), ([], 404)], ids=["known", "unknown"]
)
async def test_a_request_that_waits_in_vain_is_told_why(
    client: httpx.AsyncClient, records: Records, instances: list[str], status: int
) -> None:
    for name in instances:
        put(records, name)
    begun = asyncio.get_running_loop().time()
    await problem(client, status, "/api/v1/select", model="vicuna", wait=SOON)
    assert asyncio.get_running_loop().time() - begun >= SOON


async def test_nobody_waits_for_what_is_there(client: httpx.AsyncClient, records: Records) -> None:
    heard(records)
    assert await asyncio.wait_for(select(client, wait=LONG), 5) == "vicuna-0"


async def test_all_who_wait_for_one_name_are_answered(
    client: httpx.AsyncClient, records: Records
) -> None:
    record = put(records)
    waiting = [asyncio.create_task(select(client, wait=LONG)) for _ in range(100)]
    await asyncio.sleep(4 * SOON)
    assert not any(task.done() for task in waiting)
    records.beat(record)
    assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == ["vicuna-0"] * 100


class Waiters:
    """A waiting room, and those who wait there."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.room = WaitingRoom(records)

    def attempt(self) -> Record | None:
        try:
            return self.records.select("vicuna")
        except NoHealthyInstanceError:
            return None

    async def one(self, seconds: float = LONG) -> Record | None:
        return await self.room.until("vicuna", self.attempt, seconds)

    @property
    def names(self) -> Iterable[str]:
        return self.room._waiting.keys()


async def test_the_waiting_room_is_empty_after_success_failure_and_cancellation(
    records: Records,
) -> None:
    waiters, record = Waiters(records), put(records)
    assert await waiters.one(0) is None
    assert await waiters.one(SOON) is None
    assert not waiters.names
    gone, happy = asyncio.create_task(waiters.one()), asyncio.create_task(waiters.one())
    await asyncio.sleep(0)
    assert set(waiters.names) == {"vicuna"}
    gone.cancel()
    records.beat(record)
    assert await asyncio.wait_for(happy, 5) is record
    assert gone.cancelled()
    assert not waiters.names


# -- bad requests ------------------------------------------------------------------------------

READS = ["models", "instances", "select?model=vicuna"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("select", "query.model"),
        ("select?model=", "query.model"),
        (f"select?model={'m' * 254}", "query.model"),
        ("select?model=vicuna&policy=fastest", "query.policy"),
        ("select?model=vicuna&policy=", "query.policy"),
        ("select?model=vicuna&wait=-1", "query.wait"),
        ("select?model=vicuna&wait=61", "query.wait"),
        ("select?model=vicuna&wait=inf", "query.wait"),
        ("select?model=vicuna&wait=nan", "query.wait"),
        ("select?model=vicuna&wait=soon", "query.wait"),
        (f"select?model=vicuna&key={'k' * 1025}", "query.key"),
        (f"select?model=vicuna{'&exclude=a/b' * 65}", "query.exclude"),
        ("select?model=vicuna&exclude=b", "query.exclude.0='b': write NAMESPACE/NAME"),
        ("select?model=vicuna&policy=sticky", "query.key: policy=sticky needs a key"),
        ("instances?model=", "query.model"),
        (f"instances?model={'m' * 254}", "query.model"),
        ("instances?healthy=maybe", "query.healthy"),
        (f"instances/{'n' * 254}/vicuna-0", "path.namespace"),
        (f"instances/prod/{'n' * 254}", "path.name"),
        *((f"{path}{'&' if '?' in path else '?'}{filters}", field)
          for path in READS
          for filters, field in [
              ("namespace=", "query.namespace"),
              (f"namespace={'n' * 64}", "query.namespace"),
              ("selector=tier%3E1", "query.selector"),
              ("selector=a%20in%20(", "query.selector"),
              (f"selector={'a,' * 2048}a", "query.selector"),
          ]),
    ],
    ids=lambda text: text[:45],
)  # fmt: skip
async def test_a_bad_request_is_told_which_field_is_bad_in_few_words(
    client: httpx.AsyncClient, fleet: Records, path: str, field: str
) -> None:
    detail = await problem(client, 422, f"/api/v1/{path}")
    assert detail.startswith(field)
    assert len(detail) < 300


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("GET", "/", 404), ("DELETE", "/api/v1/models", 405)],
)
async def test_an_unknown_route_or_method_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_bug_is_a_problem_that_shows_nothing_of_the_inside(
    source: Shown, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise LookupError("a secret")

    monkeypatch.setattr(source.records, "expire", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        assert "secret" not in await problem(client, 500, "/api/v1/models")


@pytest.mark.parametrize("path", ["select?model=%FF%FE", "instances?model=%C3%28&namespace=%80"])
async def test_bad_utf8_is_a_name_that_nobody_has(
    client: httpx.AsyncClient, fleet: Records, path: str
) -> None:
    assert (await client.get(f"/api/v1/{path}")).status_code in {200, 404}


# -- headers, probes and the document ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("models", 200),
        ("instances", 200),
        ("instances/prod/vicuna-0", 200),
        ("instances/prod/nobody", 404),
        ("select?model=vicuna", 200),
        ("select?model=nobody", 404),
        ("select?model=off", 503),
        ("select", 422),
        ("models?selector=,", 422),
        ("nothing", 404),
    ],
)
async def test_every_answer_says_how_current_it_is(
    client: httpx.AsyncClient, source: Shown, fleet: Records, path: str, status: int
) -> None:
    for source.state, age, stale in [
        (CURRENT, "1.500", "false"),
        (STALE, "90.000", "true"),
    ]:
        answer = await client.get(f"/api/v1/{path}")
        assert answer.status_code == status
        assert answer.headers["modelinstance-revision"] == str(fleet.revision)
        assert answer.headers["modelinstance-view-age"] == age
        assert answer.headers["modelinstance-view-stale"] == stale


async def test_the_revision_goes_on_with_each_change(
    client: httpx.AsyncClient, records: Records
) -> None:
    async def revision() -> int:
        answer = await client.get("/api/v1/models")
        return int(answer.headers["modelinstance-revision"])

    first = await revision()
    assert await revision() == first
    heard(records)
    second = await revision()
    records.remove(key())
    assert first < second < await revision()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
async def test_probes_and_documents_are_answered_without_those_headers(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("modelinstance-")]


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        (CURRENT, 200, "the view is current"),
        (UNSEEN, 503, "waiting for the first full LIST: it is under way"),
        (replace(UNSEEN, failure="refused"), 503, "waiting for the first full LIST: refused"),
        (STALE, 200, "answering from memory: refused"),
        (replace(STALE, failure=None), 200,
         "answering from memory: nothing proves the view current"),
    ],
)  # fmt: skip
async def test_it_is_ready_from_the_first_list_on(
    client: httpx.AsyncClient, source: Shown, state: ViewState, status: int, reason: str
) -> None:
    source.state, source.tallies.watch_running = state, True
    answer = await client.get("/readyz")
    assert answer.status_code == status
    assert answer.json() == {
        "ready": status == 200,
        "reason": reason,
        "view": {
            "synced": state.synced,
            "ageSeconds": state.age,
            "stale": state.stale,
            "failure": state.failure,
        },
        "pods": None,
        "watching": True,
    }


async def test_it_tells_of_pods_that_cannot_be_seen_and_stays_ready(
    client: httpx.AsyncClient, source: Shown
) -> None:
    source.pods = ViewState(synced=False, age=91.5, stale=True, failure="LIST pods: HTTP 403")
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["reason"] == "the view is current"
    assert answer.json()["pods"] == {
        "synced": False, "ageSeconds": 91.5, "stale": True, "failure": "LIST pods: HTTP 403",
    }  # fmt: skip


async def test_it_is_not_ready_while_it_stops_but_alive(
    client: httpx.AsyncClient, source: Shown
) -> None:
    source.stopping = True
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert (answer.json()["ready"], answer.json()["reason"]) == (False, "stopping")
    assert await get(client, "/livez") == {"status": "ok"}


async def test_the_metrics_are_those_of_the_exposition(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert (answer.content, answer.headers["content-type"]) == metrics()


OF_THE_DOCUMENT = {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
"""Routes that show the document, and are not in it."""


def served(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Each method and path that is served, whether or not it is to be documented."""
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        if route.path not in OF_THE_DOCUMENT:
            yield from ((method, route.path) for method in route.methods or ())


async def test_the_document_holds_every_route(client: httpx.AsyncClient, app: FastAPI) -> None:
    paths = (await get(client, "/openapi.json"))["paths"]
    documented = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert documented == set(served(app))
    assert documented >= {(method, path) for path, method in PATHS.items()}


async def test_the_document_describes_every_operation_by_itself(
    client: httpx.AsyncClient,
) -> None:
    paths = (await get(client, "/openapi.json"))["paths"]
    operations = [operation for item in paths.values() for operation in item.values()]
    assert max(Counter(operation["operationId"] for operation in operations).values()) == 1
    for operation in operations:
        assert operation["description"]
        assert all(parameter["description"] for parameter in operation.get("parameters", []))


EVERYWHERE = {"400", "401", "408", "413", "431", "500"}
"""Statuses of problems that any route may answer with."""
ONE = "/api/v1/instances/{namespace}/{name}"


@pytest.mark.parametrize(
    ("method", "path", "statuses", "problems"),
    [
        ("get", "/api/v1/models", {"200"}, {"422"}),
        ("get", "/api/v1/instances", {"200"}, {"422"}),
        ("get", ONE, {"200"}, {"404", "422"}),
        ("get", f"{ONE}/why", {"200"}, {"404", "422"}),
        ("get", "/api/v1/select", {"200"}, {"404", "422", "503"}),
        ("get", "/api/v1/watch", {"200"}, {"422", "503"}),
        (
            "post", "/api/v1/instances", {"200", "201", "202"},
            {"403", "409", "422", "503"},
        ),
        (
            "post", "/api/v1/heartbeats", {"200"},
            {"403", "404", "409", "410", "422", "503"},
        ),
        ("post", "/api/v1/reports", {"200"}, {"404", "422"}),
        ("delete", ONE, {"200"}, {"404", "409", "422"}),
        ("post", f"{ONE}/drain", {"200"}, {"404", "409", "422"}),
        ("delete", f"{ONE}/drain", {"200"}, {"404", "409", "422"}),
        ("get", "/metrics", {"200"}, {"403"}),
    ],
)  # fmt: skip
async def test_the_document_shows_every_status(
    client: httpx.AsyncClient, method: str, path: str, statuses: set[str], problems: set[str]
) -> None:
    answers = (await get(client, "/openapi.json"))["paths"][path][method]["responses"]
    problems = problems | EVERYWHERE
    assert set(answers) == statuses | problems
    for status in problems:
        [(media_type, content)] = answers[status]["content"].items()
        assert media_type == "application/problem+json"
        assert set(content["schema"]["properties"]) == {"type", "title", "status", "detail"}


# -- memory ------------------------------------------------------------------------------------


async def ask(app: FastAPI, path: str, query: str) -> int:
    """The status of an answer, without a client that costs more than the application."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [],
        },
        receive,
        send,
    )
    return status


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/api/v1/select", "model=nobody-{}", 404),
        ("/api/v1/select", "model=nobody-{}&wait=0.000001", 404),
        ("/api/v1/select", "model=vicuna&key=session-{}", 200),
        ("/api/v1/select", "model=vicuna&exclude=prod/{}&selector=!label-{}", 200),
        ("/api/v1/instances", "model=nobody-{}", 200),
        ("/api/v1/models", "namespace=nowhere-{}", 200),
        ("/api/v1/instances/prod/nobody-{}", "", 404),
    ],
)
async def test_names_that_nobody_has_leave_memory_flat(
    app: FastAPI, fleet: Records, path: str, query: str, status: int
) -> None:
    async def blocks_after(numbers: range) -> int:
        for number in numbers:
            answer = await ask(app, path.format(number), query.format(number, number))
            assert answer == status
        gc.collect()
        return sys.getallocatedblocks()

    before = await blocks_after(range(200))
    assert await blocks_after(range(200, 1_700)) - before < 150


def test_a_million_names_that_nobody_has_leave_the_registry_as_it_was(records: Records) -> None:
    heard(records)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(1_000_000):
        for _ in records.named(f"nobody-{number}"):
            raise AssertionError
        if not number % 50:
            records.near(f"nobody-{number}")
            with pytest.raises(NoHealthyInstanceError):
                records.select(f"nobody-{number}")
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
