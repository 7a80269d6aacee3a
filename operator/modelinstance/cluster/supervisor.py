"""Keeps kopf running: in a thread and loop of its own, again after each end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from modelinstance import api
from modelinstance.cluster import watch
from modelinstance.cluster.access import Access
from modelinstance.cluster.client import NOT_FOUND, ClusterClient, ClusterError
from modelinstance.cluster.status import StatusDesk, StatusWriter
from modelinstance.notices import Notices

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
LASTING_SECONDS = 60.0
"""A run that lasted this long was a good one: the next failure starts from a short backoff."""
JOIN_SECONDS = 8.0
LAST_SECONDS = 0.5
"""What is being written at a stop, and then what is still to be, may take so long each."""
NEEDED = frozenset({api.MODEL_INSTANCES, api.INSTANCE_REGISTRIES})

ResultT = TypeVar("ResultT")


class Desk(watch.EventDesk, StatusDesk, Protocol):
    """All that a run of kopf talks to, and what it is told about the runs."""

    def watch_started(self, run: int) -> None:
        """A run begins."""
        ...

    def watch_ended(self, run: int, why: str | None) -> None:
        """A run has ended; ``why`` is ``None`` when it was told to."""
        ...


class Supervisor:
    """Runs kopf until cancelled.

    ``scopes`` are the namespaces to watch, none for all; ``namespace`` is the operator's own.
    """

    def __init__(self, access: Access, desk: Desk, scopes: Sequence[str], namespace: str) -> None:
        self._access = access
        self._desk = desk
        self._namespace = namespace
        self._watched = sorted({*scopes, namespace}) if scopes else []
        self._current: _Run | None = None
        self._restart_wanted = False

    def restart(self) -> None:
        """End the current run; another one follows at once."""
        if self._current is not None:
            self._restart_wanted = True
            self._current.stop()

    async def run(self) -> None:
        """Start kopf whenever both resources can be listed; cancel to stop."""
        number, backoff = 0, 1.0
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_resources()
            number += 1
            began = loop.time()
            self._restart_wanted = False
            self._current = _Run(self._access, self._desk, self._watched, self._namespace, number)
            self._desk.watch_started(number)
            try:
                why = await self._current.ended()
            finally:
                self._current = None
            self._desk.watch_ended(number, None if self._restart_wanted else why or "it ended")
            if self._restart_wanted:
                continue
            if loop.time() - began > LASTING_SECONDS:
                backoff = 1.0
            logger.error("kopf ended: %s; starting it again in %g s", why or "no reason", backoff)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    async def _look_for_resources(self, client: ClusterClient) -> None:
        for scope in self._watched or [""]:
            await client.probe(api.MODEL_INSTANCES, scope)
            await client.probe(api.INSTANCE_REGISTRIES, scope)
        missing = NEEDED - await client.discover()
        if missing:
            what = f"discovery of {api.API_VERSION}"
            raise ClusterError(what, f"it does not tell of {', '.join(sorted(missing))} yet")

    async def _wait_for_resources(self) -> None:
        """kopf gives up on a resource that it does not find when it starts: see to it first.

        It goes by discovery, which may lag behind the CRDs for seconds.
        """
        client, notices = ClusterClient(self._access), Notices(logger)
        try:
            while True:
                try:
                    await self._look_for_resources(client)
                except ClusterError as error:
                    hint = "; are the CRDs installed?" if error.status == NOT_FOUND else ""
                    notices.tell("waiting to watch", f"{error}{hint}")
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    return
        finally:
            await client.close()


class _Run:
    """One run of kopf in a thread of its own."""

    def __init__(
        self, access: Access, desk: Desk, watched: Sequence[str], namespace: str, number: int
    ) -> None:
        self._access = access
        self._desk = desk
        self._watched = watched
        self._namespace = namespace
        self._number = number
        self._home = asyncio.get_running_loop()
        self._ended: asyncio.Future[str | None] = self._home.create_future()
        self._away: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopped_early = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"kopf-{number}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the run to end."""
        with self._lock:
            self._stopped_early = True
            if self._away is not None and self._stop is not None and not self._away.is_closed():
                self._away.call_soon_threadsafe(self._stop.set)

    async def ended(self) -> str | None:
        """Wait for the end, and say why; on cancellation, stop it and wait for that."""
        try:
            return await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([self._ended], timeout=JOIN_SECONDS)
            raise

    def _work(self) -> None:
        why: str | None = None
        try:
            with asyncio.Runner() as runner:
                runner.run(self._operate())
        except asyncio.CancelledError:
            why = "it was cancelled"
        except Exception as error:  # noqa: BLE001 - whatever kopf dies of is told, and it starts anew
            why = f"{type(error).__name__}: {error}"
        finally:
            if not self._home.is_closed():
                self._home.call_soon_threadsafe(self._finish, why)

    def _finish(self, why: str | None) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    async def _operate(self) -> None:
        client = ClusterClient(self._access)
        writer = StatusWriter(client, self._desk, self._namespace, self._ask)
        handlers = watch.build_handlers(
            self._access,
            self._desk,
            self._hand_over,
            self._until_stopped(writer.tick),
            run=self._number,
            namespace=self._namespace,
        )
        with self._lock:
            self._away, self._stop = asyncio.get_running_loop(), asyncio.Event()
            if self._stopped_early:
                self._stop.set()
        try:
            await watch.operate(handlers, self._stop, scopes=self._watched)
            if self._stopped_early:
                await self._write_last(writer)
        finally:
            await client.close()

    @staticmethod
    async def _write_last(writer: StatusWriter) -> None:
        """What a worker was told a moment ago is to be known to whoever comes next."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await writer.tick()

    def _hand_over(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the home thread, and do not wait; what it throws is an event lost."""

        def call() -> None:
            try:
                function(*arguments)
            except Exception as error:
                logger.exception("an event was lost")
                self._desk.event_lost(self._number, f"{type(error).__name__}: {error}")

        self._home.call_soon_threadsafe(call)

    def _until_stopped(self, tick: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """A tick that ends soon when the run is told to stop, as kopf waits for timers."""

        async def bounded() -> None:
            if self._stop is None:
                return
            ticking = asyncio.ensure_future(tick())
            stopping = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({ticking}, timeout=LAST_SECONDS)
            finally:
                stopping.cancel()
                if not ticking.done():
                    ticking.cancel()
            if ticking.done() and not ticking.cancelled():
                ticking.result()

        return bounded

    async def _ask(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Call a function in the home thread and await its result."""
        answer: concurrent.futures.Future[ResultT] = concurrent.futures.Future()

        def call() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(function(*arguments))
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                answer.set_exception(error)

        self._home.call_soon_threadsafe(call)
        return await asyncio.wrap_future(answer)
