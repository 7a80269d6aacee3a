"""What routers tell over HTTP of how their calls ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from modelinstance.http.bodies import MAX_BATCH
from modelinstance.http.patience import MAX_BODY_BYTES
from modelinstance.http.reports import MAX_COUNT
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.intake.reports import CallOutcome, ReportResult
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, live, named, put
from unit.clock import FakeClock
from unit.wire import client_of

REPORTS = "/api/v1/reports"
UNKNOWN = "0" * 16


@pytest.fixture
def desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    registry.records.probations.settings = Hysteresis()
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


@pytest.fixture
async def client(desk: StandaloneDesk) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(desk) as client:
        yield client


@pytest.fixture
def one(desk: StandaloneDesk) -> Record:
    """One of three that are well."""
    made = [put(desk.records, f"v-{number}", host=f"h{number}") for number in range(3)]
    for record in made:
        desk.records.beat(record)
    return made[0]


def failed(record: Record, reporter: str = "router-0", count: int = 3) -> dict[str, Any]:
    return {
        "reporter": reporter, "incarnation": record.id, "outcome": "failure", "count": count,
    }  # fmt: skip


async def test_a_single_report_is_answered_with_what_it_amounts_to(
    client: httpx.AsyncClient, desk: StandaloneDesk, one: Record
) -> None:
    body = failed(one, count=2)
    answer = await client.post(REPORTS, json=body)
    assert answer.status_code == 200
    assert answer.json() == {"incarnation": one.id, "result": "accepted"}
    assert one.verdict.ready
    del body["count"]
    await client.post(REPORTS, json=body)
    assert one.verdict.reason is Reason.CALLS_FAILING, "without a count it is one"
    assert desk.reports.results[CallOutcome.FAILURE, ReportResult.ACCEPTED] == 2


async def test_a_batch_is_taken_in_its_order(
    client: httpx.AsyncClient, desk: StandaloneDesk, one: Record
) -> None:
    def batch(*outcomes: tuple[str, int]) -> dict[str, Any]:
        items = [{"incarnation": one.id, "outcome": o, "count": n} for o, n in outcomes]
        return {"reporter": "router-0", "items": [*items, {**items[0], "incarnation": UNKNOWN}]}

    answer = await client.post(REPORTS, json=batch(("failure", 2), ("success", 9), ("timeout", 2)))
    assert answer.status_code == 200
    assert answer.json()["items"] == [
        *[{"incarnation": one.id, "result": "accepted"}] * 3,
        {"incarnation": UNKNOWN, "result": "unknown"},
    ]
    assert one.verdict.ready
    await client.post(REPORTS, json=batch(("success", 1), ("failure", 2), ("timeout", 1)))
    assert one.verdict.reason is Reason.CALLS_FAILING


async def test_a_report_on_what_is_not_known_is_not_found_and_counted(
    client: httpx.AsyncClient, desk: StandaloneDesk, one: Record
) -> None:
    early = failed(one)
    put(desk.records, "v-0", host="elsewhere")
    desk.records.beat(one)
    answer = await client.post(REPORTS, json=early)
    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        f"body.incarnation={early['incarnation']}: no such incarnation is known; ask again which "
        "instances there are"
    )
    assert one.verdict.ready
    assert desk.reports.results[CallOutcome.FAILURE, ReportResult.UNKNOWN] == 1


async def test_reporters_are_told_apart_and_none_revives(
    client: httpx.AsyncClient, desk: StandaloneDesk, clock: FakeClock, one: Record
) -> None:
    well = {"reporter": "router-1", "incarnation": one.id, "outcome": "success"}
    await client.post(REPORTS, json=well)
    await client.post(REPORTS, json=failed(one))
    assert one.verdict.ready
    await client.post(REPORTS, json=failed(one, "router-2"))
    assert one.verdict.reason is Reason.CALLS_FAILING
    for second in range(60):
        live(desk.records, clock, 1)
        await client.post(REPORTS, json={**well, "reporter": f"router-{second % 3}"})
        assert not one.verdict.ready


LONG = "r" * 253
GOOD: dict[str, Any] = {"reporter": "r", "incarnation": UNKNOWN, "outcome": "success"}
ITEM = {"incarnation": UNKNOWN, "outcome": "success"}


@pytest.mark.parametrize(
    "body",
    [
        GOOD | {"reporter": LONG},
        GOOD | {"reporter": "rüter 7\U0001f600"},
        GOOD | {"count": 1},
        GOOD | {"count": MAX_COUNT},
        GOOD | {"outcome": "failure"},
        GOOD | {"outcome": "timeout"},
    ],
    ids=named,
)
async def test_what_is_allowed(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post(REPORTS, json=body)).status_code == 404


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "body.incarnation: this field is required; body.outcome: this field is required; "
         "body.reporter: this field is required"),
        (ITEM, "body.reporter: this field is required"),
        ([], "body=[]: write a JSON object"),
        (GOOD | {"reporter": ""}, "body.reporter='': String should have at least 1 character"),
        (GOOD | {"reporter": LONG + "r"}, "should have at most 253 characters"),
        (GOOD | {"reporter": "a\nb"}, r"body.reporter='a\nb': a reporter's name must be printable"),
        (GOOD | {"reporter": "a\x1b[31m"}, "a reporter's name must be printable"),
        (GOOD | {"reporter": "\u202ea"}, "a reporter's name must be printable"),
        (GOOD | {"reporter": " a"}, "must not begin or end with a space"),
        (GOOD | {"reporter": 7}, "body.reporter=7: Input should be a valid string"),
        (GOOD | {"incarnation": "x"}, "body.incarnation='x': write the 16 hexadecimal digits"),
        (GOOD | {"outcome": "ok"}, "body.outcome='ok': Input should be 'success', 'failure' or"),
        (GOOD | {"outcome": None}, "body.outcome=None: Input should be 'success', 'failure' or"),
        (GOOD | {"count": 0}, "body.count=0: Input should be greater than or equal to 1"),
        (GOOD | {"count": MAX_COUNT + 1}, "should be less than or equal to 1000000"),
        (GOOD | {"count": 1.5}, "body.count=1.5: Input should be a valid integer"),
        (GOOD | {"count": "1"}, "body.count='1': Input should be a valid integer"),
        (GOOD | {"count": True}, "body.count=True: Input should be a valid integer"),
        (GOOD | {"healthy": True}, "body.healthy=True: there is no such field"),
        ({"reporter": "r", "items": []}, "body.items=[]: List should have at least 1 item"),
        ({"reporter": "r", "items": [ITEM] * (MAX_BATCH + 1)}, "should have at most 10000 items"),
        ({"items": [ITEM]}, "body.reporter: this field is required"),
        ({"reporter": "r", "items": [ITEM | {"reporter": "r"}]}, "body.items.0.reporter='r': "),
        ({"reporter": "r", "items": [ITEM], "count": 1}, "body.count=1: there is no such field"),
        ({"reporter": "r", "items": [ITEM, {**ITEM, "count": -1}]}, "body.items.1.count=-1: "),
    ],
    ids=lambda value: named(value)[:60],
)  # fmt: skip
async def test_what_is_refused_of_it_and_what_to_write_instead(
    client: httpx.AsyncClient, desk: StandaloneDesk, one: Record, body: Any, detail: str
) -> None:
    answer = await client.post(REPORTS, json=body)
    assert answer.status_code == 422, answer.text
    assert detail in answer.json()["detail"]
    assert not desk.reports.results
    assert one.verdict.ready


async def test_one_wrong_report_of_a_batch_leaves_all_of_it(
    client: httpx.AsyncClient, desk: StandaloneDesk, one: Record
) -> None:
    good = {"incarnation": one.id, "outcome": "failure", "count": 3}
    body = {"reporter": "r", "items": [good, {**good, "count": 0}]}
    assert (await client.post(REPORTS, json=body)).status_code == 422
    assert one.verdict.ready
    assert len(desk.reports) == 0


def test_the_largest_batch_of_a_router_fits_into_a_request() -> None:
    largest = '{"incarnation": "0123456789abcdef", "outcome": "success", "count": 1000000},'
    assert MAX_BATCH * len(largest) < MAX_BODY_BYTES
