"""Requests that wait for an instance to become ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from modelinstance.registry.record import Record
from modelinstance.registry.records import Records

T = TypeVar("T")

MAX_WAITING = 10_000
"""How many requests may wait at once; more are answered as if they did not want to."""


class WaitingRoom:
    """Wakes those who wait for a name whenever an instance of that name may be picked anew."""

    def __init__(self, records: Records) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._number = 0
        records.on_offer(self._on_offer)

    def _on_offer(self, record: Record) -> None:
        for name in record.spec.names & self._waiting.keys():
            for event in self._waiting[name]:
                event.set()

    async def until(self, name: str, attempt: Callable[[], T | None], seconds: float) -> T | None:
        """What an attempt gives, made now and after each change that may help, for some time."""
        found = attempt()
        if found is not None or seconds <= 0 or self._number >= MAX_WAITING:
            return found
        event = asyncio.Event()
        self._number += 1
        self._waiting.setdefault(name, set()).add(event)
        try:
            async with asyncio.timeout(seconds):
                while found is None:
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
