"""How one registry is kept told, whatever it answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from modelinstance.agent.link import LONGEST_PAUSE, Link
from modelinstance.agent.models import Served
from modelinstance.agent.state import Word
from modelinstance.client import (
    Connection,
    Heard,
    Load,
    Registered,
    Registration,
    RegistryUnavailableError,
    WorkerClient,
)
from modelinstance.notices import Notices

WELL = Word(Served("m"), Load(1))
ILL = Word(Served("m"), failure="GET /health: HTTP 500")
FIRST, SECOND = "1" * 16, "2" * 16


class ScriptedRegistry(WorkerClient):
    """Answers as it is told; ``asked`` is what it was asked, in short."""

    def __init__(self) -> None:
        super().__init__(Connection("http://registry.example"))
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.error: RegistryUnavailableError | None = None
        self.known = Registered("ns", "m-1", FIRST, True, "", 120.0)
        self.heard = Heard(FIRST, "accepted")
        self.draining = False

    def _take(self, what: str, body: Any = None) -> None:
        self.asked.append(what)
        self.bodies.append(body)
        if self.error is not None:
            raise self.error

    async def register(self, registration: Registration, load: Load | None = None) -> Registered:
        self._take(f"register {registration.model}", registration)
        return self.known

    async def beat(
        self,
        incarnation: str,
        *,
        load: Load | None = None,
        failure: str = "",
        registration: Registration | None = None,
    ) -> Heard:
        self._take(f"beat {incarnation[0]}{' ill' if failure else ''}", registration)
        return self.heard

    async def is_draining(self, known: Registered) -> bool:
        if self.error is not None:
            raise self.error
        return self.draining

    async def drain(self, known: Registered) -> None:
        self._take(f"drain {known.incarnation[0]}")

    async def deregister(self, known: Registered) -> None:
        self._take(f"deregister {known.incarnation[0]}")


def refused(status: int | None, *, retry_after: float = 0.0) -> RegistryUnavailableError:
    return RegistryUnavailableError("POST", f"HTTP {status}", status, retry_after=retry_after)


class Now:
    """A clock that runs, and can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def registry() -> ScriptedRegistry:
    return ScriptedRegistry()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
async def link(registry: ScriptedRegistry, now: Now) -> AsyncIterator[Link]:
    link = Link(
        registry,
        lambda names: Registration(names.model, "10.0.0.5", 8000, aliases=names.aliases),
        period=1.0,
        silence=12.0,
        random=Random(1),
        now=now,
        notices=Notices(logging.getLogger("modelinstance.agent")),
    )
    running = asyncio.create_task(link.run())
    yield link
    running.cancel()
    await asyncio.wait([running])
    await registry.connection.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this loop."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a condition of any kind, as in support.waiting
            await asyncio.sleep(0.001)


async def tell(link: Link, registry: ScriptedRegistry, word: Word, *expected: str) -> None:
    """Tell a word, and wait for what is asked of the registry then."""
    before = len(registry.asked)
    link.tell(word)
    await until(lambda: len(registry.asked) >= before + len(expected))
    assert registry.asked[before:] == list(expected)


async def test_it_registers_once_and_beats(link: Link, registry: ScriptedRegistry) -> None:
    await tell(link, registry, WELL, "register m")
    await tell(link, registry, WELL, "beat 1")
    await tell(link, registry, ILL, "beat 1 ill")
    link.tell(None)
    await tell(link, registry, WELL, "beat 1")
    assert link.registered


async def test_an_engine_that_fails_is_not_registered(
    link: Link, registry: ScriptedRegistry
) -> None:
    link.tell(ILL)
    await tell(link, registry, WELL, "register m")
    registry.error = refused(404)
    await tell(link, registry, ILL, "beat 1 ill")
    await until(lambda: not link.registered)


@pytest.mark.parametrize("status", [404, 410])
async def test_who_is_known_no_more_registers_again(
    status: int, link: Link, registry: ScriptedRegistry
) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(status)
    link.tell(WELL)
    await until(lambda: registry.asked[-2:] == ["beat 1", "register m"])
    registry.error, registry.known = None, replace(registry.known, incarnation=SECOND)
    await until(lambda: link.registered)
    await tell(link, registry, WELL, "beat 2")


