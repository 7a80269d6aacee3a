"""Who is let in, and what they may see and change."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from modelinstance.http import access
from modelinstance.http.access import (
    ANYONE,
    REREAD_SECONDS,
    Access,
    Caller,
    OpenAccess,
    TokenAccess,
)
from modelinstance.http.endpoint import Endpoint
from modelinstance.http.problems import ProblemError
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Incarnation
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.intake.reports import CallOutcome, ReportResult
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, key, named, put, spec
from unit.clock import FakeClock
from unit.wire import by

WAYS = ["documented", "short"]
OPEN = {"/livez", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
"""What is answered to everybody."""
VICUNA = {"model": "vicuna", "host": "10.0.0.5", "port": 8000}
UNKNOWN = "0" * 16


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_bytes(b"first\n  second\t\r\n\nt\xc3\xbcr\n")
    return path


# -- telling callers apart ---------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [None, b"", b"Bearer x", b"nonsense"])
async def test_open_access_lets_everybody_see_everything(authorization: bytes | None) -> None:
    access = OpenAccess()
    assert access.recall(authorization) is await access.identify(authorization) is ANYONE
    assert ANYONE.sees("prod")


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer first",
        b"Bearer second",
        b"Bearer t\xc3\xbcr",
        b"bearer first",
        b"BEARER first",
        b"Bearer  first ",
    ],
)
async def test_each_token_of_the_file_lets_its_bearer_in(
    tokens: Path, authorization: bytes
) -> None:
    access = TokenAccess(tokens)
    caller = await access.identify(authorization)
    assert access.recall(authorization) == caller
    assert caller.namespaces is None
    assert "first" not in caller.name


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"first",
        b"Bearer",
        b"Bearer ",
        b"Bearerfirst",
        b"Bearer firs",
        b"Bearer firstt",
        b"Bearer FIRST",
        b"Bearer first second",
        b"Bearer first\nsecond",
        b"Bearer t\xfcr",
        b"Basic first",
        b"Token first",
        b"Basic Bearer first",
    ],
)
async def test_without_a_token_of_the_file_nobody_is_let_in(
    tokens: Path, authorization: bytes | None
) -> None:
    access = TokenAccess(tokens)
    assert access.recall(authorization) is None
    with pytest.raises(ProblemError) as caught:
        await access.identify(authorization)
    assert caught.value.status == HTTPStatus.UNAUTHORIZED
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}
    assert "first" not in caught.value.detail


def test_tokens_are_compared_in_constant_time_all_of_them(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return hmac.compare_digest(given, token)

    monkeypatch.setattr(access, "hmac", SimpleNamespace(compare_digest=compare))
    known = TokenAccess(tokens)
    for given in (b"first", b"nobody"):
        compared.clear()
        assert (known.recall(b"Bearer " + given) is not None) is (given == b"first")
        assert compared == [(given, token) for token in (b"first", b"second", b"t\xc3\xbcr")]


def test_what_constant_time_comparison_says_is_what_counts(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "hmac", SimpleNamespace(compare_digest=lambda given, token: False))
    assert TokenAccess(tokens).recall(b"Bearer first") is None


@pytest.fixture
def known(tokens: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> TokenAccess:
    """Access by the file of tokens, on a clock that the test sets."""
    monkeypatch.setattr(access, "time", clock)
    return TokenAccess(tokens)


def let_in(known: TokenAccess) -> set[str]:
    return {name for name in ("first", "third") if known.recall(f"Bearer {name}".encode())}


def test_the_file_is_read_again_once_a_moment_has_passed(
    known: TokenAccess, tokens: Path, clock: FakeClock
) -> None:
    for now in ("third", "first"):
        before = let_in(known)
        tokens.write_text(now)
        clock.advance(REREAD_SECONDS / 2)
        assert let_in(known) == before
        clock.advance(REREAD_SECONDS / 2)
        assert let_in(known) == {now}


@pytest.mark.parametrize("content", [None, b"", b"\n \r\n"])
def test_a_file_that_cannot_be_used_any_more_leaves_the_tokens_as_they_were(
    known: TokenAccess, tokens: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture,
    content: bytes | None,
) -> None:  # fmt: skip
    tokens.unlink()
    if content is not None:
        tokens.write_bytes(content)
    clock.advance(REREAD_SECONDS)
    assert let_in(known) == {"first"}
    [warning] = caplog.messages
    assert str(tokens) in warning
    tokens.write_text("third")
    clock.advance(REREAD_SECONDS)
    assert let_in(known) == {"third"}


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\r\n"])
def test_a_file_without_a_token_is_refused_at_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="tokens holds no token: write one a line"):
        TokenAccess(path)


def test_a_file_that_is_missing_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="tokens"):
        TokenAccess(tmp_path / "tokens")


# -- every route -------------------------------------------------------------------------------


@pytest.fixture
def desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


def calling(desk: StandaloneDesk, access: Access, way: str) -> httpx.AsyncClient:
    endpoint = Endpoint(desk, lambda: (b"up 1\n", "text/plain"), access)
    app = by(way, endpoint)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry")


Request = tuple[str, str, dict[str, Any]]
KNOWN = Incarnation("uid-of-vicuna-0", spec().address).id


def plain_request(method: str, path: str) -> Request:
    """A request to a route that would be granted."""
    bodies = {
        "/api/v1/instances": {**VICUNA, "port": 1},
        "/api/v1/heartbeats": {"incarnation": KNOWN},
        "/api/v1/reports": {"reporter": "r", "incarnation": KNOWN, "outcome": "success"},
    }
    queries = {"/api/v1/select": {"model": "vicuna"}, "/api/v1/watch": {"timeoutSeconds": 0.01}}
    rest = {"json": bodies[path]} if method == "POST" and path in bodies else {}
    return method, path.format(namespace="prod", name="vicuna-0"), rest | {
        "params": queries.get(path, {})
    }  # fmt: skip


def every_route(desk: StandaloneDesk) -> list[Request]:
    """A request to each route that is documented."""
    paths = Endpoint(desk, lambda: (b"", ""), OpenAccess()).documented.openapi()["paths"]
    return [
        plain_request(method.upper(), path) for path, methods in paths.items() for method in methods
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Basic first", "Bearer "], ids=named
)
async def test_nothing_but_the_probes_and_the_document_is_open_where_a_token_is_asked_for(
    desk: StandaloneDesk, tokens: Path, way: str, authorization: str | None
) -> None:
    record = put(desk.records)
    headers = {} if authorization is None else {"authorization": authorization}
    asked = set()
    async with calling(desk, TokenAccess(tokens), way) as client:
        for method, path, rest in every_route(desk):
            answer = await client.request(method, path, headers=headers, **rest)
            if path in OPEN:
                assert answer.status_code == 200
                continue
            asked.add((method, path))
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"].startswith("header.authorization: send 'Authorization:")
    assert asked >= {("GET", "/metrics"), ("GET", "/api/v1/watch"), ("POST", "/api/v1/instances")}
    assert len(asked) == 13
    assert list(desk.records) == [record]
    assert record.last_beat is None
    assert not record.deregistered
    assert not record.drained


@pytest.mark.parametrize("way", WAYS)
async def test_every_route_is_open_to_the_bearer_of_a_token(
    desk: StandaloneDesk, tokens: Path, way: str
) -> None:
    desk.records.beat(put(desk.records))
    statuses = {}
    async with calling(desk, TokenAccess(tokens), way) as client:
        client.headers["authorization"] = "Bearer second"
        # in an order in which each finds what it is about
        for method, path, rest in sorted(every_route(desk), key=lambda each: each[0] == "DELETE"):
            if path.endswith("/select"):
                desk.records.set_drained(next(iter(desk.records)), drained=False)
            statuses[method, path] = (await client.request(method, path, **rest)).status_code
    assert set(statuses.values()) == {200, 201}
    assert len(statuses) == 15


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", sorted(OPEN))
async def test_probes_and_the_document_are_open_to_everybody(
    desk: StandaloneDesk, tokens: Path, way: str, path: str
) -> None:
    async with calling(desk, TokenAccess(tokens), way) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/select", None),
        ("GET", "/api/v1/select?model=nobody", None),
        ("GET", "/api/v1/instances?selector=,", None),
        ("GET", "/api/v1/watch?timeoutSeconds=-1", None),
        ("GET", "/api/v1/instances/prod/nobody", None),
        ("DELETE", "/api/v1/instances/prod/nobody?incarnation=x", None),
        ("POST", "/api/v1/instances", {}),
        ("POST", "/api/v1/heartbeats", {"incarnation": "x"}),
        ("POST", "/api/v1/heartbeats", {"incarnation": UNKNOWN}),
        ("POST", "/api/v1/reports", {"reporter": ""}),
    ],
)
async def test_who_is_not_let_in_learns_nothing_of_what_is_wrong_beside(
    desk: StandaloneDesk, tokens: Path, way: str, *, method: str, path: str, body: Any
) -> None:
    async with calling(desk, TokenAccess(tokens), way) as client:
        assert (await client.request(method, path, json=body)).status_code == 401


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000], ids=["cut", "bytes", "deep"])
async def test_a_body_that_is_no_json_is_not_looked_at_before_its_sender_is_known(
    desk: StandaloneDesk, tokens: Path, way: str, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    async with calling(desk, TokenAccess(tokens), way) as client:
        answer = await client.post("/api/v1/heartbeats", content=content, headers=headers)
        assert answer.status_code == 401


# -- callers who see but some namespaces -------------------------------------------------------


class Tenants:
    """Knows callers by name. ``at_once``: without leaving it to `identify`."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once

    def recall(self, authorization: bytes | None) -> Caller | None:
        return self._known(authorization) if self._at_once else None

    async def identify(self, authorization: bytes | None) -> Caller:
        return self._known(authorization)

    @staticmethod
    def _known(authorization: bytes | None) -> Caller:
        if authorization == b"Name tenant":
            return Caller("tenant", namespaces=frozenset({"a"}))
        return Caller("root")


