"""Many agents lose their registry for minutes: all of them come back, one by one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest

from modelinstance.agent.link import LONGEST_PAUSE, Link
from modelinstance.agent.models import Served
from modelinstance.agent.state import Word, jittered
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
from unit import virtual

LINKS, PERIOD, HEARTBEAT_TIMEOUT, AWAY = 50, 5.0, 120.0, 300.0
ANSWER_SECONDS, NO_ANSWER_SECONDS = 0.01, 5.0
WELL = Word(Served("m"))


@dataclass
class Registry:
    """What all of them tell, when it is there; ``heard`` is when it granted what to whom."""

    away: bool = False
    hangs: bool = False
    known: set[str] = field(default_factory=set)
    heard: list[tuple[float, str]] = field(default_factory=list)

    async def reach(self) -> None:
        """Come through to it, or fail."""
        hanging = self.away and self.hangs
        await asyncio.sleep(NO_ANSWER_SECONDS if hanging else ANSWER_SECONDS)
        if self.away or hanging:
            raise RegistryUnavailableError("POST", "no answer")

    def grant(self, worker: str) -> None:
        """It has taken what this one told."""
        self.heard.append((asyncio.get_running_loop().time(), worker))


class Voice(WorkerClient):
    """What one worker tells it."""

    def __init__(self, registry: Registry, worker: str) -> None:
        super().__init__(Connection("http://registry.example"))
        self._registry, self._worker = registry, worker

    async def register(self, registration: Registration, load: Load | None = None) -> Registered:
        await self._registry.reach()
        self._registry.known.add(self._worker)
        self._registry.grant(self._worker)
        return Registered("ns", self._worker, self._worker, True, "", HEARTBEAT_TIMEOUT)

    async def beat(
        self,
        incarnation: str,
        *,
        load: Load | None = None,
        failure: str = "",
        registration: Registration | None = None,
    ) -> Heard:
        await self._registry.reach()
        if incarnation not in self._registry.known:
            raise RegistryUnavailableError("POST", "HTTP 404", 404)
        self._registry.grant(self._worker)
        return Heard(incarnation, "accepted")


async def speak(link: Link, random: Random) -> None:
    """Tell each period that the engine is well, as an agent does."""
    while True:
        link.tell(WELL)
        await asyncio.sleep(jittered(PERIOD, random))


async def lose_and_find_again(*, hangs: bool, forgets: bool) -> list[float]:
    """When each was heard for the first time after the return, in seconds after it."""
    registry, links, tasks = Registry(hangs=hangs), [], []
    for number in range(LINKS):
        link = Link(
            Voice(registry, f"m-{number}"),
            lambda names: Registration(names.model, "10.0.0.5", 8000),
            period=PERIOD,
            silence=60.0,
            random=Random(number),
            now=asyncio.get_running_loop().time,
            notices=Notices(logging.getLogger("modelinstance.agent")),
        )
        links.append(link)
        tasks += [asyncio.create_task(link.run())]
        tasks += [asyncio.create_task(speak(link, Random(1000 + number)))]
    await asyncio.sleep(60)
    assert all(link.registered for link in links)
    registry.away = True
    await asyncio.sleep(AWAY)
    registry.away = False
    if forgets:
        registry.known.clear()
    back = asyncio.get_running_loop().time()
    await asyncio.sleep(2 * LONGEST_PAUSE)
    assert not any(task.done() for task in tasks), "nothing is given up"
    assert registry.known == {f"m-{number}" for number in range(LINKS)}
    assert not any(link.failing for link in links)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    first: dict[str, float] = {}
    for heard, worker in registry.heard:
        if heard >= back:
            first.setdefault(worker, heard - back)
    check_spread([heard - back for heard, _ in registry.heard if heard >= back], PERIOD)
    return list(first.values())


def check_spread(times: list[float], period: float) -> None:
    """Check that no tenth of any such period has more than a third of all links."""
    tenths = Counter(int(time // (period / 10)) for time in times)
    assert max(tenths.values()) <= LINKS / 3, sorted(tenths.items())


@pytest.mark.parametrize("forgets", [True, False], ids=["it has forgotten them", "it knows them"])
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_all_come_back_and_not_at_once(*, hangs: bool, forgets: bool) -> None:
    assert AWAY > HEARTBEAT_TIMEOUT
    returns = virtual.run(lose_and_find_again(hangs=hangs, forgets=forgets))
    assert len(returns) == LINKS
    assert max(returns) <= LONGEST_PAUSE + NO_ANSWER_SECONDS + PERIOD
    check_spread(returns, LONGEST_PAUSE)