async def test_the_registration_goes_along_until_it_is_stored(
    link: Link, registry: ScriptedRegistry
) -> None:
    registry.known = replace(registry.known, stored=False, detail="the API server is away")
    await tell(link, registry, WELL, "register m")
    for _ in range(2):
        await tell(link, registry, WELL, "beat 1")
        assert registry.bodies[-1] == registry.bodies[0]
    await tell(link, registry, ILL, "beat 1 ill")
    assert registry.bodies[-1] is None, "it would be taken for heard"
    registry.heard = Heard(SECOND, "accepted")
    await tell(link, registry, WELL, "beat 1")
    await tell(link, registry, WELL, "beat 2")
    assert registry.bodies[-1] is None


async def test_other_aliases_register_again_and_another_model_is_another_life(
    link: Link, registry: ScriptedRegistry
) -> None:
    await tell(link, registry, WELL, "register m")
    await tell(link, registry, Word(Served("m", ("lora",))), "register m")
    assert registry.bodies[-1].aliases == ("lora",)
    await tell(link, registry, Word(Served("m", ("lora",))), "beat 1")
    await tell(link, registry, Word(Served("n")), "deregister 1", "register n")


async def test_another_model_that_is_not_proven_ends_the_old_one_and_begins_nothing(
    link: Link, registry: ScriptedRegistry
) -> None:
    await tell(link, registry, WELL, "register m")
    unproven = Word(Served("n"), failure="it has completed nothing yet")
    await tell(link, registry, unproven, "deregister 1")
    await until(lambda: not link.registered)
    link.tell(unproven)
    await tell(link, registry, Word(Served("n")), "register n")


async def test_the_goodbye_of_the_old_model_is_said_until_it_is_heard(
    link: Link, registry: ScriptedRegistry, now: Now
) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(503, retry_after=50)
    unproven = Word(Served("n"), failure="it has completed nothing yet")
    await tell(link, registry, unproven, "deregister 1")
    await until(lambda: link.failing)
    registry.error = None
    now.ahead += 50
    await tell(link, registry, unproven, "deregister 1")
    await until(lambda: not link.registered and not link.failing)


