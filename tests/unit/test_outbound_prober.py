"""How a schedule of probes is carried out."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from modelinstance.outbound.getter import ForbiddenAddressError, Getter, Got, UnreachableError
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks
from modelinstance.outbound.prober import Prober
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import ProbeSpec
from modelinstance.registry.intake.probing import MAX_DOUBTFUL_AT_ONCE, ProbeSchedule
from modelinstance.registry.records.records import Records
from unit.builders import key, spec

PROBE = ProbeSpec("/health", period=1, timeout=2, success_threshold=1, failure_threshold=1)
URL = "http://10.0.0.5:8000/health"


class Answers(Getter):
    """Answers each request in the same way, once it is let."""

    def __init__(self, answer: int | Exception) -> None:
        super().__init__(Guard(Networks()))
        self.answer = answer
        self.go = asyncio.Event()
        self.go.set()
        self.began = asyncio.Event()
        self.under_way = self.most = 0

    async def get(self, url: str, *, timeout: float, limit: int) -> Got:  # noqa: ASYNC109
        assert (timeout, limit) == (2, 0)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.under_way -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return Got(self.answer, b"")


class Running:
    """A prober that runs, over records with the clock of this machine."""

    def __init__(self, answer: int | Exception) -> None:
        self.records = Records(10.0)
        self.schedule = ProbeSchedule(self.records)
        self.getter = Answers(answer)
        self.tallies: Counter[str] = Counter()
        self.prober = Prober(self.schedule, self.getter, self.tallies)

    def put(self, name: str = "a", host: str = "10.0.0.5") -> Record:
        wanted = replace(spec(host=host, heartbeat_required=False), probe=PROBE)
        return self.records.put(key(name), name, wanted, created=0.0)

    async def until(self, *results: str) -> None:
        """Run until this is what came of all that was asked."""
        async with asyncio.timeout(15):
            running = asyncio.create_task(self.prober.run())
            try:
                while self.tallies.total() < len(results):
                    await asyncio.wait({running}, timeout=0.01)
                    if running.done():
                        running.result()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        assert self.tallies == Counter(results)


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_success(status: int) -> None:
    running = Running(status)
    record = running.put()
    await running.until("success")
    assert record.verdict.reason is Reason.PROBE_SUCCEEDED


@pytest.mark.parametrize(
    ("answer", "result", "message"),
    [
        (503, "failure", f"GET {URL}: HTTP 503"),
        (404, "failure", f"GET {URL}: HTTP 404"),
        (199, "failure", f"GET {URL}: HTTP 199"),
        (302, "failure", f"GET {URL}: HTTP 302, and redirects are not followed: let "
         "spec.probe.path answer itself"),
        (UnreachableError("no answer within 2 s"), "failure", f"GET {URL}: no answer within 2 s"),
        (ForbiddenAddressError("10.0.0.5 is shut"), "forbidden",
         f"{URL} was not asked: 10.0.0.5 is shut"),
        (ValueError("that is no URL"), "failure", f"{URL} was not asked: that is no URL"),
    ],
)  # fmt: skip
async def test_a_failure_says_what_was_asked_and_what_came(
    answer: int | Exception, result: str, message: str
) -> None:
    running = Running(answer)
    record = running.put()
    await running.until(result)
    assert record.verdict.reason is Reason.PROBE_FAILED
    assert record.probe_message == message


async def test_what_may_be_our_own_fault_counts_for_nothing() -> None:
    running = Running(UnreachableError("no answer within 2 s", stalled=True))
    record = running.put()
    working = asyncio.create_task(running.prober.run())
    for _ in range(2):
        await asyncio.wait_for(running.getter.began.wait(), 10)
        running.getter.began.clear()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert record.verdict.reason is Reason.AWAITING_FIRST_PROBE
    assert not running.tallies


async def test_many_are_asked_at_a_time_but_no_more_than_the_bound() -> None:
    running = Running(200)
    for number in range(3 * MAX_DOUBTFUL_AT_ONCE):
        running.put(f"a{number}", f"10.0.1.{number}")
    running.getter.go.clear()
    waiting = running.schedule._due[True]
    async with asyncio.timeout(15):
        working = asyncio.create_task(running.prober.run())
        while len(waiting) < 2 * MAX_DOUBTFUL_AT_ONCE:
            await asyncio.wait({working}, timeout=0.01)
        assert running.getter.under_way == MAX_DOUBTFUL_AT_ONCE
        running.getter.go.set()
        while len({r.key for r in running.records if r.probe_passing}) < len(running.records):
            await asyncio.wait({working}, timeout=0.01)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert running.getter.most == MAX_DOUBTFUL_AT_ONCE


async def test_what_nobody_wants_any_more_is_given_up() -> None:
    running = Running(200)
    running.put()
    running.getter.go.clear()
    working = asyncio.create_task(running.prober.run())
    await asyncio.wait_for(running.getter.began.wait(), 10)
    running.records.remove(key("a"))
    while running.getter.under_way:
        await asyncio.wait({working}, timeout=0.01)
    assert not working.done()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_a_failure_of_its_own_ends_it() -> None:
    running = Running(RuntimeError("no such thing is expected"))
    running.put()
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(running.prober.run(), 10)
    assert raised.group_contains(RuntimeError)


async def test_it_may_be_cancelled_and_run_again() -> None:
    running = Running(200)
    record = running.put()
    running.getter.go.clear()
    working = asyncio.create_task(running.prober.run())
    await asyncio.wait_for(running.getter.began.wait(), 10)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert running.getter.under_way == 0
    running.getter.go.set()
    await running.until("success")
    assert record.verdict.reason is Reason.PROBE_SUCCEEDED
