"""A name means all its addresses, as they come and go."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from aiohttp import web

from modelinstance.agent import addresses, links
from modelinstance.agent.links import Links
from modelinstance.agent.models import Served
from modelinstance.agent.state import Word
from modelinstance.client import Registration
from modelinstance.notices import Notices

WELL = Word(Served("m"))
URL = "http://registries.example"
ANSWER = {
    "namespace": "ns", "name": "m-1", "incarnation": "1" * 16, "stored": True, "detail": "",
    "heartbeatTimeoutSeconds": 120.0, "result": "accepted",
}  # fmt: skip


@dataclass
class Replica:
    """A registry at one loopback address, which takes everything and remembers when."""

    address: str
    port: int = 0
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((time.monotonic(), f"{request.method} {request.path}"))
        assert request.host == f"registries.example:{self.port}"
        return web.json_response(ANSWER)

    @property
    def goodbyes(self) -> int:
        return sum(1 for _, what in self.asked if what.startswith("DELETE"))


class Names:
    """What the name resolves to, as tests say; a call of getaddrinfo like the loop's."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.asked = 0

    async def __call__(self, host: str | None, port: int | None, **how: Any) -> list[Any]:
        self.asked += 1
        assert (host, how) == ("registries.example", {"type": socket.SOCK_STREAM})
        if not self.now:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self.now * 2]


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    first = Replica("127.0.0.1")
    await first.start()
    second = Replica("127.0.0.2", first.port)
    await second.start()
    yield [first, second]
    await first.stop()
    await second.stop()


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names)
    monkeypatch.setattr(links, "RESOLVE_INTERVAL", 0.05)
    monkeypatch.setattr(links, "UNRESOLVED_INTERVAL", 0.05)
    return names


@pytest.fixture
async def to_all(replicas: list[Replica], names: Names) -> AsyncIterator[Links]:
    all_of_them = Links(
        (f"{URL}:{replicas[0].port}",),
        lambda names: Registration(names.model, "10.0.0.5", 8000),
        period=0.2,
        silence=1,
        timeout=2,
        token_file=None,
        random=Random(1),
        notices=Notices(logging.getLogger("modelinstance.agent")),
    )
    following = asyncio.create_task(all_of_them.follow())
    yield all_of_them
    following.cancel()
    await asyncio.wait([following])
    await all_of_them.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this loop."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a condition of any kind, as in support.waiting
            await asyncio.sleep(0.001)


def told_of(to_all: Links) -> str:
    """What is wrong with the name itself."""
    return " ".join(
        said for subject, said in to_all._notices._said.items() if " at " not in subject
    )


async def test_each_address_is_told_and_each_is_left(
    to_all: Links, names: Names, replicas: list[Replica]
) -> None:
    names.now = ["127.0.0.1", "127.0.0.2"]
    to_all.tell(WELL)
    await until(lambda: all(replica.asked for replica in replicas))
    await until(lambda: to_all.registered)
    to_all.drain()
    await until(lambda: all(replica.asked[-1][1].endswith("/drain") for replica in replicas))
    await to_all.leave()
    assert [replica.goodbyes for replica in replicas] == [1, 1]


async def test_one_that_comes_later_waits_for_a_share_of_a_period(
    to_all: Links, names: Names, replicas: list[Replica]
) -> None:
    """All agents find it at about the same time."""
    first, second = replicas
    names.now = ["127.0.0.1"]
    to_all.tell(WELL)
    await until(lambda: bool(first.asked))
    names.now = ["127.0.0.1", "127.0.0.2"]
    await until(lambda: len(to_all._links) == 2)
    (late,) = (link for place, (link, _, _) in to_all._links.items() if place.address[-1] == "2")
    assert late._not_before > float("-inf")
    await until(lambda: bool(second.asked))


async def test_an_address_is_given_up_when_it_neither_resolves_nor_answers(
    to_all: Links, names: Names, replicas: list[Replica], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = replicas
    names.now = ["127.0.0.1", "127.0.0.2"]
    to_all.tell(WELL)
    await until(lambda: all(replica.asked for replica in replicas))
    names.now = ["127.0.0.1"]
    told, asked = len(second.asked), names.asked
    await until(lambda: names.asked > asked + 3)
    to_all.tell(WELL)
    await until(lambda: len(second.asked) > told)
    assert len(to_all._links) == 2, "it answers: perhaps it is only unready"
    await second.stop()

    def given_up() -> bool:
        to_all.tell(WELL)
        return len(to_all._links) == 1

    with caplog.at_level(logging.INFO, "modelinstance.agent"):
        await until(given_up)
    names.now = []
    await until(lambda: "is not resolved: Name or service not known" in told_of(to_all))
    assert f"{URL}:{first.port}: 127.0.0.2 is given up" in caplog.text
    told = len(first.asked)
    to_all.tell(WELL)
    await until(lambda: len(first.asked) > told)
    await second.start()


async def test_a_name_that_nobody_knows_yet_is_asked_for_again(
    to_all: Links, names: Names, replicas: list[Replica]
) -> None:
    to_all.tell(WELL)
    await until(lambda: "is not resolved" in told_of(to_all))
    names.now = ["127.0.0.2"]
    await until(lambda: bool(replicas[1].asked))
    assert not told_of(to_all)


async def test_the_resolver_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*asked: Any, **how: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.05)
    notices = Notices(logging.getLogger("modelinstance.agent"))
    assert await addresses.places([URL], notices) == {}
    assert notices._said == {
        f"registry {URL}": "its host name was not resolved in time; it is tried again"
    }


async def test_a_name_that_is_none_ends_nothing() -> None:
    notices = Notices(logging.getLogger("modelinstance.agent"))
    urls = ("http://a..b", f"http://{'a' * 64}.svc", "http://127.0.0.1")
    assert list(await addresses.places(urls, notices)) == ["http://127.0.0.1"]
    assert [*notices._said.values()] == ["its host name is none"] * 2
