"""What a registry knows, kept up to date: a consumer of its stream of changes."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Self

import aiohttp

from modelinstance.client.connection import Connection
from modelinstance.client.errors import RegistryUnavailableError

WATCH = "/api/v1/watch"
KEEPALIVE_SECONDS = 15.0
"""How often a registry says something on a stream at the least."""
SILENCE_SECONDS = 3 * KEEPALIVE_SECONDS
"""A stream that is silent for longer is dead, whatever its connection looks like."""
MAX_EVENT_BYTES = 2**20
"""A line or an event that is longer is none of a registry."""
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.25, 5.0
"""How long to wait before watching again: doubled with each failure, and drawn from its half up."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as the registry told of it; see the endpoint's documentation."""

    namespace: str
    name: str
    model: str
    aliases: tuple[str, ...]
    host: str
    port: int
    address: str
    weight: float
    healthy: bool
    phase: str
    reason: str
    incarnation: str

    @property
    def key(self) -> str:
        """``NAMESPACE/NAME``."""
        return f"{self.namespace}/{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """The model and the aliases: every name under which routers find it."""
        return tuple(dict.fromkeys((self.model, *self.aliases)))

    @property
    def selectable(self) -> bool:
        """Whether the registry would select it."""
        return self.healthy and self.weight > 0

    @classmethod
    def parse(cls, data: Any) -> Self:
        """The instance of an event's data. Raises `ValueError` for what is none."""
        try:
            return cls(
                namespace=_text(data["namespace"]),
                name=_text(data["name"]),
                model=_text(data["model"]),
                aliases=tuple(_text(alias) for alias in data["aliases"]),
                host=_text(data["host"]),
                port=int(data["port"]),
                address=_text(data["address"]),
                weight=_finite(data["weight"]),
                healthy=data["healthy"] is True,
                phase=_text(data["phase"]),
                reason=_text(data["reason"]),
                incarnation=_text(data["incarnation"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"an event holds no instance: {error!r}") from error


def _key(data: Any) -> str:
    """``NAMESPACE/NAME`` of an instance that is gone. Raises `ValueError` for what is none."""
    try:
        return f"{_text(data['namespace'])}/{_text(data['name'])}"
    except (KeyError, TypeError) as error:
        raise ValueError(f"an event names no instance: {error!r}") from error


def _durable(data: Any) -> bool:
    """Whether a registry that has told of all forgets nothing; an older one does not say."""
    return isinstance(data, dict) and data.get("durable") is True


def _text(value: Any) -> str:
    """The value, if it can be written out as well: JSON may hold halves of characters."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    value.encode()
    return value


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"an event holds the number {number}")
    return number


def _json(data: bytes) -> Any:
    """The JSON value of an event's data. Raises `ValueError` for what is none."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("an event is nested too deeply") from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All instances at one moment, by ``NAMESPACE/NAME``.

    ``fresh`` says that it was read anew, after a start or a loss. Otherwise the registry itself has
    told of each end. ``durable`` says that a cluster keeps what is registered: what a fresh one
    lacks has gone. Otherwise the registry may have forgotten it.
    """

    instances: Mapping[str, Instance]
    fresh: bool
    durable: bool = False


class EventParser:
    """Makes events of the bytes of a stream (server-sent events, as in the HTML standard)."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._rest = b""
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """The kind and the data of each event that ends here; `ValueError` for one too long."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        if self._size + len(self._rest) > self._limit:
            raise ValueError(f"an event is longer than {self._limit} bytes")

    def _line(self, line: bytes) -> Iterator[tuple[str, bytes]]:
        if not line:
            if self._data:
                yield self._kind or "message", b"\n".join(self._data)
            self._kind, self._data, self._size = "", [], 0
            return
        self._size += len(line)
        if self._size > self._limit:
            raise ValueError(f"an event is longer than {self._limit} bytes")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value.decode()
        elif name == b"data":
            self._data.append(value)


class Watcher:
    """Follows one registry, and returns to it for as long as it takes.

    ``model``, ``namespace`` and ``selector`` narrow what is followed, as in the endpoint's queries.
    ``on_loss`` is called once each time the registry is lost; ``silence`` is in seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        model: str | None = None,
        namespace: str | None = None,
        selector: str | None = None,
        on_loss: Callable[[], None] = lambda: None,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        wanted = {"model": model, "namespace": namespace, "selector": selector}
        self._query = {name: value for name, value in wanted.items() if value is not None}
        self._connection = connection
        self._on_loss = on_loss
        self._silence = silence
        self._away = False
        self._failures = 0

    async def follow(self) -> AsyncGenerator[Snapshot]:
        """The snapshots: one when the registry has told of all, and one after each later change.

        While the registry cannot be reached there are none. Raises `RegistryUnavailableError` only
        where it says that the query is wrong. Close it (`contextlib.aclosing`) when done.
        """
        while True:
            retry_after = 0.0
            try:
                stream = self._connection.stream(WATCH, query=self._query, silence=self._silence)
                async with stream as response, aclosing(_snapshots(response)) as snapshots:
                    async for snapshot in snapshots:
                        self._found()
                        yield snapshot
            except RegistryUnavailableError as error:
                if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
                self._lost(error)
                retry_after = error.retry_after
            delay = min(FIRST_DELAY_SECONDS * 2**self._failures, LAST_DELAY_SECONDS)
            delay *= random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
            await asyncio.sleep(max(delay, retry_after))

    def _found(self) -> None:
        self._failures = 0
        if self._away:
            self._away = False
            log.info("the registry at %s is back", self._connection)

    def _lost(self, error: RegistryUnavailableError) -> None:
        self._failures = min(self._failures + 1, 10)
        if not self._away:
            self._away = True
            log.warning("the registry is lost, what it said last stays in use: %s", error)
            self._on_loss()


async def _snapshots(response: aiohttp.ClientResponse) -> AsyncGenerator[Snapshot]:
    """The snapshots of one stream; of changes that come together only the last is told.

    Raises `ValueError` for what no registry sends, also for a stream that ends before it told all.
    """
    parser, known, synced = EventParser(), dict[str, Instance](), False
    durable = False
    async for chunk in response.content.iter_any():
        changed = fresh = False
        for kind, data in parser.feed(chunk):
            if kind == "SYNCED":
                synced = fresh = True
                durable = _durable(_json(data))
            elif kind in {"ADDED", "MODIFIED"}:
                instance = Instance.parse(_json(data))
                known[instance.key] = instance
                changed = True
            elif kind == "DELETED":
                known.pop(_key(_json(data)), None)
                changed = True
        if fresh or (synced and changed):
            yield Snapshot(MappingProxyType(dict(known)), fresh, durable)
    if not synced:
        raise ValueError("the stream ended before the registry had told of all instances")
