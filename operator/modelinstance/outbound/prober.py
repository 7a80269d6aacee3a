"""Asks the instances that want to be asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from http import HTTPStatus

from modelinstance.outbound.getter import ForbiddenAddressError, Getter, UnreachableError
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.probing import Ask, ProbeOutcome, ProbeResult, ProbeSchedule

STARTS_AT_ONCE = 8
"""How many requests are begun in one pass of the loop, whose other work waits meanwhile."""


class Prober:
    """Carries out a schedule of probes, and counts what came of them in ``tallies``.

    A probe succeeds by an answer with a status of 200 to 299. A redirect is none: what it leads to
    is not the instance. It may be run, cancelled, and run again.
    """

    def __init__(self, schedule: ProbeSchedule, getter: Getter, tallies: Counter[str]) -> None:
        self._schedule = schedule
        self._getter = getter
        self._tallies = tallies
        self._asking: dict[InstanceKey, asyncio.Task[ProbeResult | None]] = {}
        self._news = asyncio.Event()
        schedule.on_news(self._news.set)

    async def run(self) -> None:
        """Ask whoever is due, until cancelled."""
        async with asyncio.TaskGroup() as asking:
            while True:
                self._news.clear()
                for ask in self._schedule.withdrawn():
                    if ask.key in self._asking:
                        self._asking[ask.key].cancel()
                for ask in self._schedule.take(STARTS_AT_ONCE):
                    task = asking.create_task(self._ask(ask))
                    self._asking[ask.key] = task
                    task.add_done_callback(partial(self._asked, ask))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._schedule.until_next()):
                        await self._news.wait()

    def _asked(self, ask: Ask, task: asyncio.Task[ProbeResult | None]) -> None:
        del self._asking[ask.key]
        known = not task.cancelled() and task.exception() is None
        result = task.result() if known else None
        self._schedule.settle(ask, result)
        if result is not None:
            self._tallies[result.outcome.value] += 1

    async def _ask(self, ask: Ask) -> ProbeResult | None:
        """What came of it; ``None`` where that may be due to this process itself."""
        try:
            got = await self._getter.get(ask.url, timeout=ask.timeout, limit=0)
        except ForbiddenAddressError as error:
            return ProbeResult(ProbeOutcome.FORBIDDEN, f"{ask.url} was not asked: {error}")
        except ValueError as error:  # what a newer CRD lets pass must not end this process
            return ProbeResult(ProbeOutcome.FAILURE, f"{ask.url} was not asked: {error}")
        except UnreachableError as error:
            if error.stalled:
                return None
            return ProbeResult(ProbeOutcome.FAILURE, f"GET {ask.url}: {error}")
        if HTTPStatus.OK <= got.status < HTTPStatus.MULTIPLE_CHOICES:
            return ProbeResult(ProbeOutcome.SUCCESS)
        what = f"HTTP {got.status}"
        if HTTPStatus.MULTIPLE_CHOICES <= got.status < HTTPStatus.BAD_REQUEST:
            what += ", and redirects are not followed: let spec.probe.path answer itself"
        return ProbeResult(ProbeOutcome.FAILURE, f"GET {ask.url}: {what}")
