"""What workers tell over HTTP: that they are there, that they live, and that they go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.problems import ERRORS_SHOWN
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.clock import Clock, SystemClock
from modelinstance.registry.errors import Refusal, RefusedError
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, Incarnation, InstanceKey, Rotation
from modelinstance.registry.intake.registrations import Registered, Registration
from modelinstance.registry.intake.workers import BeatResult
from modelinstance.registry.load import Load
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, live, named, put, spec
from unit.clock import FakeClock
from unit.wire import by

INSTANCES, HEARTBEATS, SELECT = "/api/v1/instances", "/api/v1/heartbeats", "/api/v1/select"
VICUNA = {"model": "vicuna", "host": "10.0.0.5", "port": 8000}
EARLY = Registration("default", spec()).early_id
"""The incarnation of `VICUNA` while its resource is not written."""
UNKNOWN = "0" * 16
MANAGED_BY = "app.kubernetes.io/managed-by"
Fields = dict[str, Any]
WAYS = ["documented", "short"]


def serve(clock: Clock) -> tuple[StandaloneDesk, Endpoint]:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    desk = StandaloneDesk(registry, default_namespace="default", remove_after=3600)
    return desk, Endpoint(desk, lambda: (b"", ""), OpenAccess())


def calling(endpoint: Endpoint, way: str) -> httpx.AsyncClient:
    """A client of the application that has every route, or of the short way over it."""
    app = by(way, endpoint)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry")


@pytest.fixture
def served(clock: FakeClock) -> tuple[StandaloneDesk, Endpoint]:
    return serve(clock)


@pytest.fixture
def desk(served: tuple[StandaloneDesk, Endpoint]) -> StandaloneDesk:
    return served[0]


@pytest.fixture(params=WAYS)
async def client(
    served: tuple[StandaloneDesk, Endpoint], request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(served[1], request.param) as client:
        yield client


@pytest.fixture(scope="module")
def untouched() -> tuple[StandaloneDesk, Endpoint]:
    """One for all requests that are refused: they must leave it as it was."""
    return serve(SystemClock())


@pytest.fixture(params=WAYS)
async def refused(
    untouched: tuple[StandaloneDesk, Endpoint], request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests are all refused."""
    desk, endpoint = untouched
    async with calling(endpoint, request.param) as client:
        yield client
    assert len(desk.records) == 0
    assert not desk.workers.beats


async def ask(
    client: httpx.AsyncClient, method: str, path: str, status: int = 200, **request: Any
) -> Any:
    """The answer to a request, which must have that status; of a problem, its detail."""
    answer = await client.request(method, path, **request)
    assert answer.status_code == status, answer.text
    if status < 400:
        assert answer.headers["content-type"] == "application/json"
        return answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return answer.json()["detail"]


async def register(client: httpx.AsyncClient, status: int = 201, **fields: Any) -> Any:
    """The answer to the registration of `VICUNA`, or of what differs from it in some fields."""
    return await ask(client, "POST", INSTANCES, status, json={**VICUNA, **fields})


async def beat(client: httpx.AsyncClient, status: int = 200, /, **fields: Any) -> Any:
    """The answer to one heartbeat."""
    return await ask(client, "POST", HEARTBEATS, status, json=fields)


async def beat_all(client: httpx.AsyncClient, *items: Any) -> list[tuple[str, str]]:
    """The incarnation and the result of each of several heartbeats."""
    answer = await ask(client, "POST", HEARTBEATS, json={"items": items})
    return [(item["incarnation"], item["result"]) for item in answer["items"]]


def path_of(registered: Any) -> str:
    return f"{INSTANCES}/{registered['namespace']}/{registered['name']}"


def record_of(desk: StandaloneDesk, registered: Any) -> Record:
    record = desk.records.get(InstanceKey(registered["namespace"], registered["name"]))
    assert record is not None
    return record


# -- registering -------------------------------------------------------------------------------


async def test_a_worker_that_registers_is_listed_and_may_be_called_at_once(
    client: httpx.AsyncClient,
) -> None:
    registered = await register(
        client, namespace="prod", aliases=["small", "chat"], scheme="https", basePath="/v1",
        weight=0.257, labels={"tier": "gold"}, load={"running": 2, "kvCache": 0.5},
        heartbeat={"timeoutSeconds": 30},
    )  # fmt: skip
    assert registered["stored"] is True
    assert registered["detail"] == ""
    assert registered["heartbeatTimeoutSeconds"] == 30
    shown = await ask(client, "GET", path_of(registered))
    assert registered.items() >= shown.items()
    assert (
        shown.items()
        >= {
            "namespace": "prod",
            "model": "vicuna",
            "aliases": ["chat", "small"],
            "address": "https://10.0.0.5:8000/v1",
            "weight": 0.26,
            "phase": "Healthy",
            "reason": "HeartbeatReceived",
            "heartbeatAgeSeconds": 0.0,
            "load": {"running": 2.0, "waiting": 0.0, "kvCache": 0.5, "extra": {}},
        }.items()
    )
    for asked in ({"model": "vicuna"}, {"model": "chat", "selector": "tier=gold"}):
        assert await ask(client, "GET", SELECT, params=asked) == shown


