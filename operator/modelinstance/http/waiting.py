"""Requests that wait for an instance to become ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from modelinstance.registry.health.record import Record
from modelinstance.registry.records.records import Records

T = TypeVar("T")

MAX_WAITING = 10_000
"""How many requests may wait at once; more are answered as if they did not want to."""


class WaitingRoom:
    """Wakes those who wait for a name whenever an instance of that name may be picked anew."""

    def __init__(self, records: Records) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._number = 0
        self._closed = False
        records.on_offer(self._on_offer)

    def _on_offer(self, record: Record) -> None:
        for name in record.spec.names & self._waiting.keys():
            for event in self._waiting[name]:
                event.set()

    def close(self) -> None:
        """Let nobody wait any longer, as the server stops."""
        self._closed = True
        for waiting in self._waiting.values():
            for event in waiting:
                event.set()

    async def until(self, name: str, attempt: Callable[[], T | None], seconds: float) -> T | None:
        """What an attempt gives, made now and after each change that may help, for some time."""
        found = attempt()
        full = self._closed or self._number >= MAX_WAITING
        if found is not None or seconds <= 0 or full:
            return found
        event = asyncio.Event()
        self._number += 1
        self._waiting.setdefault(name, set()).add(event)
        try:
            async with asyncio.timeout(seconds):
                while found is None and not self._closed:
                    event.clear()
                    await event.wait()
                    found = attempt()
        except TimeoutError:
            return None
        finally:
            self._number -= 1
            self._waiting[name].discard(event)
            if not self._waiting[name]:
                del self._waiting[name]
        return found
