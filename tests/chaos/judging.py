"""Looks at the operator and the API server all the time, and notes what must not be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from chaos.acting import Life
from chaos.clients import Clients
from chaos.faults import Stage
from chaos.schedule import MODELS
from chaos.truth import TIMEOUT_SECONDS, Truth
from support.cluster import API, Cluster
from support.waiting import PATIENCE

LOOK_SECONDS = 0.1
STATUS_SECONDS = 0.5
ANSWER_SECONDS = 1.0
RECOVERY_SECONDS = 12.0
"""From the end of a fault to a current view: a LIST's time-out, and one resync."""
SETTLED_SECONDS = 5.0
"""So long after a fault, or after it was sent, a request is carried out or never will be."""
KIND = 30
"""Violations that have so many letters in common are one: the instance is named first."""
MARK = ("Degraded", "CorrelatedSilence")
"""How an instance shows whose silence is not held against it."""
EXPIRED = "HeartbeatExpired"
CURRENT = "the view is current"

Shown = dict[str, Any]


def is_marked(shown: Shown) -> bool:
    """Whether an instance says that its silence is not held against it."""
    return (shown["phase"], shown["reason"]) == MARK


class Judge(Clients):
    """``violations`` holds what was found, each once; ``recoveries`` the seconds of each.

    ``changes`` counts those of phase, reason and incarnation.
    """

    def __init__(self, cluster: Cluster, stage: Stage, truth: Truth, lives: Sequence[Life]) -> None:
        super().__init__(
            cluster,
            stage.url,
            api_seconds=ANSWER_SECONDS,
            operator_seconds=PATIENCE * ANSWER_SECONDS,
        )
        self._stage = stage
        self._truth = truth
        self._lives = {life.name: life for life in lives}
        self._healthy: dict[str, str] = {}
        self._seen: dict[str, tuple[str, str, str]] = {}
        self._began = time.monotonic()
        self.violations: list[str] = []
        self._kinds: set[str] = set()
        self.looks = 0
        self.changes = 0
        self.faults_under_way = 0
        self.recoveries: list[float] = []

    def accuse(self, what: str) -> None:
        """Note a violation; one that begins alike is not new."""
        if (kind := what[:KIND]) not in self._kinds:
            self._kinds.add(kind)
            self.violations.append(f"at {time.monotonic() - self._began:.1f} s: {what}")

    # -- what routers are told -------------------------------------------------------------------

    async def watch(self) -> None:
        """Ask as routers do, until cancelled."""
        while True:
            for model in MODELS:
                asked = time.monotonic()
                answer = await self._ask("/api/v1/select", model=model)
                if answer is not None and answer.status_code == HTTPStatus.OK:
                    self._judge(answer.json(), asked)
            asked = time.monotonic()
            answer = await self._ask("/api/v1/instances")
            if answer is not None and answer.status_code == HTTPStatus.OK:
                for shown in answer.json()["items"]:
                    self._judge(shown, asked)
                    self._count_changes(shown)
            self.looks += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, path: str, **query: str) -> httpx.Response | None:
        asked = time.monotonic()
        try:
            answer = await self._operator.get(path, params=query)
        except httpx.TransportError as error:
            if not self._stage.was_out(asked):
                self.accuse(f"the operator does not answer {path}: {error!r}")
            return None
        if answer.status_code not in {200, 404, 503}:
            self.accuse(f"{path} answered {answer.status_code}: {answer.text}")
        return answer

    def _judge(self, shown: Shown, asked: float) -> None:
        name, host, answered = shown["name"], shown["host"], time.monotonic()
        if shown["healthy"]:
            why = self._truth.forbids(name, host, asked, answered, marked=is_marked(shown))
            if why is not None:
                self.accuse(
                    f"{name} is given out as {shown['phase']}/{shown['reason']}: {why}; "
                    f"{self._truth.story(name, asked)}"
                )
            self._healthy[name] = host
            return
        was_healthy = self._healthy.pop(name, None) == host
        life = self._lives.get(name)
        if was_healthy and shown["reason"] == EXPIRED and life is not None:
            since = life.unbroken_since
            if since is not None and asked - since > TIMEOUT_SECONDS + ANSWER_SECONDS:
                self.accuse(f"{name} has expired, but has been heard for {asked - since:.1f} s")

    def _count_changes(self, shown: Shown) -> None:
        """What is new was Starting before, even if nobody saw it."""
        now = (shown["incarnation"], shown["phase"], shown["reason"])
        before = self._seen.get(shown["name"])
        self._seen[shown["name"]] = now
        if now != before:
            new = before is None or before[0] != now[0]
            self.changes += 2 if new and now[1] != "Starting" else 1

    # -- what is in order ------------------------------------------------------------------------

    async def follow(self) -> None:
        """Tell outages from calm, until cancelled."""
        healed: float | None = None
        outages = self._truth.outages
        while True:
            now = time.monotonic()
            if self._stage.operator.process.poll() is not None and not self._stage.was_out(now):
                self.accuse("the operator has ended by itself")
            if self.faults_under_way:
                healed = None
            elif outages.is_open:
                healed = healed or now
                if await self._is_recovered() and not self.faults_under_way:
                    self.recoveries.append(time.monotonic() - healed)
                    outages.end(time.monotonic())
                    healed = None
                elif now - healed > PATIENCE * RECOVERY_SECONDS:
                    self.accuse(f"no current view within {now - healed:.0f} s after the last fault")
            since = outages.calm_since(now)
            if since is not None and now - since > SETTLED_SECONDS:
                self._truth.settle(now - SETTLED_SECONDS, now)
            await asyncio.sleep(LOOK_SECONDS)

    async def _is_recovered(self) -> bool:
        answer = await self._ask("/readyz")
        if answer is None or answer.status_code != HTTPStatus.OK:
            return False
        body = answer.json()
        return body["watching"] is True and body["reason"] == CURRENT

    async def read_statuses(self) -> None:
        """See which words the API server knows by now, until cancelled."""
        while True:
            asked = time.monotonic()
            for item in await self.stored():
                status = item.get("status", {})
                current = status.get("observedGeneration") == item["metadata"]["generation"]
                if not current or item["spec"]["host"] not in status.get("address", ""):
                    continue
                reasons = {c["type"]: c["reason"] for c in status["conditions"]}
                self._truth.store(
                    item["metadata"]["name"], asked,
                    drained=reasons.get("Draining") == "DrainRequested",
                    left="Deregistered" in reasons,
                )  # fmt: skip
            await asyncio.sleep(STATUS_SECONDS)

    async def stored(self) -> list[dict[str, Any]]:
        """The ModelInstances in the API server; none when it does not answer."""
        try:
            answer = await self._api.get(f"{API}/modelinstances")
        except httpx.TransportError:
            return []
        items: list[dict[str, Any]] = answer.json()["items"] if answer.is_success else []
        return items

    async def shown(self) -> dict[str, Shown]:
        """What the registry shows, by name."""
        answer = await self._operator.get("/api/v1/instances")
        return {item["name"]: item for item in answer.json()["items"]}