async def test_what_a_worker_does_not_say_has_its_default(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    registered = await register(client)
    assert registered["namespace"] == desk.enrolment.default_namespace
    assert registered["heartbeatTimeoutSeconds"] == TIMEOUT
    assert record_of(desk, registered).spec == spec()
    assert record_of(desk, registered).labels == {MANAGED_BY: "modelinstance-registration"}
    assert registered["load"] is None


async def test_who_registers_again_is_the_same(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    first = await register(client)
    assert await register(client, status=200) == first
    assert len(desk.records) == 1


async def test_who_registers_again_may_say_something_else(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    first = await register(client, aliases=["chat"], weight=2, labels={"tier": "gold"})
    second = await register(
        client, status=200, aliases=["talk"], weight=3, labels={"tier": "lead"}, load={"waiting": 1}
    )
    assert second["incarnation"] == first["incarnation"]
    assert (second["aliases"], second["weight"], second["load"]["waiting"]) == (["talk"], 3, 1)
    for asked in ({"model": "chat"}, {"model": "vicuna", "selector": "tier=gold"}):
        await ask(client, "GET", SELECT, 404, params=asked)
    for asked in ({"model": "talk"}, {"model": "vicuna", "selector": "tier=lead"}):
        await ask(client, "GET", SELECT, params=asked)


@pytest.mark.parametrize(
    "fields",
    [{"namespace": "prod"}, {"model": "llama"}, {"host": "10.0.0.6"}, {"port": 8001}],
    ids=named,
)
async def test_who_differs_in_namespace_model_host_or_port_is_another(
    client: httpx.AsyncClient, desk: StandaloneDesk, fields: Fields
) -> None:
    first, second = await register(client), await register(client, **fields)
    assert first["incarnation"] != second["incarnation"]
    assert len(desk.records) == 2


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (["fd00::5", "FD00::5", "fd00:0:0:0:0:0:0:5"], "fd00::5"),
        (["vicuna-0.models.svc", "Vicuna-0.Models.svc."], "vicuna-0.models.svc"),
        (["10.0.0.5"], "10.0.0.5"),
        (["localhost"], "localhost"),
    ],
    ids=named,
)
async def test_one_host_in_several_spellings_is_one(
    client: httpx.AsyncClient, desk: StandaloneDesk, hosts: list[str], host: str
) -> None:
    status = 201
    for written in hosts:
        assert (await register(client, status, host=written))["host"] == host
        status = 200
    assert len(desk.records) == 1


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"port": 1}, 1),
        ({"port": 65535}, 65535),
        ({"weight": 0}, 0.0),
        ({"weight": 0.01}, 0.01),
        ({"weight": 21474836}, 21474836.0),
        ({"model": "m" * 253}, "m" * 253),
        ({"model": "org/name@rev:7 täglich"}, "org/name@rev:7 täglich"),
        ({"aliases": [f"a{n:02}" for n in range(16)]}, [f"a{n:02}" for n in range(16)]),
        ({"namespace": "n" * 63}, "n" * 63),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_just_within_bounds_is_taken(
    client: httpx.AsyncClient, fields: Fields, written: Any
) -> None:
    [field] = fields
    assert (await register(client, **fields))[field] == written


