"""Does what the schedule says, and tells the truth what was said and what was acknowledged.

The steps of one worker follow one another; a step that gets no answer is not tried again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from chaos.clients import Clients
from chaos.schedule import Kind, Step, Verb, Worker
from chaos.truth import TIMEOUT_SECONDS, Truth, Word
from modelinstance.registry.instance import InstanceSpec
from modelinstance.registry.intake.registrations import Registration
from support.cluster import API, HEARTBEAT, Cluster

PORT = 8000
STEP_TIMEOUT_SECONDS = 2.0
BEAT_TIMEOUT_SECONDS = 1.0
GAP_SECONDS = 0.6 * TIMEOUT_SECONDS
"""Two heartbeats that are further apart leave it open whether the instance was silent."""
FINALIZER = "chaos.example/held"
ROTATIONS = {Verb.DISABLE: "Disabled", Verb.SPARE: "Draining", Verb.ACTIVATE: "Active"}
MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass(slots=True)
class Life:
    """A worker as it goes on.

    ``unbroken_since``: since when it has said, or tried to say, that it lives, without a gap.
    """

    worker: Worker
    name: str
    host: str
    speaks: bool = True
    left: bool = False
    incarnation: str | None = None
    unbroken_since: float | None = None
    attempted: float | None = None
    steps: asyncio.Lock = field(default_factory=asyncio.Lock)

    def attempt(self, at: float) -> None:
        """It says that it lives."""
        if self.attempted is None or at - self.attempted > GAP_SECONDS:
            self.unbroken_since = None
        self.unbroken_since = self.unbroken_since or at
        self.attempted = at


def live(worker: Worker) -> Life:
    """A worker that nothing is known of yet."""
    host = f"{worker.name}.example"
    name = worker.name
    if worker.kind is Kind.REGISTERING:
        spec = InstanceSpec(model_name=worker.model, host=host, port=PORT)
        name = Registration("default", spec).key.name
    return Life(worker, name, host)


class Actor(Clients):
    """Speaks to the API server and to the operator as users and workers do."""

    def __init__(self, cluster: Cluster, operator_url: str, truth: Truth) -> None:
        super().__init__(
            cluster,
            operator_url,
            api_seconds=STEP_TIMEOUT_SECONDS,
            operator_seconds=STEP_TIMEOUT_SECONDS,
        )
        self.truth = truth
        self.sent = 0
        self.answered = 0
        self._values = itertools.count(1)

    # -- steps -----------------------------------------------------------------------------------

    async def begin(self, lives: Sequence[Life]) -> None:
        """List all workers."""
        for life in lives:
            if life.worker.kind is Kind.REGISTERING:
                while await self.register(life) is None:  # it may be late, but comes up well
                    pass
            else:
                await self._create(life, life.host)

    async def act(self, life: Life, step: Step) -> None:
        """Carry out a step, as far as it is granted."""
        async with life.steps:
            await self._act(life, step)

    async def _act(self, life: Life, step: Step) -> None:
        verb, host = step.verb, f"{life.worker.name}-{step.number}.example"
        match verb:
            case Verb.CREATE | Verb.CREATE_HEARD | Verb.CREATE_HELD:
                await self._create(
                    life, host, held=verb is Verb.CREATE_HELD, heard=verb is Verb.CREATE_HEARD
                )
            case Verb.DELETE:
                await self._delete(life)
            case Verb.RECREATE:
                await self._delete(life)
                await self._create(life, host)
            case Verb.RELEASE:
                await self._patch(life, None, {"metadata": {"finalizers": None}})
            case Verb.TOUCH:
                await self._patch(life, None, {"metadata": {"labels": {"chaos": f"{step.number}"}}})
            case Verb.EDIT:
                await self._patch(life, None, {"spec": {"weight": 1 + step.number % 1000}})
            case Verb.MOVE:
                await self._patch(life, Word.MOVE, {"spec": {"host": host}}, host)
            case Verb.DISABLE | Verb.SPARE | Verb.ACTIVATE:
                word = Word.IN if verb is Verb.ACTIVATE else Word.OUT
                await self._patch(life, word, {"spec": {"rotation": ROTATIONS[verb]}})
            case Verb.SILENCE:
                life.speaks = False
            case Verb.SPEAK:
                life.speaks = True
            case Verb.DRAIN | Verb.UNDRAIN | Verb.DEREGISTER:
                await self._tell(life, verb)
            case Verb.REGISTER:
                life.speaks, life.left = True, False
                await self.register(life)

    async def _create(
        self, life: Life, host: str, *, held: bool = False, heard: bool = False
    ) -> None:
        metadata: dict[str, Any] = {"name": life.name, "namespace": "default"}
        if held:
            metadata["finalizers"] = [FINALIZER]
        if heard:
            metadata["annotations"] = {HEARTBEAT: self._value()}
        body = {
            "apiVersion": "modelinstance.dev/v1alpha1", "kind": "ModelInstance",
            "metadata": metadata,
            "spec": {"modelName": life.worker.model, "host": host, "port": PORT},
        }  # fmt: skip
        path = f"{API}/namespaces/default/modelinstances"
        words = (Word.CREATE, Word.BEAT) if heard else (Word.CREATE,)
        if await self._say(life, words, self._api, "POST", path, host=host, json=body):
            self._moved(life, host)

    async def _delete(self, life: Life) -> None:
        if life.worker.kind is Kind.REGISTERING:
            life.speaks = False  # a worker that lives would register again at once
        await self._say(life, (Word.GONE,), self._api, "DELETE", self._path(life))

    async def _patch(
        self, life: Life, word: Word | None, body: dict[str, Any], host: str | None = None
    ) -> None:
        words = () if word is None else (word,)
        done = await self._say(
            life, words, self._api, "PATCH", self._path(life), host=host,
            content=json.dumps(body), headers=MERGE,
        )  # fmt: skip
        if done and host is not None:
            self._moved(life, host)

    async def _tell(self, life: Life, verb: Verb) -> None:
        method = "POST" if verb is Verb.DRAIN else "DELETE"
        path = f"/api/v1/instances/default/{life.name}"
        word = {Verb.DRAIN: Word.DRAIN, Verb.UNDRAIN: Word.UNDRAIN}.get(verb, Word.LEAVE)
        if word is Word.LEAVE:
            life.left = True
            if life.worker.kind is Kind.REGISTERING:
                life.speaks = False
        else:
            path += "/drain"
        await self._say(life, (word,), self._operator, method, path)

    # -- what workers do by themselves -----------------------------------------------------------

    async def beat(self, life: Life) -> None:
        """Say that it lives, in the way of its kind."""
        if life.worker.kind is Kind.ANNOTATING:
            body = {"metadata": {"annotations": {HEARTBEAT: self._value()}}}
            await self._say(
                life, (Word.BEAT,), self._api, "PATCH", self._path(life),
                content=json.dumps(body), headers=MERGE, timeout=BEAT_TIMEOUT_SECONDS,
            )  # fmt: skip
        elif life.incarnation is None:
            await self._look_up(life)
        else:
            answer = await self._say(
                life, (Word.BEAT,), self._operator, "POST", "/api/v1/heartbeats",
                json={"incarnation": life.incarnation}, timeout=BEAT_TIMEOUT_SECONDS,
            )  # fmt: skip
            if answer:
                life.incarnation = answer.json()["incarnation"]

    async def _look_up(self, life: Life) -> None:
        if life.worker.kind is Kind.REGISTERING:
            if life.speaks and not life.left:
                await self.register(life)
            return
        path = f"/api/v1/instances/default/{life.name}"
        if answer := await self._say(life, (), self._operator, "GET", path):
            life.incarnation = answer.json()["incarnation"]

    async def register(self, life: Life) -> httpx.Response | None:
        """Register the worker over HTTP."""
        body = {"model": life.worker.model, "host": life.host, "port": PORT}
        answer = await self._say(
            life, (Word.ENTER,), self._operator, "POST", "/api/v1/instances", json=body
        )
        if answer:
            life.incarnation = answer.json()["incarnation"]
        return answer

    # -- saying it -------------------------------------------------------------------------------

    def _path(self, life: Life) -> str:
        return f"{API}/namespaces/default/modelinstances/{life.name}"

    def _value(self) -> str:
        return f"chaos-{next(self._values)}"

    def _moved(self, life: Life, host: str) -> None:
        life.host, life.incarnation = host, None
        life.left = False
        self.truth.begin_anew(life.name)

    async def _say(
        self,
        life: Life,
        words: Sequence[Word],
        to: httpx.AsyncClient,
        method: str,
        path: str,
        *,
        host: str | None = None,
        **options: Any,
    ) -> httpx.Response | None:
        """A request and what it says; returns the answer if it was carried out."""
        self.sent += 1
        now = time.monotonic()
        facts = [self.truth.say(life.name, word, now, host) for word in words]
        if Word.BEAT in words or Word.ENTER in words:
            life.attempt(now)
        try:
            response = await to.request(method, path, **options)
        except httpx.ConnectError:
            response = None
        except httpx.TransportError:
            return None
        self.answered += 1
        if response is not None and response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        if response is None or response.is_error:
            for fact in facts:
                self.truth.refuse(life.name, fact)
            if response is not None and response.status_code in {404, 410}:
                life.incarnation = life.unbroken_since = None
            return None
        for fact in facts:
            self.truth.acknowledge(life.name, fact, time.monotonic())
        return response
