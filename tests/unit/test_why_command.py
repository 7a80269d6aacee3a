"""The command `why`: what people read, and what it says when there is nothing to read."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelinstance.cli import main
from modelinstance.commands.serving import serve
from modelinstance.commands.why import why
from modelinstance.commands.why_text import UnreadableError, ago, rendered, staleness
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.standalone import StandaloneDesk
from support.background import BackgroundLoop
from unit.builders import TIMEOUT, live, put
from unit.clock import FakeClock
from unit.wire import client_of

WHY = "/api/v1/instances/prod/vicuna-0/why"
Site = dict[str, tuple[int, Any]]
"""What is answered on which path: a status, and a body."""
Typed = Callable[..., tuple[int, str, str]]
"""Types a command; returns the status and what is on standard output and standard error."""


@pytest.fixture
def explanation(clock: FakeClock) -> Any:
    """What the route answers on one that fell silent, with an odd failure before that."""
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    desk = StandaloneDesk(registry, default_namespace="default", remove_after=3600)
    record = put(desk.records, aliases=frozenset({"chat"}))
    desk.records.beat(record)
    live(desk.records, clock, 200)

    async def ask() -> Any:
        async with client_of(desk) as client:
            return (await client.get(WHY)).json()

    return asyncio.run(ask())


@pytest.fixture
def site() -> Site:
    return {}


@pytest.fixture
def headers() -> dict[str, str]:
    """What is in the head of each answer."""
    return {}


@pytest.fixture
def url(site: Site, headers: dict[str, str]) -> Iterator[str]:
    """A server that answers as the site says."""

    async def answer(request: web.Request) -> web.Response:
        found = site.get(request.path_qs) or site.get(request.path) or (404, {"detail": "nothing"})
        return web.json_response(found[1], status=found[0], headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    with BackgroundLoop() as loop:
        server = loop.enter(TestServer(app, shutdown_timeout=0.1))
        yield str(server.make_url("/"))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelinstance", "why", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_what_people_read(typed: Typed, site: Site, url: str, explanation: Any) -> None:
    site[WHY] = 200, explanation
    status, out, err = typed("prod/vicuna-0", f"--registry={url}")
    assert (status, err) == (0, "")
    assert out.startswith(
        "prod/vicuna-0 is Unhealthy: HeartbeatExpired\n"
        "  since     2026-03-01T12:00:10Z (3 min 10 s ago)\n"
        "  model     vicuna (also chat)\n"
        "  address   http://10.0.0.5:8000\n"
        "  message   No heartbeat within 10 s; look at the worker at http://10.0.0.5:8000, a new "
        "heartbeat makes it Healthy\n"
        "  meaning   No new heartbeat came within the timeout.\n"
        "\n"
        "  CHECK          RESULT    EVIDENCE\n"
        "  deletion       passes    the resource is not being deleted\n"
    ), out
    assert out.endswith(
        "  heartbeat      decides   HeartbeatExpired: last heartbeat 200.0 s ago; it is silent, "
        "and nothing is to expire\n"
        "\n"
        "What would change it:\n"
        "  - a heartbeat\n"
        "\n"
        "What to do:\n"
        "  Look at the worker and at its way to the cluster; a new heartbeat makes it `Healthy`.\n"
    ), out


def test_beside_the_registry_it_needs_not_be_named(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELINSTANCE_REGISTRY", raising=False)
    served = {option.name: option.default for option in serve.params}
    asked = why.make_context("why", ["prod/vicuna-0"]).params["registry"]
    assert asked == f"http://{served['host']}:{served['port']}"
    status, out, _ = typed("--help")
    assert status == 0
    assert f"default: {asked}" in " ".join(out.split())


def test_what_programs_read(typed: Typed, site: Site, url: str, explanation: Any) -> None:
    site[WHY] = 200, explanation
    status, out, err = typed("prod/vicuna-0", f"--registry={url}", "--output=json")
    assert (status, err) == (0, "")
    assert json.loads(out) == explanation


def test_that_an_answer_is_from_memory_comes_first(
    typed: Typed, site: Site, url: str, headers: dict[str, str], explanation: Any
) -> None:
    site[WHY] = 200, explanation
    headers |= {"Modelinstance-View-Stale": "true", "Modelinstance-View-Age": "75.312"}
    said = (
        "The registry's view of the cluster is not current: it was last proven 1 min 15 s ago. "
        "What follows is from memory.\n"
    )
    status, out, _ = typed("prod/vicuna-0", f"--registry={url}")
    assert status == 0
    assert out.startswith(f"{said}\nprod/vicuna-0 is Unhealthy")
    status, out, err = typed("prod/vicuna-0", f"--registry={url}", "-o", "json")
    assert (status, json.loads(out), err) == (0, explanation, said)


@pytest.mark.parametrize("age", ["", "nan", "inf", "soon"])
def test_an_age_that_is_none_is_left_out(age: str) -> None:
    told = {"Modelinstance-View-Stale": "true", "Modelinstance-View-Age": age}
    assert staleness(told).startswith("The registry's view of the cluster is not current. What ")
    assert staleness({**told, "Modelinstance-View-Stale": "false"}) == ""
    assert staleness({}) == ""


def test_what_a_worker_sent_orders_nothing_of_the_terminal(explanation: Any) -> None:
    explanation["instance"]["message"] = "bad\n\nprod/vicuna-0 is Healthy\x1b[2J\u202e\u2028"
    before = rendered(explanation).count("\n")
    explanation["checks"][9]["evidence"] = "x\r\x07"
    text = rendered(explanation)
    assert text.count("\n") == before
    assert r"bad\n\nprod/vicuna-0 is Healthy\x1b[2J\u202e\u2028" in text
    assert all(character.isprintable() or character == "\n" for character in text)


INSTANCES = {
    "items": [
        {"namespace": "prod", "name": name} for name in ("vicuna-0", "vicuna-1", "llama-0")
    ]
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "listed", "said"),
    [
        ("prod/vicuna-2", INSTANCES, "; write prod/vicuna-1 or prod/vicuna-0"),
        ("test/llama-0", INSTANCES, "; write prod/llama-0"),
        ("test/zephyr-0", INSTANCES, "; see GET /api/v1/instances"),
        ("prod/vicuna-2", {"items": []}, "; see GET /api/v1/instances"),
        ("prod/vicuna-2", {"things": 7}, "; see GET /api/v1/instances"),
        ("prod/vicuna-2", "x" * 2**20, "; see GET /api/v1/instances"),
    ],
    ids=["near", "elsewhere", "far", "none", "odd", "too-many"],
)
def test_an_unknown_instance_is_told_with_names_like_it(
    typed: Typed, site: Site, url: str, *, key: str, listed: Any, said: str
) -> None:
    namespace = key.partition("/")[0]
    site["/api/v1/instances"] = 200, listed
    if namespace == "test":
        site["/api/v1/instances?namespace=test"] = 200, {"items": []}
    status, out, err = typed(key, f"--registry={url}")
    assert (status, out) == (1, "")
    assert err == f"modelinstance: there is no instance {key} in {url.rstrip('/')}{said}\n"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {}, "is no registry: write the URL of one, --registry http://HOST:PORT"),
        (401, {"detail": "send a token"}, "HTTP 401: send a token; name a file with a token that "),
        (403, {"detail": "not you"}, "HTTP 403: not you; name a file with a token that it takes: "),
        (503, {"detail": "later"}, "HTTP 503: later"),
        (200, {}, "the answer is none of a registry that explains itself: it has to be of this "),
        (200, [], "the answer is none of a registry that explains itself"),
        (200, None, "the answer is none of a registry that explains itself"),
    ],
)
def test_what_does_not_explain_itself_is_told_in_one_line(
    typed: Typed, site: Site, url: str, *, status: int, body: Any, said: str
) -> None:
    site[WHY] = status, body
    code, out, err = typed("prod/vicuna-0", f"--registry={url}")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


@pytest.mark.parametrize("missing", ["checks", "changes", "since", "sinceSeconds", "instance"])
def test_a_registry_of_another_version_is_told_so(explanation: Any, missing: str) -> None:
    for odd in ({}, {missing: 7}, {missing: None}):
        body = {name: value for name, value in explanation.items() if name != missing} | odd
        if body.get(missing) == 7 and missing == "sinceSeconds":
            continue
        with pytest.raises(UnreadableError):
            rendered(body)


def test_a_registry_that_is_not_there(typed: Typed) -> None:
    code, out, err = typed("prod/vicuna-0", "--registry=http://127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.startswith(f"modelinstance: GET {WHY} of http://127.0.0.1:1: Cannot connect")
    assert err.endswith("; write the URL of a registry that runs: --registry http://HOST:PORT\n")


@pytest.mark.parametrize("key", ["vicuna-0", "prod/", "/vicuna-0", "a/b/c", "prod/vic una", "A/b"])
def test_what_names_no_instance(typed: Typed, key: str) -> None:
    code, out, err = typed(key, "--registry=http://127.0.0.1:1")
    assert (code, out) == (2, "")
    assert f"{key!r} names no instance: write its namespace, '/' and its name, for example " in err


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s ago"),
        (59.94, "59.9 s ago"),
        (60, "1 min 0 s ago"),
        (3599, "59 min 59 s ago"),
        (3600, "1 h 0 min ago"),
        (86399, "23 h 59 min ago"),
        (90061, "1 d 1 h ago"),
    ],
)
def test_ages_have_the_two_units_that_matter(seconds: float, told: str) -> None:
    assert ago(seconds) == told
