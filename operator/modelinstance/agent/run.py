"""The loop: ask the engine, tell the registries, and in the end say goodbye."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from random import Random

from modelinstance.agent.engine import METRICS, MODELS, Engine, EngineTroubleError
from modelinstance.agent.lasting import lasting
from modelinstance.agent.links import Links
from modelinstance.agent.metrics import Reading, UnreadableMetricsError, read
from modelinstance.agent.models import MAX_ALIASES, Served, UnreadableModelsError, served
from modelinstance.agent.settings import AgentSettings
from modelinstance.agent.state import Completion, EngineState, jittered
from modelinstance.client.workers import Registration
from modelinstance.notices import Notices

logger = logging.getLogger("modelinstance.agent")

HURRY_SECONDS = 1.0
"""How long goodbyes may take after a second signal."""
ROUTES, COMPLETIONS, LOAD, NAMES = "engine", "engine's completions", "engine's load", "names"
VERDICT = "what the registries are told"


class Agent:
    """Stands beside one engine until it is told to stop."""

    def __init__(self, settings: AgentSettings, *, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._notices = Notices(logger)
        self._state = self._nothing_seen()
        self._links = Links(
            settings.registries,
            self._describe,
            period=settings.period,
            silence=settings.silence,
            timeout=settings.timeout,
            token_file=settings.token_file,
            random=self._random,
            notices=self._notices,
        )
        self._engine = Engine(
            settings.target,
            timeout=settings.timeout,
            completion_timeout=settings.completion_timeout,
            token_file=settings.engine_token_file,
        )
        self._reading: Reading | None = None
        self._completion: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Work until ``stop``; then drain, go on for a while, and deregister.

        ``hurry`` ends that at once.
        """
        async with self._engine:
            following = self._keep_up("following the registries", self._links.follow)
            looking = self._keep_up("looking at the engine", self._look)
            try:
                await stop.wait()
                await _cancel(following)
                await self._drain(hurry)
                await _cancel(looking)
                await self._leave(hurry)
            finally:
                await _cancel(following, looking)
                await self._links.close()

    def _keep_up(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(lasting(name, work, random=self._random), name=name)

    async def _drain(self, hurry: asyncio.Event) -> None:
        """Have the routers turn away while the engine still answers; if it is gone, they know."""
        if self._links.registered:
            seconds = self._settings.drain_seconds
            logger.info("draining; the goodbye is in %g s", seconds)
            self._links.drain()
            await _until((hurry, self._gone), within=seconds)

    async def _leave(self, hurry: asyncio.Event) -> None:
        leaving = asyncio.create_task(self._links.leave(), name="saying goodbye")
        await _until((hurry,), leaving)
        await asyncio.wait({leaving}, timeout=HURRY_SECONDS)
        await _cancel(leaving)

    def _describe(self, names: Served) -> Registration:
        settings, target = self._settings, self._settings.target
        return Registration(
            model=names.model,
            aliases=names.aliases,
            host=target.host,
            port=target.port,
            scheme=target.scheme,
            base_path=target.base_path,
            namespace=settings.namespace,
            weight=settings.weight,
            labels=settings.labels,
            heartbeat_timeout=settings.heartbeat_timeout,
            pod=settings.pod,
        )

    def _nothing_seen(self) -> EngineState:
        return EngineState(
            failure_threshold=self._settings.failure_threshold,
            success_threshold=self._settings.success_threshold,
            completion_interval=self._settings.completion_interval,
            random=self._random,
        )

    async def _look(self) -> None:
        """Ask each period, and tell what came of it; whenever it begins, nothing is proven."""
        self._state, self._reading, self._completion = self._nothing_seen(), None, None
        self._tell()
        async with asyncio.TaskGroup() as completions:
            while True:
                began = time.monotonic()
                await self._ask(completions)
                self._tell()
                until = began + jittered(self._settings.period, self._random)
                await asyncio.sleep(max(until - time.monotonic(), 0))

    async def _ask(self, completions: asyncio.TaskGroup) -> None:
        try:
            await self._engine.check(self._settings.health_path)
            names = self._named(await self._engine.models())
        except EngineTroubleError as error:
            self._notices.tell(ROUTES, str(error))
            self._state.failed(str(error))
            if error.gone:
                self._gone.set()
            return
        self._gone.clear()
        self._notices.settle(ROUTES, "it answers")
        self._reading = await self._read()
        before = self._state.served
        self._state.answered(names, None if self._reading is None else self._reading.load)
        if self._completion is not None and before is not None and names.model != before.model:
            self._completion.cancel()
            self._completion = None
        running = self._completion is not None and not self._completion.done()
        if not running and self._state.wants_completion(time.monotonic()):
            self._completion = completions.create_task(
                self._complete(names.model), name="asking for a completion"
            )

    def _named(self, body: object) -> Served:
        """The names in a list of models; one that holds none is a trouble like any other."""
        try:
            names = served(body, model=self._settings.model, aliases=self._settings.aliases)
        except UnreadableModelsError as error:
            raise EngineTroubleError(f"GET {MODELS}", str(error)) from error
        if names.left_out:
            shown = ", ".join(repr(name[:100]) for name in names.left_out[:10])
            self._notices.tell(
                NAMES,
                f"{len(names.left_out)} are left out, as a registry takes {MAX_ALIASES} aliases of "
                f"plain text: {shown}",
            )
        else:
            self._notices.settle(NAMES, "none is left out any more")
        return names

    async def _read(self) -> Reading | None:
        """The engine's numbers, as far as it tells them."""
        try:
            reading = read(await self._engine.metrics(), self._settings.engine)
        except (EngineTroubleError, UnreadableMetricsError) as error:
            self._notices.tell(LOAD, f"it is not told, as there are no metrics: {error}")
            return None
        if reading is None or reading.load is None:
            self._notices.tell(LOAD, f"it is not told, as GET {METRICS} holds no known names of it")
        else:
            self._notices.settle(LOAD, f"it is told, from the metrics of {reading.engine}")
        return reading

    async def _complete(self, model: str) -> None:
        """Ask for one completion, and tell what came of it."""
        completion = Completion(model)
        before = self._reading
        try:
            await self._engine.complete(model)
        except EngineTroubleError as error:
            after = await self._read() if error.timed_out else None
            completion = Completion(
                model,
                str(error),
                timed_out=error.timed_out,
                generated_before=None if before is None else before.generated,
                generated_after=None if after is None else after.generated,
            )
        if not completion.trouble:
            self._notices.settle(COMPLETIONS, "they succeed")
        elif completion.found_it_busy:
            logger.info("%s: it is busy: %s, but it generates", COMPLETIONS, completion.trouble)
        else:
            self._notices.tell(COMPLETIONS, completion.trouble)
        self._state.completed(completion, time.monotonic())
        self._tell()

    def _tell(self) -> None:
        word = self._state.word()
        if word is not None and word.failure:
            self._notices.tell(VERDICT, f"it cannot answer: {word.failure}")
        elif word is not None:
            self._notices.settle(VERDICT, "it can answer")
        self._links.tell(word)


async def _until(
    events: tuple[asyncio.Event, ...], *works: asyncio.Task[None], within: float | None = None
) -> None:
    """Wait for any of these events or ends of tasks; what a task raised is raised."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait({*waiting, *works}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(*waiting)
    for work in works:
        if work.done():
            work.result()


async def _cancel(*tasks: asyncio.Task[None] | asyncio.Task[bool] | None) -> None:
    """End tasks."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