ABSURD = [
    ({"host": "http://10.0.0.5"}, "host='http://10.0.0.5': host must not hold a scheme"),
    ({"host": "10.0.0.5 10.0.0.6"}, "host='10.0.0.5 10.0.0.6': host must be an IP address"),
    ({"host": "[fd00::5]"}, "host='[fd00::5]': host must be an IP address"),
    ({"host": "10.0.0.5:8000"}, "host='10.0.0.5:8000': host must be an IP address"),
    ({"host": "[fd00::5]:8000"}, "host='[fd00::5]:8000': host must be an IP address"),
    ({"host": "vicuna-0:8000"}, "host='vicuna-0:8000': host must be an IP address"),
    ({"host": "vicuna-0/v1"}, "host='vicuna-0/v1'"),
    ({"host": "user@vicuna-0"}, "host='user@vicuna-0'"),
    ({"host": "vicuna_0"}, "host='vicuna_0'"),
    ({"host": "-vicuna"}, "host='-vicuna'"),
    ({"host": "a..b"}, "host='a..b'"),
    ({"host": "10.0.0.256"}, "host='10.0.0.256'"),
    ({"host": "010.0.0.1"}, "host='010.0.0.1'"),
    ({"host": "10.0.0.5."}, "host='10.0.0.5.'"),
    ({"host": "1.2.3"}, "host='1.2.3'"),
    ({"host": "fd00::5::1"}, "host='fd00::5::1'"),
    ({"host": "\uff41"}, "host='\uff41'"),
    ({"host": ""}, "host=''"),
    ({"host": "a." * 130 + "a"}, "host='a.a.a.a.a.a."),
    ({"host": None}, "host=None"),
    ({"host": 167772165}, "host=167772165"),
    ({"port": 0}, "port=0"),
    ({"port": -1}, "port=-1"),
    ({"port": 65536}, "port=65536"),
    ({"port": 70000}, "port=70000"),
    ({"port": "x"}, "port='x'"),
    ({"port": 80.5}, "port=80.5"),
    ({"port": None}, "port=None"),
    ({"port": 10**400}, "port=1000"),
    ({"model": ""}, "model=''"),
    ({"model": " vicuna"}, "model=' vicuna': a model name must not begin or end with a space"),
    ({"model": "vicuna\n"}, "model='vicuna\\n'"),
    ({"model": "vic\x00una"}, "model='vic\\x00una'"),
    ({"model": "vic\x7funa"}, "model='vic\\x7funa'"),
    ({"model": "m" * 254}, "model='mmmmmmmmmmmm"),
    ({"model": 5}, "model=5"),
    ({"model": "\ud800"}, "model='\\ud800'"),
    ({"aliases": [""]}, "aliases.0=''"),
    ({"aliases": ["chat", "x "]}, "aliases.1='x '"),
    ({"aliases": [f"a{n}" for n in range(17)]}, "aliases=["),
    ({"aliases": "chat"}, "aliases='chat'"),
    ({"aliases": None}, "aliases=None"),
    ({"scheme": "ftp"}, "scheme='ftp'"),
    ({"scheme": "HTTP"}, "scheme='HTTP'"),
    ({"basePath": "v1"}, "basePath='v1': a base path must begin with '/'"),
    ({"basePath": "/v1/"}, "basePath='/v1/'"),
    ({"basePath": "/"}, "basePath='/'"),
    ({"basePath": "/v 1"}, "basePath='/v 1'"),
    ({"basePath": "/v1?x"}, "basePath='/v1?x'"),
    ({"basePath": "/" + "v" * 1024}, "basePath='/vvvvv"),
    ({"weight": -1}, "weight=-1"),
    ({"weight": 0.001}, "weight=0.001: the least weight above 0 is 0.01"),
    ({"weight": 21474837}, "weight=21474837"),
    ({"weight": float("nan")}, "weight=nan"),
    ({"weight": float("inf")}, "weight=inf"),
    ({"weight": float("-inf")}, "weight=-inf"),
    ({"weight": "heavy"}, "weight='heavy'"),
    ({"weight": None}, "weight=None"),
    ({"weight": 10**400}, "weight=1000"),
    ({"namespace": ""}, "namespace='': write the name of a namespace"),
    ({"namespace": "Prod"}, "namespace='Prod'"),
    ({"namespace": "pro/d"}, "namespace='pro/d'"),
    ({"namespace": "prod\n"}, "namespace='prod\\n'"),
    ({"namespace": "-prod"}, "namespace='-prod'"),
    ({"namespace": "n" * 64}, "namespace='nnnn"),
    ({"labels": {"tier": "gold!"}}, "labels={'tier': 'gold!'}: 'tier': 'gold!' is no label"),
    ({"labels": {"": "gold"}}, "labels={'': 'gold'}"),
    ({"labels": {"tier": "g" * 64}}, "labels={'tier': 'gggg"),
    ({"labels": {"a=b": "c"}}, "labels={'a=b': 'c'}"),
    ({"labels": {"tier": "gold\n"}}, "labels={'tier': 'gold\\n'}"),
    ({"labels": {"\ud800": "x"}}, "labels={'\\ud800': 'x'}"),
    ({"labels": {f"l{n}": "" for n in range(33)}}, "labels={"),
    ({"labels": {"tier": 1}}, "labels.tier=1"),
    ({"labels": ["tier"]}, "labels=['tier']: write a JSON object"),
    ({"labels": {MANAGED_BY: "me"}}, f"labels={{'{MANAGED_BY}': 'me'}}: {MANAGED_BY} is set by"),
    ({"heartbeat": {"timeoutSeconds": 0}}, "heartbeat.timeoutSeconds=0"),
    ({"heartbeat": {"timeoutSeconds": 86401}}, "heartbeat.timeoutSeconds=86401"),
    ({"heartbeat": {"timeoutSeconds": 1.5}}, "heartbeat.timeoutSeconds=1.5"),
    ({"heartbeat": {"required": "maybe"}}, "heartbeat.required='maybe'"),
    ({"heartbeat": {"required": None}}, "heartbeat.required=None"),
    ({"heartbeat": {"every": 5}}, "heartbeat.every=5: there is no such field"),
    ({"load": {"running": -1}}, "load.running=-1"),
    ({"load": []}, "load=[]: write a JSON object"),
    ({"modelName": "vicuna"}, "modelName='vicuna': there is no such field"),
    ({"base_path": "/v1"}, "base_path='/v1': there is no such field"),
    ({"rotation": "Active"}, "rotation='Active': there is no such field"),
    ({"name": "vicuna-0"}, "name='vicuna-0': there is no such field"),
    ({"": 1}, ""),
    ({"\ud800": 1}, ""),
]
"""What differs from `VICUNA`, and how the answer begins."""


@pytest.mark.parametrize(("fields", "begins"), ABSURD, ids=lambda value: ascii(value)[:50])
async def test_what_is_absurd_is_refused_and_the_field_is_named(
    refused: httpx.AsyncClient, fields: Fields, begins: str
) -> None:
    detail = await ask(
        refused, "POST", INSTANCES, 422,
        content=json.dumps({**VICUNA, **fields}), headers={"content-type": "application/json"},
    )  # fmt: skip
    assert detail.startswith(f"body.{begins}" if begins else "body")
    assert len(detail) < 400


@pytest.mark.parametrize(
    "host", ["a\n", "a]", " vicuna-0", "vicuna-0 ", "fe80::1%eth0", "fe80::1%a b", "fe80::1%]\r\n"]
)
async def test_a_host_that_is_no_address_and_no_name_is_refused(
    client: httpx.AsyncClient, desk: StandaloneDesk, host: str
) -> None:
    assert (await register(client, 422, host=host)).startswith(f"body.host={host!r}: ")


@pytest.mark.parametrize("field", ["model", "host", "port"])
async def test_what_must_be_there_and_is_not_is_named(
    refused: httpx.AsyncClient, field: str
) -> None:
    body = {name: value for name, value in VICUNA.items() if name != field}
    detail = await ask(refused, "POST", INSTANCES, 422, json=body)
    assert detail == f"body.{field}: this field is required"


