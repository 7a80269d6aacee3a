"""Writes what the registry decided into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from modelinstance import api
from modelinstance.cluster.client import CONFLICT, NOT_FOUND, ClusterClient, ClusterError
from modelinstance.cluster.outcomes import FailureLog, hint_of, result_of
from modelinstance.cluster.translate import (
    UnreadableError,
    observe,
    observe_registry,
    status_body,
    summary_body,
)
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.pacing import WriteResult
from modelinstance.registry.mirror.summary import RegistryObject, SummaryWrite
from modelinstance.registry.mirror.writes import StatusPlan

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

WINDOW = 20
"""How many writes are under way at a time."""
BUDGET_SECONDS = 1.0
MIN_WAIT_SECONDS = 0.02
SUMMARY_SECONDS = 1.0
MAX_SUMMARY_SECONDS = 10.0
"""The summary is written once a second at the most, and after failures up to as seldom as this."""


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The end of one write.

    ``answer`` is the object as the API server showed it, if it did; ``retry_after`` the seconds
    that it asked to be left alone for.
    """

    key: InstanceKey
    result: WriteResult
    answer: Observed | None = None
    retry_after: float = 0.0


class StatusDesk(Protocol):
    """Where the decisions are made. Every method is called by the thread that owns it."""

    def plan_statuses(self, limit: int) -> StatusPlan:
        """The statuses to write now."""
        ...

    def statuses_settled(self, outcomes: Sequence[WriteOutcome]) -> None:
        """How they went."""
        ...

    def plan_summary(self) -> SummaryWrite | None:
        """The summary to write now."""
        ...

    def summary_settled(self, answer: RegistryObject | None) -> None:
        """How it went; ``None`` if it failed."""
        ...


class Ask(Protocol):
    """Calls a function in the thread that owns the desk, and awaits its result."""

    def __call__(self, function: Callable[..., ResultT], *arguments: object) -> Awaitable[ResultT]:
        """Call it with the arguments."""
        ...


class StatusWriter:
    """One tick writes what fits into about a second, and leaves the rest to the next.

    As soon as one write has ended the next begins.
    """

    def __init__(self, client: ClusterClient, desk: StatusDesk, namespace: str, ask: Ask) -> None:
        self._client = client
        self._desk = desk
        self._namespace = namespace
        self._ask = ask
        self._failures = FailureLog(logger)
        self._summary_pause = SUMMARY_SECONDS
        self._summary_not_before = 0.0

    async def tick(self) -> None:
        """Write the statuses that are due, then the summary."""
        under_way: dict[asyncio.Task[WriteOutcome], StatusWrite] = {}
        try:
            paused = await self._write_statuses(under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        now = asyncio.get_running_loop().time()
        if not paused and now >= self._summary_not_before:
            await self._write_summary(now)

    async def _write_statuses(
        self, under_way: dict[asyncio.Task[WriteOutcome], StatusWrite]
    ) -> bool:
        """Write what is due, keeping in ``under_way`` what is; returns whether to pause."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BUDGET_SECONDS
        outcomes: list[WriteOutcome] = []
        while True:
            room = WINDOW - len(under_way) if loop.time() < end else 0
            plan = await self._ask(self._turn, outcomes, room)
            for write in plan.writes:
                under_way[asyncio.create_task(self._write(write))] = write
            wait = None if plan.wait is None else max(plan.wait, MIN_WAIT_SECONDS)
            if under_way:
                done, _ = await asyncio.wait(
                    under_way, timeout=wait, return_when=asyncio.FIRST_COMPLETED
                )
                outcomes = [self._outcome(task, under_way.pop(task)) for task in done]
            elif wait is None or loop.time() + wait >= end:
                return plan.paused
            else:
                outcomes = []
                await asyncio.sleep(wait)

    async def _write_summary(self, now: float) -> None:
        summary = await self._ask(self._desk.plan_summary)
        if summary is None:
            return
        answer = await self._summarize(summary)
        if answer is not None:
            self._summary_pause = SUMMARY_SECONDS
        self._summary_not_before = now + self._summary_pause
        if answer is None:
            self._summary_pause = min(2 * self._summary_pause, MAX_SUMMARY_SECONDS)
        await self._ask(self._desk.summary_settled, answer)

    def _turn(self, outcomes: Sequence[WriteOutcome], room: int) -> StatusPlan:
        """Hand in what has ended and fetch what is next: one call of the other thread for both."""
        self._desk.statuses_settled(outcomes)
        return self._desk.plan_statuses(room)

    async def _write(self, write: StatusWrite) -> WriteOutcome:
        try:
            raw = await self._client.apply_status(api.MODEL_INSTANCES, status_body(write))
            return WriteOutcome(write.key, WriteResult.WRITTEN, observe(raw))
        except ClusterError as error:
            if error.status != CONFLICT:
                return self._failed(write.key, error)
        except UnreadableError as error:
            return self._unreadable(write.key, error)
        return await self._read_again(write.key)

    async def _read_again(self, key: InstanceKey) -> WriteOutcome:
        """After a conflict the object has changed: let it be decided anew."""
        try:
            return WriteOutcome(key, WriteResult.CONFLICT, observe(await self._client.get(key)))
        except ClusterError as error:
            return self._failed(key, error)
        except UnreadableError as error:
            return self._unreadable(key, error)

    def _failed(self, key: InstanceKey, error: ClusterError) -> WriteOutcome:
        result = result_of(error)
        if result is not WriteResult.GONE:
            self._failures.say(key, str(error), hint=hint_of(result))
        return WriteOutcome(key, result, retry_after=error.retry_after)

    def _unreadable(self, key: InstanceKey, error: UnreadableError) -> WriteOutcome:
        self._failures.say(key, str(error))
        return WriteOutcome(key, WriteResult.FAILED)

    @staticmethod
    def _outcome(task: asyncio.Task[WriteOutcome], write: StatusWrite) -> WriteOutcome:
        """Every write has one, lest its key be taken as being written for ever."""
        if task.cancelled():
            return WriteOutcome(write.key, WriteResult.FAILED)
        if (error := task.exception()) is None:
            return task.result()
        what = "status of ModelInstance %s; it will be tried again"
        logger.error(what, write.key, exc_info=error)
        return WriteOutcome(write.key, WriteResult.FAILED)

    async def _summarize(self, write: SummaryWrite) -> RegistryObject | None:
        key = InstanceKey(self._namespace, api.REGISTRY_NAME)
        try:
            body = summary_body(self._namespace, write)
            return observe_registry(await self._client.apply_status(api.INSTANCE_REGISTRIES, body))
        except ClusterError as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                self._failures.say(key, str(error), hint=hint_of(result_of(error)))
        except UnreadableError as error:
            self._failures.say(key, str(error))
        return None
