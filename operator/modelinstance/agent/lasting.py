"""Work that goes on, also after an error that nobody has thought of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from modelinstance.agent.state import jittered

logger = logging.getLogger("modelinstance.agent")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""How long it rests after an error, in seconds: twice as long each time, up to a bound."""


async def lasting(name: str, work: Callable[[], Awaitable[None]], *, random: Random) -> None:
    """Work until that ends by itself or is cancelled; after an error it begins anew.

    What lasted longer than the longest pause was well, and the next pause is a short one.
    """
    now = asyncio.get_running_loop().time
    pause = FIRST_PAUSE
    while True:
        began = now()
        try:
            await work()
        except Exception:
            if now() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            logger.exception(
                "%s: an error of the agent itself; it begins anew in %g s", name, pause
            )
            await asyncio.sleep(jittered(pause, random))
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return