def heard(desk: StandaloneDesk, name: str, **fields: Any) -> Record:
    record = put(desk.records, name, **fields)
    desk.records.beat(record)
    return record


@pytest.fixture
def fleet(desk: StandaloneDesk) -> StandaloneDesk:
    """Instances of one tenant, and of another one whose names all say that they are secret."""
    heard(desk, "vicuna-0", namespace="a", aliases=frozenset({"chat"}))
    put(desk.records, "starting-0", namespace="a", model_name="starting", port=2)
    heard(desk, "secret-0", namespace="secret", aliases=frozenset({"chat"}), port=3)
    heard(desk, "secret-1", namespace="secret", model_name="secret/vicunas", port=4)
    heard(desk, "secret-2", namespace="secret", model_name="shared", port=5)
    heard(desk, "shared-0", namespace="a", model_name="shared", port=5, created=1.0)
    put(desk.records, "secret-3", namespace="secret", model_name="starting", port=6)
    return desk


@pytest.fixture(params=[(way, at_once) for way in WAYS for at_once in (True, False)], ids=named)
async def tenant(
    fleet: StandaloneDesk, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sees but the namespace ``a``."""
    way, at_once = request.param
    async with calling(fleet, Tenants(at_once=at_once), way) as client:
        client.headers["authorization"] = "Name tenant"
        yield client


async def ask(
    client: httpx.AsyncClient, method: str, path: str, status: int = 200, **rest: Any
) -> Any:
    """The answer to a tenant, which must have that status and hold no secret."""
    answer = await client.request(method, f"/api/v1/{path}", **rest)
    assert answer.status_code == status, answer.text
    assert "secret" not in answer.text
    return answer.json() if answer.headers["content-type"].endswith("json") else answer.text


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, {"vicuna-0", "starting-0", "shared-0"}),
        ({"model": "vicuna"}, {"vicuna-0"}),
        ({"model": "chat"}, {"vicuna-0"}),
        ({"namespace": "a"}, {"vicuna-0", "starting-0", "shared-0"}),
        ({"healthy": "true"}, {"vicuna-0"}),
        ({"selector": "!tier"}, {"vicuna-0", "starting-0", "shared-0"}),
        ({"namespace": "secret"}, set()),
        ({"model": "secret/vicunas"}, set()),
    ],
    ids=named,
)
async def test_only_instances_of_their_namespaces_are_listed(
    tenant: httpx.AsyncClient, params: dict[str, str], names: set[str]
) -> None:
    listed = await ask(tenant, "GET", "instances", params=params)
    assert {shown["name"] for shown in listed["items"]} == names


async def test_only_models_of_their_namespaces_are_listed_and_counted(
    tenant: httpx.AsyncClient,
) -> None:
    listed = await ask(tenant, "GET", "models")
    assert listed["items"] == [
        {"model": "shared", "instances": 1, "healthy": 0},
        {"model": "starting", "instances": 1, "healthy": 0},
        {"model": "vicuna", "instances": 1, "healthy": 1},
    ]
    assert await ask(tenant, "GET", "models", params={"namespace": "secret"}) == {"items": []}


@pytest.mark.parametrize("below", ["", "/why"])
async def test_an_instance_elsewhere_is_not_found(tenant: httpx.AsyncClient, below: str) -> None:
    answers = [
        (await tenant.get(f"/api/v1/instances/secret/{name}{below}")).json()
        for name in ("secret-0", "nobody")
    ]
    assert [answer["status"] for answer in answers] == [404, 404]
    assert [answer["detail"] for answer in answers] == [
        "there is no instance secret/secret-0",
        "there is no instance secret/nobody",
    ]
    await ask(tenant, "GET", f"instances/a/vicuna-0{below}")


async def test_who_holds_an_address_elsewhere_is_not_told(tenant: httpx.AsyncClient) -> None:
    why = await ask(tenant, "GET", "instances/a/shared-0/why")
    assert why["instance"]["phase"] == "Conflicted"
    assert why["evidence"]["holder"] is None
    assert "secret" not in str(why)


@pytest.mark.parametrize(
    "how", ["", "policy=round-robin", "policy=least-loaded", "key=k", "wait=1", "selector=!tier"]
)
@pytest.mark.parametrize("model", ["vicuna", "chat"])
async def test_only_instances_of_their_namespaces_are_picked(
    tenant: httpx.AsyncClient, how: str, model: str
) -> None:
    picked = {(await ask(tenant, "GET", f"select?model={model}&{how}"))["name"] for _ in range(20)}
    assert picked == {"vicuna-0"}


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("model=starting", 503,
         "no instance of 'starting' can be called: a/starting-0 is Starting "
         "(AwaitingFirstHeartbeat)"),
        ("model=shared", 503,
         "no instance of 'shared' can be called: a/shared-0 is Conflicted (AddressConflict)"),
        ("model=vicuna&exclude=a/vicuna-0", 503,
         "no instance of 'vicuna' can be called: a/vicuna-0 is Healthy (excluded)"),
        ("model=vicunas", 404, "no instance of 'vicunas'"),
        ("model=Vicunas&wait=0.01", 404, "no instance of 'Vicunas'"),
        ("model=vicuna&namespace=s", 404, "no instance of 'vicuna'"),
        ("model=secre%74/vicunas", 404, None),
        ("model=vicuna&namespace=secre%74", 404, "no instance of 'vicuna'"),
    ],
)  # fmt: skip
async def test_why_nobody_can_be_picked_names_nothing_from_elsewhere(
    tenant: httpx.AsyncClient, query: str, status: int, detail: str | None
) -> None:
    answer = await tenant.get(f"/api/v1/select?{query}")
    assert answer.status_code == status
    assert answer.json()["detail"] == (detail or "no instance of 'secret/vicunas'")


async def test_only_instances_of_their_namespaces_are_watched(
    tenant: httpx.AsyncClient,
) -> None:
    told = await ask(tenant, "GET", "watch", params={"timeoutSeconds": 0.01})
    assert told.count("event: ADDED") == 3
    told = await ask(tenant, "GET", "watch?model=secre%74/vicunas&timeoutSeconds=0.01")
    assert told.count("event: ") == told.count("event: SYNCED") == 1


@pytest.mark.parametrize("fields", [{"namespace": "secret"}, {"namespace": "b"}, {}], ids=named)
async def test_nobody_is_registered_elsewhere(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk, fields: dict[str, str]
) -> None:
    before = len(fleet.records)
    answer = await tenant.post("/api/v1/instances", json={**VICUNA, "port": 99, **fields})
    assert answer.status_code == 403
    where = fields.get("namespace", "default")
    assert answer.json()["detail"] == f"tenant may not change instances in {where!r}"
    assert len(fleet.records) == before


async def test_who_is_registered_in_their_namespace_is_told_of_no_other(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk
) -> None:
    body = {**VICUNA, "port": 3, "namespace": "a"}
    registered = await ask(tenant, "POST", "instances", 201, json=body)
    assert registered["phase"] == "Conflicted"
    path = f"instances/a/{registered['name']}"
    for method, below in (("POST", "/drain"), ("DELETE", "/drain"), ("DELETE", "")):
        await ask(tenant, method, f"{path}{below}")
    await ask(tenant, "POST", "heartbeats", 410, json={"incarnation": registered["incarnation"]})


async def test_heartbeats_of_instances_elsewhere_are_unknown(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk, clock: FakeClock
) -> None:
    own, other = (fleet.records.get(key(*at)) for at in (("vicuna-0", "a"), ("secret-0", "secret")))
    assert own is not None
    assert other is not None
    clock.advance(1)
    load = {"running": 5}
    await ask(tenant, "POST", "heartbeats", 404, json={"incarnation": other.id, "load": load})
    items = [{"incarnation": record.id, "load": load} for record in (other, own)]
    answer = await ask(tenant, "POST", "heartbeats", json={"items": items})
    assert [item["result"] for item in answer["items"]] == ["unknown", "accepted"]
    assert (other.load, other.last_beat_monotonic) == (None, clock.monotonic() - 1)
    assert own.last_beat_monotonic == clock.monotonic()
    await ask(tenant, "POST", "heartbeats", json={"incarnation": own.id})


async def test_reports_on_instances_elsewhere_are_unknown_and_counted(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk
) -> None:
    own, other = (fleet.records.get(key(*at)) for at in (("vicuna-0", "a"), ("secret-0", "secret")))
    assert own is not None
    assert other is not None
    assert other.verdict.ready
    failed = {"outcome": "failure", "count": 1000}
    answer = await tenant.post(
        "/api/v1/reports", json={"reporter": "r", "incarnation": other.id, **failed}
    )
    assert answer.status_code == 404
    items = [{"incarnation": record.id, **failed} for record in (other, own)]
    answers = await ask(tenant, "POST", "reports", json={"reporter": "r", "items": items})
    assert [item["result"] for item in answers["items"]] == ["unknown", "accepted"]
    assert other.verdict.ready
    assert not own.verdict.ready
    counted = fleet.reports.results
    assert counted[CallOutcome.FAILURE, ReportResult.UNKNOWN] == 2
    assert counted[CallOutcome.FAILURE, ReportResult.ACCEPTED] == 1


async def test_metrics_are_for_those_who_see_all(tenant: httpx.AsyncClient) -> None:
    assert (await tenant.get("/metrics")).status_code == 403


async def test_nobody_is_registered_elsewhere_by_a_heartbeat(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk
) -> None:
    before = len(fleet.records)
    body = {**VICUNA, "port": 99}
    for fields in ({"namespace": "secret"}, {}):
        early = Registration(fields.get("namespace", "default"), spec(port=99)).early_id
        item = {"incarnation": early, "registration": {**body, **fields}}
        assert (await tenant.post("/api/v1/heartbeats", json=item)).status_code == 403
        answer = await ask(tenant, "POST", "heartbeats", json={"items": [item]})
        assert answer["items"] == [{"incarnation": early, "result": "unknown"}]
    assert len(fleet.records) == before
    early = Registration("a", spec(port=99)).early_id
    item = {"incarnation": early, "registration": {**body, "namespace": "a"}}
    assert (await ask(tenant, "POST", "heartbeats", json=item))["result"] == "registered"


@pytest.mark.parametrize(
    ("method", "below"), [("DELETE", ""), ("POST", "/drain"), ("DELETE", "/drain")]
)
async def test_nobody_elsewhere_is_sent_away_drained_or_taken_back(
    tenant: httpx.AsyncClient, fleet: StandaloneDesk, method: str, below: str
) -> None:
    record = fleet.records.get(key("secret-0", "secret"))
    assert record is not None
    fleet.records.set_drained(record, drained=method == "DELETE" and below != "")
    before = record.verdict
    for params in ({}, {"incarnation": record.id}, {"incarnation": UNKNOWN}):
        answer = await tenant.request(
            method, f"/api/v1/instances/secret/secret-0{below}", params=params
        )
        assert answer.status_code == 404
        assert answer.json()["detail"] == "there is no instance secret/secret-0"
    assert record.verdict is before
    assert fleet.workers.late == 0


@pytest.mark.parametrize("way", WAYS)
async def test_who_sees_all_namespaces_is_told_of_all(fleet: StandaloneDesk, way: str) -> None:
    async with calling(fleet, Tenants(at_once=True), way) as client:
        assert len((await client.get("/api/v1/instances")).json()["items"]) == 7
        assert len((await client.get("/api/v1/models")).json()["items"]) == 4
        told = (await client.get("/api/v1/watch?timeoutSeconds=0.01")).text
        assert told.count("event: ADDED") == 7
        near = (await client.get("/api/v1/select?model=Vicunas")).json()["detail"]
        assert "secret/vicunas" in near
        picked = {
            (await client.get("/api/v1/select?model=vicuna")).json()["name"] for _ in range(30)
        }
        assert picked == {"vicuna-0", "secret-0"}
