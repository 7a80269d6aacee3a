"""What a worker tells a registry: that it is there, that it lives, that it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from modelinstance.client.connection import Answer, Connection
from modelinstance.client.errors import RegistryUnavailableError

INSTANCES, HEARTBEATS = "/api/v1/instances", "/api/v1/heartbeats"
MAX_FAILURE = 1024
"""How many characters a failure may have; more is cut off."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod that a worker runs in: its resource is removed with it."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker has to do: requests, and the used share of the KV cache from 0 to 1."""

    running: float = 0.0
    waiting: float = 0.0
    kv_cache: float | None = None

    def body(self) -> dict[str, Any]:
        """The JSON that says so."""
        body = {"running": self.running, "waiting": self.waiting}
        return body if self.kv_cache is None else body | {"kvCache": self.kv_cache}


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker as it wants to be listed.

    ``namespace`` is that of its resource, or ``None`` for the registry's default; ``weight`` is 1.0
    for the usual share of the requests; ``heartbeat_timeout`` is in seconds, or ``None`` for the
    registry's own.
    """

    model: str
    host: str
    port: int
    namespace: str | None = None
    scheme: str = "http"
    base_path: str = ""
    aliases: tuple[str, ...] = ()
    weight: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    heartbeat_timeout: int | None = None
    pod: Pod | None = None

    def body(self) -> dict[str, Any]:
        """The JSON that says so."""
        body: dict[str, Any] = {
            "model": self.model,
            "aliases": list(self.aliases),
            "host": self.host,
            "port": self.port,
            "scheme": self.scheme,
            "basePath": self.base_path,
            "weight": self.weight,
            "labels": dict(self.labels),
        }
        if self.namespace is not None:
            body["namespace"] = self.namespace
        if self.heartbeat_timeout is not None:
            body["heartbeat"] = {"timeoutSeconds": self.heartbeat_timeout}
        if self.pod is not None:
            body["pod"] = {"name": self.pod.name, "uid": self.pod.uid}
        return body


@dataclass(frozen=True, slots=True)
class Registered:
    """How a registry knows a worker.

    ``stored`` is false as long as a restart of the registry would forget it: heartbeats then hold
    the registration as well. ``heartbeat_timeout`` is the silence, in seconds, that makes it
    Unhealthy.
    """

    namespace: str
    name: str
    incarnation: str
    stored: bool
    detail: str
    heartbeat_timeout: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a heartbeat: ``accepted``, or ``registered`` by what it held.

    ``incarnation`` is the one to name from now on.
    """

    incarnation: str
    result: str


class WorkerClient:
    """Speaks for one worker to one registry.

    Each method raises `RegistryUnavailableError`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def register(self, registration: Registration, load: Load | None = None) -> Registered:
        """Be listed, and taken for heard from just now. The same one again changes nothing."""
        body = registration.body()
        if load is not None:
            body["load"] = load.body()
        answer = await self.connection.request("POST", INSTANCES, body=body)
        fields = self._fields(f"POST {INSTANCES}", answer)
        return Registered(
            namespace=fields.text("namespace"),
            name=fields.text("name"),
            incarnation=fields.text("incarnation"),
            stored=fields.flag("stored"),
            detail=fields.text("detail"),
            heartbeat_timeout=fields.number("heartbeatTimeoutSeconds"),
        )

    async def beat(
        self,
        incarnation: str,
        *,
        load: Load | None = None,
        failure: str = "",
        registration: Registration | None = None,
    ) -> Heard:
        """Say that it lives; or, with a ``failure``, that it is there and why it cannot answer.

        The error's status is 404 for an incarnation that is not known and 410 for one that was
        deregistered: it has to register.
        """
        body: dict[str, Any] = {"incarnation": incarnation}
        if load is not None:
            body["load"] = load.body()
        if failure:
            body["failure"] = failure[:MAX_FAILURE]
        if registration is not None:
            body["registration"] = registration.body()
        answer = await self.connection.request("POST", HEARTBEATS, body=body)
        fields = self._fields(f"POST {HEARTBEATS}", answer)
        return Heard(fields.text("incarnation"), fields.text("result"))

    async def drain(self, known: Registered) -> None:
        """Ask for no new requests; running ones may end.

        The error's status is 404 or 409 where that incarnation has ended.
        """
        await self._about("POST", known, "/drain")

    async def is_draining(self, known: Registered) -> bool:
        """Whether it gets no new requests by somebody's wish: to register would take a drain back.

        The error's status is 404 where it is not known.
        """
        path = f"{INSTANCES}/{known.namespace}/{known.name}"
        answer = await self.connection.request("GET", path)
        return self._fields(f"GET {path}", answer).text("phase") == "Draining"

    async def deregister(self, known: Registered) -> None:
        """Say goodbye: it is not picked any more, and no late heartbeat revives it.

        The error's status is 404 or 409 where that incarnation has ended.
        """
        await self._about("DELETE", known)

    async def _about(self, method: str, known: Registered, what: str = "") -> None:
        path = f"{INSTANCES}/{known.namespace}/{known.name}{what}"
        await self.connection.request(method, path, query={"incarnation": known.incarnation})

    def _fields(self, what: str, answer: Answer) -> _Fields:
        return _Fields(f"{what} of {self.connection}", answer)


def has_ended(error: RegistryUnavailableError) -> bool:
    """Whether an error says that the incarnation is not there any more."""
    return error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.CONFLICT}


class _Fields:
    """The fields of an answer; raises `RegistryUnavailableError` for one that is not as it is."""

    def __init__(self, what: str, answer: Answer) -> None:
        self._what = what
        self._body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}

    def text(self, name: str) -> str:
        value = self._body.get(name)
        if not isinstance(value, str):
            self._refuse(name)
        return value

    def flag(self, name: str) -> bool:
        value = self._body.get(name)
        if not isinstance(value, bool):
            self._refuse(name)
        return value

    def number(self, name: str) -> float:
        value = self._body.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name)
        try:
            return float(value)
        except OverflowError:
            self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise RegistryUnavailableError(
            self._what, f"the answer is not one of a registry: {name} is missing or odd"
        )
