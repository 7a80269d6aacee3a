"""The feed: one registry, some routers, each kept by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from modelinstance.client.following import Follower
from modelinstance.feed.keeper import Keeper
from modelinstance.feed.routers import Router
from modelinstance.feed.state import State

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manner:
    """How routers are kept; see `Keeper`. Times are in seconds."""

    interval: float
    hold: float
    exclusive: bool


async def feed(
    follower: Follower, routers: Sequence[Router], state: State, manner: Manner, *, mixed: bool
) -> None:
    """Keep routers until cancelled. ``mixed`` says that instances of any model are meant.

    Raises an `ExceptionGroup` with a `RegistryUnavailableError` for a query that is wrong.
    """
    if mixed:
        follower.on_change(_MixWarning(follower))
    keepers = [
        Keeper(
            router,
            follower,
            state,
            interval=manner.interval,
            hold=manner.hold,
            exclusive=manner.exclusive,
        )
        for router in routers
    ]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follower.run())
        for keeper in keepers:
            tasks.create_task(keeper.run())


class _MixWarning:
    """Warns once when routers get instances of several models."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._warned = False

    def __call__(self) -> None:
        choice = self._follower.choice()
        if self._warned or choice is None:
            return
        models = sorted({instance.model for instance in choice.selected.values()})
        if len(models) > 1:
            self._warned = True
            log.warning(
                "the routers get instances of %d models (%s, ...): most send a request to any of "
                "their workers, whatever its model; name one with --model", len(models), models[0],
            )  # fmt: skip
