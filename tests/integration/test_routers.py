"""`modelinstance feed` beside the real routers, in front of engines that are not."""

from __future__ import annotations

import itertools
import logging
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from controlplane.ports import free_port
from routers.processes import TOKEN, VLLM, Process, RouterProcess, SGLang, modelinstance
from support.background import BackgroundLoop
from support.engine import CHAT, FakeEngine
from support.operator_process import OperatorProcess
from support.waiting import eventually, stays

FOLLOWS_SECONDS = 2
INTERVAL_SECONDS = 1
HOLD_SECONDS = 2
LONG_HOLD_SECONDS = 8
"""For those who look whether something is held yet: they may be slow."""
LOADERS = 4
LONG_SECONDS = 8.0
"""How long a completion takes that has to go on still when its engine is out."""


class Home:
    """A registry in memory at a port that stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start it, knowing nothing."""
        self._starts += 1
        log = self._folder / f"registry-{self._starts}.log"
        self.registry = OperatorProcess(None, log, f"--port={self.port}")
        self.registry.wait_ready()


class Site:
    """A namespace of its own in the registry, and what is started around it."""

    def __init__(self, folder: Path, home: Home, namespace: str, loop: BackgroundLoop) -> None:
        self._folder = folder
        self._namespace = namespace
        self._loop = loop
        self._feeds: list[Process] = []
        self.home = home
        self.names: dict[str, str] = {}

    def engine(self, name: str) -> FakeEngine:
        """An engine of model m."""
        return self._loop.enter(FakeEngine(name))

    def register(self, engine: FakeEngine, **body: Any) -> None:
        """Register an engine, to be taken at its word."""
        answer = self.home.registry.register(
            namespace=self._namespace, host=engine.host, port=engine.port,
            heartbeat={"required": False}, **body,
        )  # fmt: skip
        self.names[engine.name] = answer["name"]

    def key(self, engine: FakeEngine) -> str:
        """What the log calls an engine."""
        return f"{self._namespace}/{self.names[engine.name]}"

    def drain(self, engine: FakeEngine) -> None:
        """Ask for no new requests to an engine."""
        self.home.registry.drain(self.names[engine.name], self._namespace)

    def undrain(self, engine: FakeEngine) -> None:
        """Take that back."""
        self.home.registry.undrain(self.names[engine.name], self._namespace)

    def deregister(self, engine: FakeEngine) -> None:
        """An engine says goodbye."""
        self.home.registry.deregister(self.names[engine.name], self._namespace)

    def feed(self, *routers: RouterProcess, flags: tuple[str, ...] = ()) -> Process:
        """The feed under test."""
        token = self._folder / "token"
        token.write_text(TOKEN, "utf-8")
        feed = modelinstance(
            self._folder / f"feed-{len(self._feeds)}.log", "feed", "--model=m",
            f"--registry=http://127.0.0.1:{self.home.port}", f"--namespace={self._namespace}",
            *(f"--router={router.kind}={router.url}" for router in routers),
            f"--interval={INTERVAL_SECONDS}", f"--hold={HOLD_SECONDS}",
            f"--router-token-file={token}", *flags,
        )  # fmt: skip
        self._feeds.append(feed)
        return feed

    def close(self) -> None:
        """End everything; a feed has to end well."""
        statuses = [(feed.stop(), feed.log()) for feed in self._feeds]
        self._feeds = []
        for status, log in statuses:
            assert (status, "Traceback" in log, TOKEN in log) == (0, False, False), log


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The engines' server complains of routers that look whether it speaks gRPC."""
    logger = logging.getLogger("aiohttp.server")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One registry for all tests; some start it anew."""
    made = Home(tmp_path_factory.mktemp("home"))
    yield made
    made.registry.stop()


NAMESPACES = itertools.count(1)


@pytest.fixture
def site(tmp_path: Path, home: Home, background: BackgroundLoop) -> Iterator[Site]:
    made = Site(tmp_path, home, f"test-{next(NAMESPACES)}", background)
    try:
        yield made
    finally:
        made.close()


Kind = type[RouterProcess]


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, RouterProcess]]:
    """One router of each kind, for all tests."""
    started: dict[Kind, RouterProcess] = {}
    try:
        for kind in (SGLang, VLLM):
            started[kind] = kind(tmp_path_factory.mktemp("routers"))
        yield started
    finally:
        for router in started.values():
            router.close()


@pytest.fixture
def both(routers: dict[Kind, RouterProcess], site: Site) -> Iterator[dict[Kind, RouterProcess]]:
    """The routers, without workers; ``site`` is still there when they are emptied again."""
    yield routers
    site.close()
    for router in routers.values():
        router.empty()


@pytest.fixture(params=[SGLang, VLLM], ids=["sglang", "vllm"])
def router(request: pytest.FixtureRequest, both: dict[Kind, RouterProcess]) -> RouterProcess:
    """Each kind of router, without workers."""
    return both[request.param]


def has(router: RouterProcess, *engines: FakeEngine) -> Callable[[], bool]:
    """Whether these are a router's workers."""
    return lambda: router.workers() == {engine.url for engine in engines}