async def test_all_errors_are_named_at_once(refused: httpx.AsyncClient) -> None:
    body = {"host": "[::1]", "port": 0, "weight": -1, "colour": "red"}
    told = (await ask(refused, "POST", INSTANCES, 422, json=body)).split("; ")
    assert [error.split("=")[0].split(":")[0] for error in told] == [
        "body.model", "body.host", "body.port", "body.weight", "body.colour",
    ]  # fmt: skip


async def test_of_many_errors_some_are_named_and_the_rest_is_counted(
    refused: httpx.AsyncClient,
) -> None:
    detail = await register(refused, 422, **{f"field{number}": number for number in range(100)})
    assert detail.count("there is no such field") == ERRORS_SHOWN
    assert detail.endswith(f"; and {100 - ERRORS_SHOWN} more")


JSON = "application/json"
NO_BODIES = [
    (b"", JSON, 422, "body: this field is required"),
    (b"{", JSON, 422, "body: no JSON, at character 1: "),
    (b"{'model': 'vicuna'}", JSON, 422, "body: no JSON, at character 1: "),
    (b'{"model": "vicuna"', JSON, 422, "body: no JSON, at character 18: "),
    (b"model=vicuna", JSON, 422, "body: no JSON, at character 0: "),
    (b"[]", JSON, 422, "body=[]: write a JSON object"),
    (b"[{}]", JSON, 422, "body=[{}]: write a JSON object"),
    (b"null", JSON, 422, "body=None: write a JSON object"),
    (b"true", JSON, 422, "body=True: write a JSON object"),
    (b"7", JSON, 422, "body=7: write a JSON object"),
    (b'"vicuna"', JSON, 422, "body='vicuna': write a JSON object"),
    (b'{"model": "\xff"}', JSON, 400, "body: it cannot be read as JSON in UTF-8"),
    (b'{"model": "\xc3("}', JSON, 400, "body: it cannot be read as JSON in UTF-8"),
    (b"[" * 100_000, JSON, 400, "body: it cannot be read as JSON in UTF-8"),
    (b'{"port": 1%b}' % (b"0" * 5000), JSON, 400, "body: it cannot be read as JSON in UTF-8"),
    (b"{}", "text/plain", 422, "body: send JSON, and say so: Content-Type: application/json"),
    (b"{}", "application/x-www-form-urlencoded", 422, "body: send JSON, and say so: "),
    (b"{}", "multipart/form-data; boundary=x", 422, "body: send JSON, and say so: "),
    (b"{}", None, 422, "body: send JSON, and say so: "),
    (b"{}", "nonsense", 422, "body: send JSON, and say so: "),
]
"""A body that is no object in JSON, its type, the status, and how the answer begins."""


@pytest.mark.parametrize("path", [INSTANCES, HEARTBEATS])
@pytest.mark.parametrize(
    ("content", "media_type", "status", "begins"), NO_BODIES, ids=lambda value: str(value)[:30]
)
async def test_a_body_that_is_no_object_in_json_is_refused(
    refused: httpx.AsyncClient,
    path: str,
    *,
    content: bytes,
    media_type: str | None,
    status: int,
    begins: str,
) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    detail = await ask(refused, "POST", path, status, content=content, headers=headers)
    assert detail.startswith(begins)
    assert len(detail) < 300


@pytest.mark.parametrize("media_type", [JSON, "application/json; charset=utf-8"])
async def test_json_by_any_of_its_names_is_taken(
    client: httpx.AsyncClient, media_type: str
) -> None:
    headers = {"content-type": media_type}
    registered = await ask(
        client, "POST", INSTANCES, 201, content=json.dumps(VICUNA), headers=headers
    )
    content = json.dumps({"incarnation": registered["incarnation"]})
    await ask(client, "POST", HEARTBEATS, content=content, headers=headers)


