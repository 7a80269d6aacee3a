"""Keeps one router's workers equal to what the registry selects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from modelinstance.client.following import Follower
from modelinstance.client.steady import Choice
from modelinstance.feed.plan import Plan, Wishes, outdated, plan, wishes
from modelinstance.feed.routers import Router, RouterError, Worker
from modelinstance.feed.state import State
from modelinstance.feed.urls import normalized

PATIENCE_SECONDS = 10.0
"""After how long a worker that was asked for, and is not listed, is asked for again."""
LOOK_AGAIN_SECONDS, SOON_SECONDS = 0.5, 3.0
"""How often, and for how long, to see whether what was asked for has come."""
ASKED_SECONDS = 3600.0
"""How long a router may take to add a worker by itself: until then it is the feed's if it comes."""

log = logging.getLogger(__name__)


class Keeper:
    """Compares and repairs after each change in the registry, and every ``interval`` seconds.

    It reads the router's own list each time: a router that was restarted, or changed by hand, is
    repaired like one that was never told. ``hold`` is how long workers from the state file are
    spared that a registry in memory does not list, in seconds after it was first known;
    ``exclusive`` takes all workers of the router for the feed's.
    """

    def __init__(
        self,
        router: Router,
        follower: Follower,
        state: State,
        *,
        interval: float,
        hold: float,
        exclusive: bool,
    ) -> None:
        self._router = router
        self._follower = follower
        self._state = state
        self._interval = interval
        self._hold = hold
        self._exclusive = exclusive
        self._changed = asyncio.Event()
        self._asked: dict[str, float] = {}
        """When each worker was asked for last."""
        self._unseen: dict[str, str] = {}
        """Why each was asked for that has not been listed since."""
        self._adding: dict[str, asyncio.Task[None]] = {}
        self._said: dict[str, str] = {}
        """What was said last of a worker, or of an instance: it is said once."""
        self._trouble = ""
        self._replaced: float | None = None
        """When workers were taken out last to be added anew."""
        follower.on_change(self._changed.set)

    async def run(self) -> None:
        """Keep on until cancelled; the router is then left as it is."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._changed.clear()
                    choice = self._follower.choice()
                    if choice is not None:
                        await self._repair(choice, tasks)
                    await self._rest(choice)
        finally:
            await self._router.close()

    async def _rest(self, choice: Choice | None) -> None:
        seconds = self._interval * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        if choice is not None and choice.kept_until is not None:
            seconds = min(seconds, max(choice.kept_until - time.monotonic(), 0.0))
        recent = [self._asked[url] for url in self._unseen]
        recent += [] if self._replaced is None else [self._replaced]
        if any(time.monotonic() - at < SOON_SECONDS for at in recent):
            seconds = min(seconds, LOOK_AGAIN_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _since_asked(self, url: str) -> float:
        return time.monotonic() - self._asked[url]

    async def _repair(self, choice: Choice, tasks: asyncio.TaskGroup) -> None:
        """Compare once, and do what follows."""
        wished = wishes(choice)
        try:
            workers = await self._router.workers()
        except RouterError as error:
            self._report(str(error))
            self._unseen.clear()  # it may be starting anew, without what it was asked for
            return
        self._report("")
        self._give_up(wished)
        models = {worker.url: worker.model for worker in workers if worker.model is not None}
        stale = outdated(wished, models, self._state.models(self._router.name))
        todo = self._plan(wished, workers, stale, durable=choice.durable)
        self._own(wished, workers, todo, stale)
        self._say_once(wished, todo)
        await asyncio.gather(
            *(self._remove(each, todo.removes[each.url], again=each.url in stale)
              for each in workers if each.url in todo.removes)
        )  # fmt: skip
        for url, why in todo.adds.items():
            self._add(url, why, tasks)

    def _plan(
        self,
        wished: Wishes,
        workers: Sequence[Worker],
        stale: Mapping[str, str],
        *,
        durable: bool,
    ) -> Plan:
        now, owned = time.monotonic(), self._state.owned(self._router.name)
        self._see(wished, {normalized(worker.url) for worker in workers})
        self._asked = {
            url: at for url, at in self._asked.items()
            if now - at < ASKED_SECONDS or url in self._unseen
        }  # fmt: skip
        recent = {url for url in self._unseen if self._since_asked(url) < PATIENCE_SECONDS}
        young = self._follower.since is None or now - self._follower.since < self._hold
        may_forget = young and not durable
        return plan(
            wished,
            [worker.url for worker in workers],
            owned=owned | self._asked.keys(),
            pending=recent | self._adding.keys(),
            spared=owned - self._asked.keys() if may_forget else frozenset(),
            exclusive=self._exclusive,
            outdated=stale,
        )

    def _see(self, wished: Wishes, listed: AbstractSet[str | None]) -> None:
        """Wait no more for what has come, or is not wanted any more."""
        for url, why in [*self._unseen.items()]:
            if url in listed:
                log.info("%s: added %s: %s", self._router.name, url, why)
            if url in listed or url not in wished.wanted:
                del self._unseen[url]

    def _own(
        self, wished: Wishes, workers: Sequence[Worker], todo: Plan, stale: Mapping[str, str]
    ) -> None:
        """Remember, before anything is asked for, what is the feed's from now on."""
        present = {normalized(worker.url): worker.model for worker in workers}
        listed = wished.wanted.keys() | wished.refused.keys()
        before = self._state.models(self._router.name)
        mine = ((before.keys() | listed) & present.keys()) | todo.adds.keys() | self._asked.keys()
        seen = (present.keys() - {normalized(url) for url in stale}) | todo.adds.keys()
        now = {
            url: model if (model := present.get(url)) in names else names[0]
            for url, names in wished.names.items() if url in seen
        }  # fmt: skip
        try:
            self._state.own(
                self._router.name,
                {url: now.get(url, before.get(url, "")) for url in mine if url is not None},
            )
        except OSError as error:
            why = error.strerror or type(error).__name__
            self._say("the state file", f"it cannot be written: {why}", logging.ERROR)
        else:
            self._said.pop("the state file", None)

    def _say_once(self, wished: Wishes, todo: Plan) -> None:
        for url, why in todo.left.items():
            self._say(url, f"it is left alone: {why}", logging.INFO)
        for key, why in wished.unfit.items():
            self._say(key, f"it cannot be fed: {why}", logging.WARNING)
        current = (
            todo.left.keys() | todo.removes.keys() | wished.unfit.keys() | wished.wanted.keys()
        )
        self._said = {
            what: said for what, said in self._said.items()
            if what in current or what == "the state file"
        }  # fmt: skip

    def _say(self, what: str, text: str, level: int) -> None:
        if self._said.get(what) != text:
            self._said[what] = text
            log.log(level, "%s: %s: %s", self._router.name, what, text)

    def _report(self, trouble: str) -> None:
        """Say that the router is away, or back, once."""
        if trouble and not self._trouble:
            log.warning("%s cannot be kept now: %s", self._router.name, trouble)
        elif self._trouble and not trouble:
            log.info("%s answers again", self._router.name)
        self._trouble = trouble

    # -- what is done ----------------------------------------------------------------------------

    async def _remove(self, worker: Worker, why: str, *, again: bool) -> None:
        try:
            await self._router.remove(worker)
        except RouterError as error:
            self._say(worker.url, f"it could not be removed: {error}", logging.WARNING)
        else:
            log.info("%s: removed %s: %s", self._router.name, worker.url, why)
            if again:
                self._replaced = time.monotonic()

    def _add(self, url: str, why: str, tasks: asyncio.TaskGroup) -> None:
        if url in self._unseen:
            text = f"it was not listed within {PATIENCE_SECONDS:g} s, and is asked for again"
            self._say(url, text, logging.WARNING)
        log.debug("%s: asking for %s: %s", self._router.name, url, why)
        self._asked[url] = time.monotonic()
        self._unseen[url] = why
        self._adding[url] = task = tasks.create_task(self._ask(url))
        task.add_done_callback(lambda _: self._adding.pop(url))

    async def _ask(self, url: str) -> None:
        """In a task of its own: a router may answer when the engine has, and others do not wait."""
        try:
            await self._router.add(url)
        except RouterError as error:
            self._unseen.pop(url, None)
            self._say(url, f"it could not be added: {error}", logging.WARNING)

    def _give_up(self, wished: Wishes) -> None:
        """Ask no more for what is not wanted any more."""
        for url, task in self._adding.items():
            if url not in wished.wanted:
                task.cancel()
