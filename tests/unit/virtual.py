"""Real asyncio in a time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which minutes take no time, and a slow machine changes nothing.

    When nothing is left to be done now, its time is at once that of whatever comes next. It is for
    code that waits for timers alone: nothing from outside of the loop is waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._look = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        """Seconds since it began."""
        return self._now

    def _skip(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing will ever happen here again"
        self._now += max(timeout, 0)
        return self._look(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it in such a loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