def answers(router: RouterProcess, times: int = 6) -> set[str]:
    """Which engines answer."""
    responses = [router.ask() for _ in range(times)]
    assert {response.status_code for response in responses} == {200}
    return {response.json()["system_fingerprint"] for response in responses}


def test_requests_go_where_the_registry_says(site: Site, router: RouterProcess) -> None:
    a, b = site.engine("a"), site.engine("b")
    feed = site.feed(router)
    assert router.ask().status_code == 503, "a router without workers says so at once"
    site.register(a)
    eventually(has(router, a), within=FOLLOWS_SECONDS + 3)  # the feed has just been started
    assert answers(router) == {"a"}
    site.register(b)
    eventually(has(router, a, b), within=FOLLOWS_SECONDS)
    assert answers(router) == {"a", "b"}
    site.drain(a)
    eventually(has(router, b), within=FOLLOWS_SECONDS)
    assert answers(router) == {"b"}
    site.undrain(a)
    eventually(has(router, a, b), within=FOLLOWS_SECONDS)
    assert answers(router) == {"a", "b"}
    site.deregister(b)
    eventually(has(router, a), within=FOLLOWS_SECONDS)
    assert answers(router) == {"a"}
    key = site.key(a)
    assert feed.says(re.escape(f"removed {a.url}: {key} is Draining: DrainRequested"))
    eventually(lambda: feed.says(re.escape(f"added {a.url}: {key} is selected"), times=2))


def test_a_drain_under_load_fails_no_request(site: Site, router: RouterProcess) -> None:
    a, b = site.engine("a"), site.engine("b")
    site.register(a)
    site.register(b)
    site.feed(router)
    eventually(has(router, a, b), within=FOLLOWS_SECONDS + 3)
    enough, seen = threading.Event(), Counter[tuple[int, str]]()
    b.delay = 0.05

    def load() -> None:
        while not enough.is_set():
            response = router.ask()
            seen[response.status_code, response.json().get("system_fingerprint", "")] += 1

    with ThreadPoolExecutor(LOADERS) as pool:
        try:
            loaders = [pool.submit(load) for _ in range(LOADERS)]
            eventually(lambda: seen[200, "a"] > 10 and seen[200, "b"] > 10)
            a.delay = LONG_SECONDS  # what runs there now goes on long after the drain
            eventually(lambda: a.in_flight > 0)
            site.drain(a)
            eventually(has(router, b), within=FOLLOWS_SECONDS)
            finished, running = seen[200, "a"], a.in_flight
            began, others = a.requests[CHAT], seen[200, "b"]
            assert running > 0, "the test is about requests that still run"
            eventually(lambda: a.in_flight == 0, within=LONG_SECONDS)
            eventually(lambda: seen[200, "a"] >= finished + running)
            eventually(lambda: seen[200, "b"] > others + 20)
            on_their_way = LOADERS - running  # when it went out: no loader has two at a time
            assert a.requests[CHAT] <= began + on_their_way, "no new ones since it is out"
        finally:
            enough.set()
        for loader in loaders:
            loader.result(30)
    assert {status for status, _ in seen} == {200}, seen


def test_what_drifts_is_repaired_and_what_others_added_is_left_alone(
    site: Site, router: RouterProcess
) -> None:
    a, b, foreign = site.engine("a"), site.engine("b"), site.engine("foreign")
    router.add(foreign.url)
    eventually(has(router, foreign))
    site.register(a)
    site.register(b)
    feed = site.feed(router)
    eventually(lambda: feed.says(f"added ({a.url}|{b.url})", times=2), within=FOLLOWS_SECONDS + 3)
    assert has(router, a, b, foreign)()
    router.remove(a.url)
    eventually(has(router, a, b, foreign), within=2 * INTERVAL_SECONDS)
    site.drain(b)
    eventually(has(router, a, foreign), within=FOLLOWS_SECONDS)
    router.add(b.url)
    eventually(has(router, a, foreign), within=2 * INTERVAL_SECONDS)
    router.kill()
    eventually(lambda: feed.says("cannot be kept now"), within=2 * INTERVAL_SECONDS)
    router.start()
    eventually(has(router, a), within=2 * INTERVAL_SECONDS)
    assert feed.says("answers again")
    assert len(re.findall(re.escape(f"{foreign.url}: it is left alone"), feed.log())) == 1


