"""What the API server's answers mean to Events."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest

from modelinstance.cluster.access import Access
from modelinstance.cluster.client import ClusterError
from modelinstance.cluster.events import EventClient, EventWriter, event_body
from modelinstance.registry.mirror.outbox import JITTER
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.events import UPDATE_SECONDS, EventBook, Subject
from unit.builders import key, live
from unit.clock import FakeClock

FORBIDDEN = ClusterError("create", "HTTP 403: no right", 403, kind="events")
ENDING = ClusterError("create", "HTTP 403: it ends", 403, fields=("metadata.namespace",))
NO_NAMESPACE = ClusterError("create", "HTTP 404: none", 404, kind="namespaces")
NO_EVENT = ClusterError("patch", "HTTP 404: none", 404, kind="events")
INVALID = ClusterError("create", "HTTP 422: odd", 422)
THERE = ClusterError("create", "HTTP 409: there is one", 409)
BUSY = ClusterError("create", "HTTP 429: busy", 429, retry_after=7.0)
BROKEN = ClusterError("create", "HTTP 500: broken", 500)
AWAY = ClusterError("create", "no answer within 3 s")


class Server(EventClient):
    """Answers with each error once, and then takes what comes."""

    def __init__(self, *errors: ClusterError) -> None:
        super().__init__(Access())
        self.errors = list(errors)
        self.asked: list[str] = []

    async def _request(self, what: str, method: str, *_: object, **__: object) -> Any:
        self.asked.append(method)
        if self.errors:
            raise self.errors.pop(0)
        return {}


class Room:
    """A book, its writer and a server."""

    def __init__(self, records: Records, clock: FakeClock, *errors: ClusterError) -> None:
        self.records, self.clock = records, clock
        self.counts: Counter[str] = Counter()
        self.book = EventBook(records, registry=lambda: None, counts=self.counts)
        self.server = Server(*errors)
        self.writer = EventWriter(self.server, self.book)

    def say(self) -> None:
        subject = Subject("ModelInstance", key(), "uid")
        self.book.note(subject, "Reason", "message", warning=False)

    async def write(self) -> list[str]:
        """Let the writer do what it can now; returns what it asked for."""
        self.server.asked.clear()
        running = asyncio.create_task(self.writer.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return self.server.asked

    def pass_time(self, seconds: float) -> None:
        live(self.records, self.clock, seconds)


@pytest.mark.parametrize(
    ("error", "counts", "again"),
    [
        (FORBIDDEN, {"failed": 1}, 60),
        (ENDING, {"dropped": 1}, None),
        (NO_NAMESPACE, {"dropped": 1}, None),
        (INVALID, {"dropped": 1}, None),
        (THERE, {"written": 1}, None),
        (BUSY, {"failed": 1}, 7),
        (BROKEN, {"failed": 1}, 1),
        (AWAY, {"failed": 1}, 1),
    ],
    ids=["forbidden", "ending", "no namespace", "invalid", "there", "busy", "broken", "away"],
)
async def test_what_becomes_of_a_new_event(
    error: ClusterError,
    counts: dict[str, int],
    again: float | None,
    records: Records,
    clock: FakeClock,
) -> None:
    room = Room(records, clock, error)
    assert await room.write() == [], "nothing is asked where there is nothing to tell"
    room.say()
    assert await room.write() == ["POST"]
    assert room.counts == counts
    if again is not None and again > 1:
        room.pass_time(again - 1)
        assert await room.write() == []
    room.pass_time(1 + JITTER * (again or 1))
    assert await room.write() == ([] if again is None else ["POST"])


@pytest.mark.parametrize(
    ("error", "then"),
    [(NO_EVENT, ["POST"]), (FORBIDDEN, []), (INVALID, [])],
    ids=["expired", "forbidden", "invalid"],
)
async def test_what_becomes_of_one_that_stands(
    error: ClusterError, then: list[str], records: Records, clock: FakeClock
) -> None:
    room = Room(records, clock)
    room.say()
    await room.write()
    room.pass_time(UPDATE_SECONDS)
    room.say()
    room.server.errors.append(error)
    assert await room.write() == ["PATCH", *then]


async def test_the_missing_right_is_told_once(
    records: Records, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    room = Room(records, clock, *[FORBIDDEN] * 5)
    room.say()
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            await room.write()
            room.pass_time(60)
    assert room.counts == {"failed": 5}
    (line,) = caplog.records
    assert "no right; grant the operator create and patch of events" in line.getMessage()


async def test_an_event_says_what_kubectl_shows(records: Records, clock: FakeClock) -> None:
    book = EventBook(records, registry=lambda: None, counts=Counter())
    for kind in ("Pod", "ModelInstance"):
        book.note(Subject(kind, key(), f"uid-{kind}"), "Reason", "message", warning=kind == "Pod")
    pod, instance = map(event_body, book.plan(2))
    assert pod["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "prod", "name": "vicuna-0",
        "uid": "uid-Pod",
    }  # fmt: skip
    assert instance["involvedObject"]["apiVersion"] == "modelinstance.dev/v1alpha1"
    assert (pod["type"], instance["type"]) == ("Warning", "Normal")
    assert instance["source"] == {"component": "modelinstance-operator"}
    assert instance["reportingComponent"] == "modelinstance-operator"
    assert instance["firstTimestamp"] == instance["lastTimestamp"] == "2026-03-01T12:00:00Z"
    assert instance["metadata"]["namespace"] == "prod"
