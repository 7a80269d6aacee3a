"""The route `why`: the evidence in fields, with ages of now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.chain import LIVENESS, STANDING
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.reports import CallOutcome
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, live, put
from unit.clock import START, FakeClock
from unit.wire import client_of


@pytest.fixture
def desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    registry.records.probations.settings = Hysteresis()
    registry.records.guard.settings = GuardSettings()
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


@pytest.fixture
async def client(desk: StandaloneDesk) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(desk) as client:
        yield client


def heard(desk: StandaloneDesk, number: int) -> list[Record]:
    made = [put(desk.records, f"v-{index}", host=f"h{index}") for index in range(number)]
    for record in made:
        desk.records.beat(record)
    return made


async def why(client: httpx.AsyncClient, record: Record) -> Any:
    answer = await client.get(f"/api/v1/instances/{record.key}/why")
    assert answer.status_code == 200
    return answer.json()


async def test_one_that_is_well(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    one, *_ = heard(desk, 3)
    desk.reports.take(one, "a", CallOutcome.SUCCESS)
    desk.reports.take(one, "b", CallOutcome.FAILURE, 3)
    live(desk.records, clock, 1.25)
    said = await why(client, one)
    assert said["since"] == START.isoformat().replace("+00:00", "Z")
    assert said["sinceSeconds"] == 1.25
    assert len(said["checks"]) == len([*STANDING, *LIVENESS])
    assert said["checks"][-1] == {
        "check": "heartbeat",
        "result": "decides",
        "reason": "HeartbeatReceived",
        "evidence": "last heartbeat 1.2 s ago over HTTP, expires in 8.8 s unless heard",
    }
    assert said["changes"][0] == "silence for 8.8 s more"
    assert said["evidence"] == {
        "life": "Heard",
        "rotation": "Active",
        "heartbeatRequired": True,
        "heartbeatTimeoutSeconds": TIMEOUT,
        "heartbeatAgeSeconds": 1.25,
        "expiresInSeconds": 8.75,
        "deleting": False,
        "deregistered": False,
        "drained": False,
        "pod": None,
        "displaced": False,
        "failure": None,
        "probePassing": None,
        "holder": None,
        "frozen": False,
        "falls": 0,
        "probation": None,
        "probationSeconds": None,
        "wellForSeconds": None,
        "reportersBad": 1,
        "reportersGood": 1,
    }


async def test_one_to_which_calls_fail(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    one, *others = heard(desk, 3)
    desk.reports.take(one, "b", CallOutcome.FAILURE, 3)
    live(desk.records, clock, 2)
    said = await why(client, one)
    evidence = said["evidence"]
    assert said["instance"]["reason"] == "CallsFailing"
    assert [evidence[name] for name in ("probation", "probationSeconds", "wellForSeconds")] == [
        "CallsFailing", 30.0, 2.0,
    ]  # fmt: skip
    assert (evidence["falls"], evidence["reportersBad"]) == (1, 0)
    for record in others:
        desk.records.beat(record)
    live(desk.records, clock, TIMEOUT - 2)
    said = await why(client, one)
    assert said["instance"]["reason"] == "HeartbeatExpired", "what ails it more goes first"
    assert said["evidence"]["probation"] == "CallsFailing"
    assert said["evidence"]["wellForSeconds"] is None


async def test_one_of_many_that_are_silent(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock
) -> None:
    one, *_ = heard(desk, 3)
    live(desk.records, clock, TIMEOUT + 1)
    said = await why(client, one)
    assert said["instance"]["phase"] == "Degraded"
    assert said["evidence"]["frozen"] is True
    assert said["evidence"]["expiresInSeconds"] is None
    assert said["evidence"]["heartbeatAgeSeconds"] == TIMEOUT + 1