async def test_who_need_not_beat_is_called_without(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    await register(client, heartbeat={"required": False})
    live(desk.records, clock, 3 * TIMEOUT)
    await ask(client, "GET", SELECT, params={"model": "vicuna"})


async def test_a_timeout_of_its_own_is_kept(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    await register(client, heartbeat={"timeoutSeconds": 3})
    live(desk.records, clock, 2.9)
    await ask(client, "GET", SELECT, params={"model": "vicuna"})
    live(desk.records, clock, 0.2)
    assert "HeartbeatExpired" in await ask(client, "GET", SELECT, 503, params={"model": "vicuna"})


async def test_who_registers_at_an_address_that_another_holds_is_told_so(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    holder = put(desk.records, "holder", namespace="secret")
    desk.records.beat(holder)
    registered = await register(client)
    assert (registered["phase"], registered["healthy"]) == ("Conflicted", False)
    assert "secret" not in json.dumps(registered)


class Writer:
    """Enrols in memory, and says that it was refused or is held, as a cluster would."""

    default_namespace = "default"

    def __init__(self, desk: StandaloneDesk, refused: Refusal | None = None) -> None:
        self._workers = desk.workers
        self._refused = refused

    async def register(self, registration: Registration) -> Registered:
        if self._refused is not None:
            raise RefusedError(self._refused, f"{self._refused} for a reason")
        record = self._workers.enter(registration, NO_UID)
        self._workers.arrive(record, registration.load)
        return Registered(record, created=True, stored=False, why="the API server is away")


REFUSALS = [
    (Refusal.INVALID, 422),
    (Refusal.FORBIDDEN, 403),
    (Refusal.CONFLICT, 409),
    (Refusal.BUSY, 503),
]


async def test_what_is_held_in_memory_is_accepted_and_not_yet_stored(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "enrolment", Writer(desk))
    registered = await register(client, 202)
    assert registered["stored"] is False
    assert registered["detail"] == "the API server is away"
    assert registered["incarnation"] == EARLY
    assert await beat(client, incarnation=EARLY) == {"incarnation": EARLY, "result": "accepted"}


@pytest.mark.parametrize(("refusal", "status"), REFUSALS)
async def test_a_refusal_says_whose_turn_it_is(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal, status: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(desk, "enrolment", Writer(desk, refusal))
    answer = await client.post(INSTANCES, json=VICUNA)
    assert (answer.status_code, answer.json()["detail"]) == (status, f"{refusal} for a reason")
    assert ("retry-after" in answer.headers) is (refusal is Refusal.BUSY)


# -- heartbeats --------------------------------------------------------------------------------


async def test_who_beats_stays_healthy_and_who_does_not_falls_silent(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    beating, silent = await register(client), await register(client, port=1)
    for _ in range(3):
        live(desk.records, clock, 0.6 * TIMEOUT)
        assert await beat(client, incarnation=beating["incarnation"]) == {
            "incarnation": beating["incarnation"],
            "result": "accepted",
        }
    assert (await ask(client, "GET", path_of(beating)))["phase"] == "Healthy"
    assert (await ask(client, "GET", path_of(silent)))["phase"] == "Unhealthy"


async def test_a_beat_counts_from_the_moment_at_which_it_came(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    registered = await register(client, heartbeat={"timeoutSeconds": 1})
    clock.advance(0.9)
    await beat(client, incarnation=registered["incarnation"])
    clock.advance(0.9)
    assert (await ask(client, "GET", path_of(registered)))["phase"] == "Healthy"


async def test_a_beat_makes_the_silent_healthy(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    registered = await register(client)
    live(desk.records, clock, TIMEOUT + 1)
    await ask(client, "GET", SELECT, 503, params={"model": "vicuna"})
    await beat(client, incarnation=registered["incarnation"])
    await ask(client, "GET", SELECT, params={"model": "vicuna"})


async def test_a_beat_of_the_healthy_changes_nothing_that_is_to_be_written(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    told: list[Record] = []
    registered = await register(client)
    desk.records.on_change(told.append)
    desk.records.on_verdict(told.append)
    revision = desk.records.revision
    await beat(client, incarnation=registered["incarnation"], load={"running": 3})
    await beat_all(client, {"incarnation": registered["incarnation"]})
    assert (told, desk.records.revision) == ([], revision)


async def test_a_beat_of_an_unknown_incarnation_is_not_found(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    await register(client)
    detail = await beat(client, 404, incarnation=UNKNOWN)
    assert detail == f"body.incarnation={UNKNOWN}: no such incarnation is known; register"
    assert desk.workers.beats == {BeatResult.UNKNOWN: 1}


async def test_a_beat_of_one_whose_resource_is_being_deleted_is_not_found(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    record = put(desk.records, deleting=True)
    await beat(client, 404, incarnation=record.id)
    assert await beat_all(client, {"incarnation": record.id}) == [(record.id, "unknown")]
    assert record.last_beat is None


async def test_a_late_beat_does_not_revive_who_has_deregistered(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    registered = await register(client)
    await ask(client, "DELETE", path_of(registered))
    detail = await beat(client, 410, incarnation=registered["incarnation"])
    assert detail.startswith(f"body.incarnation={registered['incarnation']}: it was deregistered")
    assert (await ask(client, "GET", path_of(registered)))["reason"] == "Deregistered"
    assert desk.workers.beats == {BeatResult.DEREGISTERED: 1}


async def test_a_beat_of_an_earlier_life_is_not_taken_for_the_present_one(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    former = put(desk.records, uid="first").id
    present = put(desk.records, uid="second")
    await beat(client, 404, incarnation=former)
    assert present.last_beat is None


async def test_who_registered_before_its_resource_was_written_is_known_by_both_ids(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    record = desk.workers.enter(Registration("prod", spec(port=1)), NO_UID)
    early = record.id
    desk.records.adopt(record, "written", 0.0)
    assert early != record.id
    for known in (early, record.id):
        assert await beat(client, incarnation=known) == {
            "incarnation": record.id,
            "result": "accepted",
        }
        assert await beat_all(client, {"incarnation": known}) == [(record.id, "accepted")]


async def test_of_several_beats_each_has_its_own_result(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    one, two, gone = [await register(client, port=port) for port in (1, 2, 3)]
    await ask(client, "DELETE", path_of(gone))
    live(desk.records, clock, TIMEOUT / 2)
    one, two, gone = one["incarnation"], two["incarnation"], gone["incarnation"]
    items = [{"incarnation": known} for known in (two, UNKNOWN, gone, one)]
    assert await beat_all(client, *items) == [
        (two, "accepted"),
        (UNKNOWN, "unknown"),
        (gone, "deregistered"),
        (one, "accepted"),
    ]
    assert desk.workers.beats == {
        BeatResult.ACCEPTED: 2,
        BeatResult.UNKNOWN: 1,
        BeatResult.DEREGISTERED: 1,
    }
    for known in (one, two):
        record = desk.records.identified(known)
        assert record is not None
        assert record.last_beat_monotonic == clock.monotonic()


async def test_of_several_beats_one_that_is_wrong_is_named_and_none_is_taken(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    registered = await register(client)
    good = {"incarnation": registered["incarnation"], "load": {"running": 1}}
    body = {"items": [good, {"incarnation": "x"}, 7, {**good, "load": {"running": "many"}}]}
    told = (await ask(client, "POST", HEARTBEATS, 422, json=body)).split("; ")
    assert [error.split("=")[0] for error in told] == [
        "body.items.1.incarnation",
        "body.items.2",
        "body.items.3.load.running",
    ]
    assert not desk.workers.beats
    assert record_of(desk, registered).load is None


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({}, "body.incarnation: this field is required"),
        ({"incarnation": "x"}, "body.incarnation='x': write the 16 hexadecimal digits"),
        ({"incarnation": UNKNOWN[1:]}, "body.incarnation='000000000000000'"),
        ({"incarnation": UNKNOWN + "0"}, "body.incarnation='00000000000000000'"),
        ({"incarnation": UNKNOWN + "\n"}, "body.incarnation='0000000000000000\\n'"),
        ({"incarnation": "A" * 16}, "body.incarnation='AAAAAAAAAAAAAAAA'"),
        ({"incarnation": None}, "body.incarnation=None"),
        ({"incarnation": 1234567890123456}, "body.incarnation=1234567890123456"),
        ({"incarnation": UNKNOWN, "extra": 1}, "body.extra=1: there is no such field"),
        ({"items": []}, "body.items=[]"),
        ({"items": None}, "body.items=None"),
        ({"items": {"incarnation": UNKNOWN}}, "body.items={"),
        ({"items": [{"incarnation": UNKNOWN}] * 10_001}, "body.items=["),
        ({"items": [{"items": []}]}, "body.items.0.incarnation: this field is required"),
        ({"items": [{"incarnation": UNKNOWN}], "more": 1}, "body.more=1: there is no such field"),
        ({"incarnation": UNKNOWN, "items": []}, "body.items=[]"),
        (
            {"incarnation": UNKNOWN, "registration": {**VICUNA, "port": 0}},
            "body.registration.port=0",
        ),
        ({"incarnation": UNKNOWN, "registration": []}, "body.registration=[]"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_beat_that_is_wrong_is_refused_and_the_field_is_named(
    refused: httpx.AsyncClient, body: Any, begins: str
) -> None:
    assert (await ask(refused, "POST", HEARTBEATS, 422, json=body)).startswith(begins)


async def test_as_many_beats_as_are_allowed_are_taken_at_once(client: httpx.AsyncClient) -> None:
    named = (await register(client))["incarnation"]
    taken = await beat_all(client, *[{"incarnation": named}] * 10_000)
    assert taken == [(named, "accepted")] * 10_000


# -- load --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [False, True])
async def test_a_load_is_shown_until_another_is_reported(
    client: httpx.AsyncClient, batched: bool
) -> None:
    registered = await register(client)

    async def shown_after(**fields: Any) -> Any:
        item = {"incarnation": registered["incarnation"], **fields}
        await (beat_all(client, item) if batched else beat(client, **item))
        return (await ask(client, "GET", path_of(registered)))["load"]

    full = {"running": 3.5, "waiting": 2.0, "kvCache": 0.75, "extra": {"tps": -1e12, "a:b.c-d": 0}}
    assert await shown_after() is None
    assert await shown_after(load=full) == full
    assert await shown_after() == full
    assert await shown_after(load={}) == {
        "running": 0.0, "waiting": 0.0, "kvCache": None, "extra": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("load", "field"),
    [
        ({"running": -1}, "running=-1"),
        ({"running": 1e13}, "running=10000000000000.0"),
        ({"running": float("nan")}, "running=nan"),
        ({"running": float("inf")}, "running=inf"),
        ({"running": "many"}, "running='many'"),
        ({"running": None}, "running=None"),
        ({"running": 10**400}, "running=1000"),
        ({"waiting": -0.1}, "waiting=-0.1"),
        ({"waiting": []}, "waiting=[]"),
        ({"kvCache": -0.01}, "kvCache=-0.01"),
        ({"kvCache": 1.01}, "kvCache=1.01"),
        ({"kvCache": float("nan")}, "kvCache=nan"),
        ({"kv_cache": 0.5}, "kv_cache=0.5: there is no such field"),
        ({"queue": 5}, "queue=5: there is no such field"),
        ({"extra": {"a b": 1}}, "extra.a b.[key]='a b': write a name of at most 64 letters"),
        ({"extra": {"a\n": 1}}, "extra.a\\n.[key]='a\\n'"),
        ({"extra": {"": 1}}, "extra"),
        ({"extra": {"a" * 65: 1}}, "extra"),
        ({"extra": {"a": float("inf")}}, "extra.a=inf"),
        ({"extra": {"a": -1e13}}, "extra.a=-10000000000000.0"),
        ({"extra": {"a": "fast"}}, "extra.a='fast'"),
        ({"extra": {f"a{number}": 0 for number in range(17)}}, "extra={"),
        ({"extra": None}, "extra=None"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_an_absurd_load_is_refused_and_the_field_is_named(
    client: httpx.AsyncClient, desk: StandaloneDesk, load: Fields, field: str
) -> None:
    registered = await register(client, load={"running": 1})
    item = {"incarnation": registered["incarnation"], "load": load}
    for body, at in ((item, "body.load"), ({"items": [item]}, "body.items.0.load")):
        detail = await ask(
            client, "POST", HEARTBEATS, 422,
            content=json.dumps(body), headers={"content-type": JSON},
        )  # fmt: skip
        assert detail.startswith(f"{at}.{field}")
        assert len(detail) < 300
    assert record_of(desk, registered).load == Load(running=1)


async def test_the_least_loaded_is_the_one_that_says_so(client: httpx.AsyncClient) -> None:
    one, two = await register(client, port=1), await register(client, port=2)

    async def picked() -> set[str]:
        asked = {"model": "vicuna", "policy": "least-loaded"}
        return {(await ask(client, "GET", SELECT, params=asked))["name"] for _ in range(20)}

    await beat(client, incarnation=one["incarnation"], load={"running": 50})
    await beat(client, incarnation=two["incarnation"], load={"running": 1})
    assert await picked() == {two["name"]}
    await beat_all(
        client,
        {"incarnation": one["incarnation"], "load": {"running": 1}},
        {"incarnation": two["incarnation"], "load": {"waiting": 50}},
    )
    assert await picked() == {one["name"]}


# -- a registration within a beat --------------------------------------------------------------


async def test_a_registration_that_a_restart_has_forgotten_is_taken_from_a_beat(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    answer = await beat(
        client, incarnation=EARLY, registration={**VICUNA, "weight": 2}, load={"running": 1}
    )
    [record] = desk.records
    assert answer == {"incarnation": record.id, "result": "registered"}
    assert record.verdict.ready
    assert record.spec.weight == 2
    named = record.id
    assert await beat(client, incarnation=named, registration=VICUNA) == {
        "incarnation": named,
        "result": "accepted",
    }


async def test_a_registration_in_a_beat_of_one_that_is_known_changes_nothing(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    registered = await register(client)
    item = {
        "incarnation": registered["incarnation"],
        "registration": {**VICUNA, "weight": 7, "port": 9},
    }
    assert (await beat(client, **item))["result"] == "accepted"
    assert await beat_all(client, item) == [(registered["incarnation"], "accepted")]
    [record] = desk.records
    assert record.spec == spec()


@pytest.mark.parametrize(
    ("named", "fields"),
    [
        (UNKNOWN, {}),
        (Incarnation("written", spec().address).id, {}),
        (EARLY, {"port": 1}),
        (EARLY, {"model": "llama"}),
        (EARLY, {"host": "10.0.0.6"}),
    ],
    ids=["unknown", "stored", "other port", "other model", "other host"],
)
async def test_a_registration_is_not_taken_from_a_beat_of_another_incarnation(
    client: httpx.AsyncClient, desk: StandaloneDesk, named: str, fields: Fields
) -> None:
    item: Fields = {"incarnation": named, "registration": {**VICUNA, **fields}}
    await beat(client, 404, **item)
    assert await beat_all(client, item) == [(named, "unknown")]
    assert len(desk.records) == 0


async def test_a_late_beat_with_a_registration_does_not_revive_who_has_deregistered(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "enrolment", Writer(desk))
    registered = await register(client, 202)
    await ask(client, "DELETE", path_of(registered), params={"incarnation": EARLY})
    item: Fields = {"incarnation": EARLY, "registration": VICUNA}
    await beat(client, 404, **item)
    assert await beat_all(client, item) == [(EARLY, "unknown")]
    assert len(desk.records) == 0
    await register(client, 202)
    assert (await beat(client, **item))["result"] == "accepted"


async def test_a_late_beat_by_the_former_id_does_not_revive_who_has_ended(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "enrolment", Writer(desk))
    record = record_of(desk, await register(client, 202))
    desk.records.adopt(record, "written", 0.0)
    item: Fields = {"incarnation": EARLY, "registration": VICUNA}
    assert (await beat(client, **item)) == {"incarnation": record.id, "result": "accepted"}
    desk.records.remove(record.key)
    await beat(client, 404, **item)
    assert len(desk.records) == 0


@pytest.mark.parametrize(("refusal", "status"), REFUSALS)
async def test_a_registration_in_a_beat_may_be_refused_and_others_are_taken(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal, status: int,
) -> None:  # fmt: skip
    known = await register(client, port=1)
    monkeypatch.setattr(desk, "enrolment", Writer(desk, refusal))
    item: Fields = {"incarnation": EARLY, "registration": VICUNA}
    assert await beat(client, status, **item) == f"{refusal} for a reason"
    assert await beat_all(client, item, {"incarnation": known["incarnation"]}) == [
        (EARLY, "unknown"),
        (known["incarnation"], "accepted"),
    ]


# -- going and resting -------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
async def test_who_says_goodbye_is_listed_and_not_picked_until_it_registers_again(
    client: httpx.AsyncClient, named: bool
) -> None:
    registered = await register(client)
    params = {"incarnation": registered["incarnation"]} if named else {}
    gone = await ask(client, "DELETE", path_of(registered), params=params)
    assert (gone["phase"], gone["reason"]) == ("Unhealthy", "Deregistered")
    assert gone["incarnation"] == registered["incarnation"]
    assert "Deregistered" in await ask(client, "GET", SELECT, 503, params={"model": "vicuna"})
    assert len((await ask(client, "GET", INSTANCES))["items"]) == 1
    assert (await register(client, 200))["healthy"]
    await ask(client, "GET", SELECT, params={"model": "vicuna"})


async def test_a_resource_of_an_owner_stays_when_its_worker_says_goodbye(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    record = put(desk.records)
    desk.records.beat(record)
    gone = await ask(client, "DELETE", f"{INSTANCES}/prod/vicuna-0")
    assert gone["reason"] == "Deregistered"
    assert desk.records.get(record.key) is record


CALLS = [("DELETE", ""), ("POST", "/drain"), ("DELETE", "/drain")]


@pytest.mark.parametrize(("method", "below"), CALLS)
async def test_what_is_about_another_incarnation_is_refused_and_counted(
    client: httpx.AsyncClient, desk: StandaloneDesk, method: str, below: str
) -> None:
    record = put(desk.records)
    desk.records.beat(record)
    desk.records.set_drained(record, drained=below == "/drain" and method == "DELETE")
    before = record.verdict
    path = f"{INSTANCES}/prod/vicuna-0{below}"
    detail = await ask(client, method, path, 409, params={"incarnation": UNKNOWN})
    assert detail == (
        f"query.incarnation={UNKNOWN}: prod/vicuna-0 is {record.id} by now, and was left as it is"
    )
    assert record.verdict is before
    assert desk.workers.late == 1


@pytest.mark.parametrize(("method", "below"), CALLS)
@pytest.mark.parametrize(
    ("path", "query", "status", "begins"),
    [
        ("prod/nobody", "", 404, "there is no instance prod/nobody"),
        ("other/vicuna-0", "", 404, "there is no instance other/vicuna-0"),
        ("prod/vicuna-0", "?incarnation=", 422, "query.incarnation=''"),
        ("prod/vicuna-0", "?incarnation=x", 422, "query.incarnation='x': write the 16 hexad"),
        (f"prod/{'n' * 254}", "", 422, "path.name="),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_about_nobody_is_not_found_and_what_is_wrong_is_named(
    client: httpx.AsyncClient,
    desk: StandaloneDesk,
    *,
    method: str,
    below: str,
    path: str,
    query: str,
    status: int,
    begins: str,
) -> None:
    record = put(desk.records)
    detail = await ask(client, method, f"{INSTANCES}/{path}{below}{query}", status)
    assert detail.startswith(begins)
    assert not record.deregistered
    assert not record.drained


@pytest.mark.parametrize("named", [True, False])
async def test_who_is_drained_gets_no_new_requests_until_it_is_taken_back(
    client: httpx.AsyncClient, named: bool
) -> None:
    registered = await register(client)
    path = f"{path_of(registered)}/drain"
    params = {"incarnation": registered["incarnation"]} if named else {}
    for _ in range(2):
        drained = await ask(client, "POST", path, params=params)
        assert (drained["phase"], drained["reason"]) == ("Draining", "DrainRequested")
    await beat(client, incarnation=registered["incarnation"])
    assert "DrainRequested" in await ask(client, "GET", SELECT, 503, params={"model": "vicuna"})
    for _ in range(2):
        assert (await ask(client, "DELETE", path, params=params))["phase"] == "Healthy"
    await ask(client, "GET", SELECT, params={"model": "vicuna"})


async def test_who_registers_again_is_drained_no_more(client: httpx.AsyncClient) -> None:
    registered = await register(client)
    await ask(client, "POST", f"{path_of(registered)}/drain")
    assert (await register(client, 200))["phase"] == "Healthy"


async def test_the_word_of_the_owner_stays_when_a_drain_is_taken_back(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    desk.records.beat(put(desk.records, rotation=Rotation.DISABLED))
    path = f"{INSTANCES}/prod/vicuna-0/drain"
    for method in ("POST", "DELETE"):
        assert (await ask(client, method, path))["phase"] == "Disabled"


# -- pods, and a worker that cannot answer ---------------------------------------------------------

POD = {"name": "vicuna-0", "uid": "6f1c"}


async def test_a_worker_in_a_pod_takes_its_address_over(
    desk: StandaloneDesk, client: httpx.AsyncClient
) -> None:
    old = await register(client, model="llama", pod={"name": "llama-0", "uid": "5e0b"})
    new = await register(client, pod=POD)
    assert record_of(desk, new).owner == "6f1c"
    assert record_of(desk, old).verdict.reason == "PodReplaced"
    assert await ask(client, "GET", SELECT, 503, params={"model": "llama"})


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        ({"name": "Vicuna", "uid": "6f1c"}, "body.pod.name"),
        ({"name": "vicuna-0", "uid": "6f 1c"}, "body.pod.uid"),
        ({"name": "vicuna-0"}, "body.pod.uid"),
    ],
)
async def test_a_pod_that_cannot_be_is_refused(
    refused: httpx.AsyncClient, pod: Fields, named: str
) -> None:
    assert named in await register(refused, 422, pod=pod)


async def test_a_worker_that_cannot_answer_says_why(
    desk: StandaloneDesk, client: httpx.AsyncClient
) -> None:
    registered = await register(client)
    incarnation = registered["incarnation"]
    await beat(client, incarnation=incarnation, failure="GET /health: HTTP 500")
    shown = await ask(client, "GET", path_of(registered))
    assert (shown["phase"], shown["reason"]) == ("Unhealthy", "WorkerNotReady")
    assert "GET /health: HTTP 500" in shown["message"]
    why = await ask(client, "GET", f"{path_of(registered)}/why")
    assert why["evidence"]["failure"] == "GET /health: HTTP 500"
    await beat_all(client, {"incarnation": incarnation})
    assert (await ask(client, "GET", SELECT, params={"model": "vicuna"}))["name"]
    await beat_all(client, {"incarnation": incarnation, "failure": "no"})
    assert await ask(client, "GET", SELECT, 503, params={"model": "vicuna"})


@pytest.mark.parametrize("failure", ["", "x" * 1025, 5])
async def test_a_failure_that_says_nothing_or_too_much_is_refused(
    refused: httpx.AsyncClient, failure: object
) -> None:
    detail = await beat(refused, 422, incarnation=UNKNOWN, failure=failure)
    assert "body.failure" in detail
