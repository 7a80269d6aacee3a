"""Writes what the registry decided into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from modelinstance import api
from modelinstance.cluster.client import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    ClusterClient,
    ClusterError,
)
from modelinstance.cluster.translate import (
    UnreadableError,
    observe,
    observe_registry,
    status_body,
    summary_body,
)
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.observed import Observed
from modelinstance.registry.reporting import StatusWrite
from modelinstance.registry.summary import RegistryObject, SummaryWrite

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

BATCH = 20
BUDGET_SECONDS = 1.0


class WriteResult(StrEnum):
    """How a status write ended."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    GONE = "gone"
    FAILED = "failed"


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

    def plan_statuses(self, limit: int) -> list[StatusWrite]:
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
        """See `Ask`."""
        ...


class StatusWriter:
    """One tick writes what fits into about a second, and leaves the rest to the next."""

    def __init__(self, client: ClusterClient, desk: StatusDesk, namespace: str, ask: Ask) -> None:
        self._client = client
        self._desk = desk
        self._namespace = namespace
        self._ask = ask

    async def tick(self) -> None:
        """Write the statuses that are due, then the summary."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BUDGET_SECONDS
        while loop.time() < end:
            writes = await self._ask(self._desk.plan_statuses, BATCH)
            if not writes:
                break
            ended = await asyncio.gather(*map(self._write, writes), return_exceptions=True)
            outcomes = [_outcome(*pair) for pair in zip(writes, ended, strict=True)]
            await self._ask(self._desk.statuses_settled, outcomes)
        summary = await self._ask(self._desk.plan_summary)
        if summary is not None:
            await self._ask(self._desk.summary_settled, await self._summarize(summary))

    async def _write(self, write: StatusWrite) -> WriteOutcome:
        try:
            raw = await self._client.apply_status(api.MODEL_INSTANCES, status_body(write))
            return WriteOutcome(write.key, WriteResult.WRITTEN, observe(raw))
        except ClusterError as error:
            if error.status == NOT_FOUND:
                return WriteOutcome(write.key, WriteResult.GONE)
            if error.status != CONFLICT:
                _report(error)
                return WriteOutcome(write.key, WriteResult.FAILED, retry_after=error.retry_after)
        except UnreadableError as error:
            logger.warning("%s", error)
            return WriteOutcome(write.key, WriteResult.FAILED)
        return await self._read_again(write.key)

    async def _read_again(self, key: InstanceKey) -> WriteOutcome:
        """After a conflict the object has changed: let it be decided anew."""
        try:
            return WriteOutcome(key, WriteResult.CONFLICT, observe(await self._client.get(key)))
        except ClusterError as error:
            if error.status == NOT_FOUND:
                return WriteOutcome(key, WriteResult.GONE)
            _report(error)
        except UnreadableError as error:
            logger.warning("%s", error)
        return WriteOutcome(key, WriteResult.FAILED)

    async def _summarize(self, write: SummaryWrite) -> RegistryObject | None:
        try:
            body = summary_body(self._namespace, write)
            return observe_registry(await self._client.apply_status(api.INSTANCE_REGISTRIES, body))
        except ClusterError as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                _report(error)
        except UnreadableError as error:
            logger.warning("%s", error)
        return None


def _outcome(write: StatusWrite, ended: WriteOutcome | BaseException) -> WriteOutcome:
    """Every write has one, lest its key be taken as being written for ever."""
    if isinstance(ended, WriteOutcome):
        return ended
    logger.error("status of ModelInstance %s; it will be tried again", write.key, exc_info=ended)
    return WriteOutcome(write.key, WriteResult.FAILED)


def _report(error: ClusterError) -> None:
    level = logging.ERROR if error.status == FORBIDDEN else logging.WARNING
    logger.log(level, "%s; it will be tried again", error)
