"""The operator's command with the way of writing statuses that version 0.2 had.

It writes twenty, waits for all of them, and begins the next twenty, for a second, and rests for a
second.
"""

from __future__ import annotations

import asyncio
from typing import Any

from modelinstance import cli
from modelinstance.cluster import watch
from modelinstance.cluster.status import BUDGET_SECONDS, WINDOW, StatusWriter

INTERVAL_SECONDS = 1.0


async def write_in_batches(writer: Any, under_way: Any) -> bool:
    """Stands for the method of `StatusWriter` that keeps its window full."""
    del under_way
    loop = asyncio.get_running_loop()
    end = loop.time() + BUDGET_SECONDS
    outcomes: list[Any] = []
    while True:
        room = WINDOW if loop.time() < end else 0
        plan = await writer._ask(writer._turn, outcomes, room)  # noqa: SLF001 - it stands for it
        if not plan.writes:
            return bool(plan.paused)
        outcomes = await asyncio.gather(*map(writer._write, plan.writes))  # noqa: SLF001


if __name__ == "__main__":
    vars(watch)["TIMER_INTERVAL_SECONDS"] = INTERVAL_SECONDS
    setattr(StatusWriter, "_write_statuses", write_in_batches)  # noqa: B010 - it is private
    cli.main()