def test_exclusive_removes_what_others_added(site: Site, router: RouterProcess) -> None:
    a, foreign = site.engine("a"), site.engine("foreign")
    router.add(foreign.url)
    eventually(has(router, foreign))
    site.register(a)
    site.feed(router, flags=("--exclusive",))
    eventually(has(router, a), within=FOLLOWS_SECONDS + 3)


def test_a_feed_that_was_restarted_removes_what_went_meanwhile(
    site: Site, router: RouterProcess, tmp_path: Path
) -> None:
    a, b, foreign = site.engine("a"), site.engine("b"), site.engine("foreign")
    site.register(a)
    site.register(b)
    flags = (f"--state={tmp_path / 'state.json'}", f"--hold={LONG_HOLD_SECONDS}")
    first = site.feed(router, flags=flags)
    eventually(has(router, a, b), within=FOLLOWS_SECONDS + 3)
    first.kill()
    first.process.returncode = 0  # it was killed on purpose
    router.add(foreign.url)
    site.home.registry.stop()
    site.home.start()
    site.register(b)
    second = site.feed(router, flags=flags)
    eventually(lambda: second.says("may not know of it yet"), within=FOLLOWS_SECONDS + 3)
    assert has(router, a, b, foreign)(), "a registry that has just been started may not know all"
    eventually(has(router, b, foreign), within=LONG_HOLD_SECONDS + 2 * INTERVAL_SECONDS)
    assert second.says(re.escape(f"removed {a.url}: the registry lists no such instance"))


def test_a_registry_that_is_away_or_has_forgotten_empties_no_router(
    site: Site, router: RouterProcess
) -> None:
    a, b = site.engine("a"), site.engine("b")
    site.register(a)
    site.register(b)
    feed = site.feed(router, flags=(f"--hold={LONG_HOLD_SECONDS}",))
    eventually(has(router, a, b), within=FOLLOWS_SECONDS + 3)
    site.home.registry.kill()
    eventually(lambda: feed.says("the registry is lost"), within=2)
    router.kill()
    router.start()
    eventually(has(router, a, b), within=2 * INTERVAL_SECONDS)
    site.home.start()
    eventually(lambda: feed.says("the registry at .* is back"), within=2)
    site.register(a)
    stays(has(router, a, b), LONG_HOLD_SECONDS / 4)
    eventually(has(router, a), within=LONG_HOLD_SECONDS + 2 * INTERVAL_SECONDS)
    assert answers(router) == {"a"}


def test_an_engine_that_changes_its_model_is_added_anew(
    site: Site, both: dict[Kind, RouterProcess]
) -> None:
    router, a = both[SGLang], site.engine("a")
    assert isinstance(router, SGLang)
    a.models = ["old"]
    site.register(a, model="old", aliases=["m"])
    feed = site.feed(router)
    eventually(lambda: router.models() == {a.url: "old"}, within=FOLLOWS_SECONDS + 3)
    eventually(lambda: feed.says(re.escape(f"added {a.url}: ")))
    old = site.names[a.name]
    a.models = ["new"]
    site.register(a, model="new", aliases=["m"])
    site.names[a.name] = old
    site.deregister(a)
    eventually(lambda: router.models() == {a.url: "new"}, within=FOLLOWS_SECONDS)
    assert feed.says(re.escape(f"removed {a.url}: the router takes it for old, and it serves new"))


def test_a_router_that_hangs_holds_up_no_other(site: Site, both: dict[Kind, RouterProcess]) -> None:
    stuck, well = both[SGLang], both[VLLM]
    a = site.engine("a")
    feed = site.feed(stuck, well)
    site.register(a)
    eventually(has(stuck, a), within=FOLLOWS_SECONDS + 3)
    eventually(has(well, a), within=FOLLOWS_SECONDS)
    stuck.signal(signal.SIGSTOP)
    try:
        site.drain(a)
        eventually(has(well), within=FOLLOWS_SECONDS)
        eventually(lambda: feed.says("no answer within 5 s"), within=6)
    finally:
        stuck.signal(signal.SIGCONT)
    eventually(has(stuck), within=2 * INTERVAL_SECONDS)


def test_an_engine_that_cannot_be_added_yet_holds_up_no_other(
    site: Site, router: RouterProcess
) -> None:
    """The registry was told that it lives, and the router finds that it does not answer."""
    late, a = site.engine("late"), site.engine("a")
    late.fail("/health", 503)
    site.register(late)
    site.feed(router)
    eventually(lambda: late.requests["/health"] > 0, within=5)
    site.register(a)
    eventually(has(router, a), within=FOLLOWS_SECONDS)
    late.heal()
    eventually(has(router, a, late), within=10)
