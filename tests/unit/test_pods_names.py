"""When engines are asked for their names, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest

from modelinstance.outbound.getter import Getter, Got, UnreachableError
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks
from modelinstance.podkeeping.names import AT_ONCE, NameReader
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.intake.podspecs import Names, instance_of
from modelinstance.registry.records.records import Records
from unit.costs import calls_of
from unit.pods import facts

ASKS = {"discover-names": "true"}


class Engines(Getter):
    """Engines that answer what they are told, as soon as they are let."""

    def __init__(self) -> None:
        super().__init__(Guard(Networks()))
        self.urls: list[str] = []
        self.asked = asyncio.Semaphore(0)
        self.models: list[str] = ["base"]
        self.open = asyncio.Event()
        self.open.set()

    async def get(self, url: str, *, timeout: float, limit: int) -> Got:  # noqa: ASYNC109
        self.urls.append(url)
        self.asked.release()
        answer = json.dumps({"data": [{"id": name} for name in self.models]}).encode()
        await self.open.wait()
        if not self.models:
            raise UnreachableError("nobody is there")
        return Got(200, answer)


class Room:
    """A book, and a reader of the names of its pods' engines."""

    def __init__(self, records: Records) -> None:
        self.engines = Engines()
        self.book = PodBook(records, ("",))
        self.book.end_list("", ())
        self.changed: list[PodFacts] = []
        self.reader = NameReader(self.engines, self.book, self.changed.append)
        self.book.on_end(self.reader.forget)

    def take(self, pod: PodFacts) -> PodFacts:
        self.book.take(pod)
        self.reader.look(pod)
        return pod


@pytest.fixture
async def room(records: Records) -> Room:
    return Room(records)


def reason(record: Record) -> Reason:
    return record.verdict.reason


def stored(records: Records, pod: PodFacts, names: Names | None = None) -> Record:
    """The record of the resource of a pod, written with those names."""
    wanted = instance_of(pod, names)
    return records.put(
        pod.key, "r", wanted.spec, created=0.0, labels=dict(wanted.labels), owner=pod.uid
    )


async def test_who_has_said_its_names_is_not_called_by_those_of_the_label(
    records: Records, room: Room
) -> None:
    pod = room.take(facts(settings=ASKS))
    record = stored(records, pod)
    assert await room.reader.read()
    assert room.reader.get(pod.uid) == Names("base")
    assert room.changed == [pod]
    assert reason(record) is Reason.POD_STARTING
    assert "yet to be written" in records.explain(record)
    stored(records, pod, Names("base"))
    room.book.name(pod)
    assert reason(record) is Reason.POD_READY


async def test_one_is_asked_once_and_at_once_where_it_is_now(room: Room) -> None:
    pod = room.take(facts(settings=ASKS, ready=False))
    assert not await room.reader.read()
    room.take(replace(pod, version=2, ready=True))
    assert await room.reader.read()
    room.take(replace(pod, version=3, ready=True, why="x"))
    assert not await room.reader.read()
    room.take(replace(pod, version=4, ready=True, settings={**ASKS, "port": "9000"}))
    assert await room.reader.read()
    assert [url.partition("//")[2] for url in room.engines.urls] == [
        "10.1.0.1:8000/v1/models", "10.1.0.1:9000/v1/models",
    ]  # fmt: skip


async def test_one_that_does_not_answer_is_asked_again_and_others_are_meanwhile(
    records: Records, room: Room
) -> None:
    pod = room.take(facts(settings=ASKS))
    record = stored(records, pod)
    room.engines.models = []
    assert not await room.reader.read()
    assert "nobody is there" in records.explain(record)
    room.take(facts("q", ip="10.1.0.2", settings=ASKS))
    room.engines.models = ["base"]
    assert await room.reader.read()
    assert [url.partition("//")[2] for url in room.engines.urls] == [
        "10.1.0.1:8000/v1/models", "10.1.0.2:8000/v1/models",
    ]  # fmt: skip


async def test_an_answer_of_a_pod_that_is_gone_leaves_nothing_behind(
    records: Records, room: Room
) -> None:
    pod = room.take(facts(settings=ASKS))
    room.engines.open.clear()
    asking = asyncio.create_task(room.reader.read())
    await room.engines.asked.acquire()
    room.book.drop(pod.key, pod.uid, lives=True)
    room.engines.open.set()
    await asking
    assert not room.changed
    assert room.reader.get(pod.uid) is None
    again = room.take(replace(pod, version=2))
    assert reason(stored(records, again)) is Reason.POD_STARTING


async def test_an_answer_from_where_it_was_before_does_not_count(room: Room) -> None:
    pod = room.take(facts(settings=ASKS))
    late = room.engines.open
    late.clear()
    asking = asyncio.create_task(room.reader.read())
    await room.engines.asked.acquire()
    room.take(replace(pod, version=2, settings={**ASKS, "port": "9000"}))
    room.engines.models = ["other"]
    room.engines.open = asyncio.Event()
    room.engines.open.set()
    assert await room.reader.read()
    late.set()
    await asking
    assert room.reader.get(pod.uid) == Names("other")


async def test_the_names_of_the_label_are_not_taken_for_those_that_were_said_before(
    records: Records, room: Room
) -> None:
    pod = room.take(facts(settings=ASKS))
    room.book.name(pod)
    record = stored(records, room.take(replace(pod, version=2, settings={})))
    assert reason(record) is Reason.POD_READY
    room.take(replace(pod, version=3))
    assert reason(record) is Reason.POD_STARTING


async def test_what_it_costs_to_look_who_is_due_does_not_grow_with_all(room: Room) -> None:
    def look() -> None:
        with contextlib.suppress(StopIteration):  # with nobody to ask it waits for nothing
            room.reader.read().send(None)

    room.take(facts(settings=ASKS))
    assert await room.reader.read()
    one = calls_of(look)
    for number in range(10 * AT_ONCE):
        room.take(facts(f"q{number}", ip=f"10.1.1.{number}", settings=ASKS))
    while await room.reader.read():
        pass
    assert calls_of(look) <= one + 5
