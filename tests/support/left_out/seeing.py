"""Time, the view of the cluster, statuses, and calls to others."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from modelinstance.cluster.client import NOT_FOUND, ClusterError
from modelinstance.cluster.listing import Listed, Lister
from modelinstance.cluster.status import StatusWriter, WriteOutcome
from modelinstance.outbound.prober import Prober
from modelinstance.registry import timeline
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.intake.probing import Ask, ProbeResult
from modelinstance.registry.mirror import tracker
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.view import View
from modelinstance.registry.records.records import Records
from support.left_out.table import leaves_out, let_do, nothing, put

# -- time and the view ----------------------------------------------------------------------------


@leaves_out("expiry")
def _() -> None:
    """Nobody expires."""
    let_do(Records.expire_on, nothing)


@leaves_out("resync-removal")
def _() -> None:
    """A LIST removes nothing: events alone do."""
    end_list = Mirror.end_list

    def keep(self: Mirror, *arguments: Any, **options: Any) -> Any:
        options["unreadable"] = [key for key, _ in self._tracker]
        return end_list(self, *arguments, **options)

    put(Mirror, "end_list", keep)


@leaves_out("time-of-the-view")
def _() -> None:
    """Silence counts whether or not anybody could have been heard."""
    attend, attended = Mirror.attend, {"until": 0.0}

    def attend_all(self: Mirror) -> float:
        now = self.records.attend()
        for view in self.views.values():
            view.timeline.now += now - attended["until"]
        attended["until"] = now
        return attend(self)

    def none(*_arguments: Any) -> float:
        return 0.0

    put(Mirror, "attend", attend_all)
    put(View, "uncredited", none)


@leaves_out("attended-time")
def _() -> None:
    """Time counts whether or not this process could have heard anybody."""
    put(timeline, "MAX_STEP_SECONDS", float("inf"))


@leaves_out("own-time")
def _() -> None:
    """Whoever was last heard too long ago, by the time of day, has expired."""
    expire = Records.expire

    def compare(self: Records) -> None:
        now = self.clock.wall()
        for record in self:
            if record.timeline is None or record.last_beat is None:
                continue
            if (now - record.last_beat).total_seconds() > self.timeout_of(record):
                record.timeline.schedule(record, 0.0)
        expire(self)

    put(Records, "expire", compare)


@leaves_out("cannot-tell")
def _() -> None:
    """A resource type that is not found has no objects."""
    read, newest = Lister._read, 2**60

    async def read_nothing(self: Lister) -> Listed:
        try:
            return await read(self)
        except ClusterError as error:
            if error.status != NOT_FOUND:
                raise
            return Listed(version=newest)

    put(Lister, "_read", read_nothing)


# -- statuses -------------------------------------------------------------------------------------


@leaves_out("write-on-change")
def _() -> None:
    """A status is written again and again."""

    def never(*_arguments: Any) -> bool:
        return False

    put(tracker, "is_current", never)


# -- calls to others ------------------------------------------------------------------------------


@leaves_out("writes-beside")
def _() -> None:
    """The registry waits for the writes of statuses."""
    written = StatusWriter._write

    async def wait(self: StatusWriter, status: StatusWrite) -> WriteOutcome:
        ended = threading.Event()

        async def writing() -> WriteOutcome:
            try:
                return await written(self, status)
            finally:
                ended.set()

        outcome = asyncio.ensure_future(writing())
        await self._ask(ended.wait, 30.0)
        return await outcome

    put(StatusWriter, "_write", wait)


@leaves_out("probes-beside")
def _() -> None:
    """The registry waits for the answers to its probes."""
    ask = Prober._ask

    async def wait(self: Prober, asked: Ask) -> ProbeResult | None:
        began = time.monotonic()
        result = await ask(self, asked)
        time.sleep(time.monotonic() - began)  # noqa: ASYNC251 - as a client that blocks would
        return result

    put(Prober, "_ask", wait)
