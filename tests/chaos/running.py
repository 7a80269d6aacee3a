"""One run: the schedule is carried out, and everything is looked at meanwhile and in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from chaos.acting import Actor, Life, live
from chaos.comparing import differences, writes_allowed
from chaos.faults import Stage
from chaos.judging import Judge
from chaos.outages import Outages
from chaos.schedule import ALONE, BEFORE, BEHIND, Fault, Schedule
from chaos.truth import TIMEOUT_SECONDS, Truth
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import Start
from support.waiting import PATIENCE

BEAT_SECONDS = 0.5
CONVERGENCE_SECONDS = 5.0
"""From the last fault until all is as it must be: a resync, and a timeout."""
POLL_SECONDS = 0.2
QUIET_SECONDS = 4.0


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    schedule: Schedule
    violations: tuple[str, ...]
    looks: int
    requests: tuple[int, int]
    recoveries: tuple[float, ...]
    converged: float
    writes: int
    writes_allowed: int

    def __str__(self) -> str:
        sent, answered = self.requests
        recoveries = ", ".join(f"{seconds:.1f}" for seconds in self.recoveries)
        return (
            f"{self.schedule}\n"
            f"{self.looks} looks, {answered} of {sent} requests answered, views current again "
            f"after {recoveries} s, converged within {self.converged:.1f} s, "
            f"{self.writes} statuses written of {self.writes_allowed} allowed"
        )


def run(
    schedule: Schedule,
    cluster: Cluster,
    background: BackgroundLoop,
    start_operator: Start,
    **options: Any,
) -> Outcome:
    """Carry out a schedule on a cluster of its own; ``options`` are those of the operator."""
    print(schedule)
    return asyncio.run(_Run(schedule, cluster, options).go(background, start_operator))


class _Run:
    def __init__(self, schedule: Schedule, cluster: Cluster, options: Mapping[str, Any]) -> None:
        self._schedule = schedule
        self._cluster = cluster
        self._options = options
        self._truth = Truth(Outages())
        self._lives = {worker: live(worker) for worker in schedule.workers}

    async def go(self, background: BackgroundLoop, start_operator: Start) -> Outcome:
        loop = asyncio.get_running_loop()

        def ended() -> None:
            asyncio.run_coroutine_threadsafe(self._restarted(), loop).result()

        mark = self._cluster.audit_mark()
        self._stage = stage = await asyncio.to_thread(
            Stage, self._cluster, background, start_operator, ended, self._options
        )
        await asyncio.to_thread(stage.operator.wait_ready)
        lives = list(self._lives.values())
        actor = Actor(self._cluster, stage.url, self._truth)
        self._judge = judge = Judge(self._cluster, stage, self._truth, lives)
        async with actor, judge:
            await actor.begin(lives)
            voices = [self._speak(actor, life) for life in lives]
            looks = (judge.watch(), judge.follow(), judge.read_statuses())
            async with _beside(*voices, *looks):
                await self._carry_out(actor)
                converged = await self._converge()
                await self._stay_quiet()
        await asyncio.to_thread(self._check_logs)
        allowed = writes_allowed(self._schedule, judge.changes)
        writes = self._count_writes(mark)
        if writes > allowed:
            judge.accuse(f"{writes} statuses were written, {allowed} are allowed")
        return Outcome(
            self._schedule, tuple(judge.violations), judge.looks, (actor.sent, actor.answered),
            tuple(judge.recoveries), converged, writes, allowed,
        )  # fmt: skip

    async def _restarted(self) -> None:
        self._truth.restart(time.monotonic())

    async def _speak(self, actor: Actor, life: Life) -> None:
        while True:
            if life.speaks:
                await actor.beat(life)
            else:
                life.attempted = life.unbroken_since = None
            await asyncio.sleep(BEAT_SECONDS)

    async def _carry_out(self, actor: Actor) -> None:
        """All steps and faults, each at its time; ends with the last of them, or when it failed."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for lane in (BEHIND, (*BEFORE, *ALONE)):
                faults = [fault for fault in self._schedule.faults if fault.blow in lane]
                group.create_task(self._suffer(faults, began))
            for step in self._schedule.steps:
                await asyncio.sleep(began + step.at - time.monotonic())
                if self._judge.violations:
                    break
                group.create_task(actor.act(self._lives[step.worker], step))

    async def _suffer(self, faults: list[Fault], began: float) -> None:
        for fault in faults:
            await asyncio.sleep(began + fault.at - time.monotonic())
            if self._judge.violations:
                return
            print(f"at {time.monotonic() - began:.1f} s: {fault.blow} for {fault.lasts:.1f} s")
            self._judge.faults_under_way += 1
            self._truth.outages.begin(time.monotonic())
            try:
                await asyncio.to_thread(self._stage.suffer, fault)
            finally:
                self._judge.faults_under_way -= 1

    async def _converge(self) -> float:
        """Wait until all is as it must be; returns how many seconds it took."""
        began, found = time.monotonic(), ["nothing was looked at yet"]
        silence_ends = began + TIMEOUT_SECONDS
        while found or self._truth.outages.is_open or time.monotonic() < silence_ends:
            if time.monotonic() - began > PATIENCE * CONVERGENCE_SECONDS:
                for each in found or ["the view is not current"]:
                    self._judge.accuse(f"{each}, and that stays so")
                break
            if self._judge.violations:
                break
            await asyncio.sleep(POLL_SECONDS)
            with suppress(httpx.TransportError):
                stored, shown = await self._judge.stored(), await self._judge.shown()
                found = list(differences(shown, stored, list(self._lives.values()), self._truth))
        return time.monotonic() - began

    async def _stay_quiet(self) -> None:
        """Once all is as it must be, nothing is written but what changes."""
        mark, changes = self._cluster.audit_mark(), self._judge.changes
        await asyncio.sleep(QUIET_SECONDS)
        writes, changes = self._count_writes(mark), self._judge.changes - changes
        if writes > changes:
            self._judge.accuse(f"{writes} statuses were written while {changes} changed")

    def _check_logs(self) -> None:
        for number, log in enumerate(self._stage.logs):
            if "Traceback" in (text := log()):
                at = text.index("Traceback")
                self._judge.accuse(f"operator {number} logged a {text[at : at + 3000]}")
        if self._stage.operator.stop() != 0:
            self._judge.accuse("the operator did not stop well")

    def _count_writes(self, mark: int) -> int:
        return sum(
            write.resource == "modelinstances/status" and write.code == 200
            for write in self._cluster.writes(mark)
        )


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run some things meanwhile; one that fails fails it all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()