async def test_a_goodbye_that_is_not_allowed_holds_up_no_new_model(
    link: Link, registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(known: Registered) -> None:
        raise refused(403)

    monkeypatch.setattr(registry, "deregister", forbidden)
    await tell(link, registry, WELL, "register m")
    await tell(link, registry, Word(Served("n")), "register n")


async def test_an_error_of_its_own_ends_no_link(
    link: Link, registry: ScriptedRegistry, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    await tell(link, registry, WELL, "register m")
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(registry, "beat", None)
        link.tell(WELL)
        await until(lambda: link.failing)
    assert caplog.records[-1].exc_info, "with its traceback"
    now.ahead += LONGEST_PAUSE
    await tell(link, registry, WELL, "beat 1")
    await until(lambda: not link.failing)


async def test_it_never_gives_up_and_says_so_once(
    link: Link, registry: ScriptedRegistry, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    registry.error = refused(401)
    with caplog.at_level(logging.INFO, "modelinstance.agent"):
        link.tell(WELL)
        for count in range(1, 30):
            await until(lambda count=count: len(registry.asked) == count)  # type: ignore[misc]
            now.ahead += LONGEST_PAUSE
            link.tell(WELL)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        registry.error = None
        now.ahead += LONGEST_PAUSE
        link.tell(WELL)
        await until(lambda: link.registered and not link.failing)
    assert caplog.messages[-1].endswith("it answers again")


async def test_what_was_not_taken_is_told_later_unless_there_is_doubt_by_then(
    link: Link, registry: ScriptedRegistry, now: Now
) -> None:
    registry.error = refused(None)
    link.tell(WELL)
    await until(lambda: link.failing)
    registry.error = None
    await until(lambda: link.registered)
    registry.error = refused(None)
    await tell(link, registry, WELL, "beat 1")
    await until(lambda: link.failing)
    registry.error = None
    link.tell(None)
    now.ahead += LONGEST_PAUSE
    await tell(link, registry, ILL, "beat 1 ill")


async def test_a_registry_that_asks_for_patience_gets_it(
    link: Link, registry: ScriptedRegistry, now: Now
) -> None:
    registry.error = refused(503, retry_after=50)
    link.tell(WELL)
    await until(lambda: link.failing)
    assert 49 < link._not_before - now() <= 50
    registry.error = None
    now.ahead += 50
    link.tell(WELL)
    await until(lambda: link.registered)


async def test_a_drain_makes_haste_and_nothing_takes_it_back(
    link: Link, registry: ScriptedRegistry
) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(503, retry_after=50)
    await tell(link, registry, WELL, "beat 1")
    await until(lambda: link.failing)
    registry.error = None
    link.drain()
    await until(lambda: registry.asked[-2:] == ["drain 1", "beat 1"])
    await tell(link, registry, Word(Served("m", ("lora",))), "beat 1")
    registry.error = refused(404)
    await tell(link, registry, WELL, "beat 1")
    await until(lambda: not link.registered)
    registry.error = None
    await link._say(WELL)
    assert registry.asked[-1] == "beat 1", "a registration would end the drain"


async def test_a_drain_that_fails_is_tried_again(link: Link, registry: ScriptedRegistry) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(None)
    link.drain()
    await until(lambda: registry.asked[-1] == "drain 1" and link.failing)
    registry.error = None
    await until(lambda: registry.asked.count("drain 1") == 2 and not link.failing)


async def test_a_goodbye_is_said_once(registry: ScriptedRegistry, link: Link, now: Now) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(503, retry_after=50)
    await tell(link, registry, WELL, "beat 1")
    link.leave()
    await until(lambda: registry.asked[-1] == "deregister 1")
    assert registry.asked == ["register m", "beat 1", "deregister 1"]


async def test_pauses_are_random_and_double_up_to_a_bound(
    registry: ScriptedRegistry,
) -> None:
    """Of a thousand that lose a registry at once, no two come back together."""
    registry.error = refused(None)
    firsts, lasts = [], []
    for seed in range(1000):
        link = Link(
            registry,
            lambda names: Registration(names.model, "h", 1),
            period=1.0,
            silence=12.0,
            random=Random(seed),
            now=lambda: 0.0,
            notices=Notices(logging.getLogger("modelinstance.agent")),
        )
        for failures in range(12):
            link.tell(WELL)
            await link._attempt()
            if failures == 0:
                firsts.append(link._not_before)
        lasts.append(link._not_before)
    for found, most in ((firsts, 1.0), (lasts, LONGEST_PAUSE)):
        assert 0 <= min(found) < 0.02 * most
        assert 0.98 * most < max(found) <= most
        tenths = [sum(1 for pause in found if pause // (most / 10) == tenth) for tenth in range(10)]
        assert max(tenths) < 150, "a tenth of the time has about a tenth of them"


@pytest.mark.parametrize(
    ("heartbeat_timeout", "sentence"),
    [
        (2.0, "it is 2 s, too short for --period=1"),
        (10.0, "it is 10 s, but it may take 12 s to be sure that the engine fails"),
        (12.0, None),
    ],
)
async def test_a_heartbeat_timeout_that_ends_before_a_failure_is_sure_is_told(
    heartbeat_timeout: float,
    sentence: str | None,
    link: Link,
    registry: ScriptedRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.known = replace(registry.known, heartbeat_timeout=heartbeat_timeout)
    link.tell(WELL)
    await until(lambda: link.registered)
    assert (sentence or "") in caplog.text
    assert ("heartbeat timeout" in caplog.text) == (sentence is not None)


async def test_new_names_take_no_drain_back(link: Link, registry: ScriptedRegistry) -> None:
    renamed = Word(Served("m", ("lora",)))
    await tell(link, registry, WELL, "register m")
    registry.draining = True
    for _ in range(2):
        await tell(link, registry, renamed, "beat 1")
    registry.draining = False
    await tell(link, registry, renamed, "register m")
    assert registry.bodies[-1].aliases == ("lora",)


@pytest.mark.parametrize("status", [404, 410])
async def test_new_names_of_who_is_known_no_more(
    status: int, link: Link, registry: ScriptedRegistry
) -> None:
    await tell(link, registry, WELL, "register m")
    registry.error = refused(status)
    link.tell(Word(Served("m", ("lora",))))
    await until(lambda: registry.asked == ["register m"] * 2)
