"""A loop in a thread, for the asynchronous helpers of tests that are not."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

SETTLE_ROUNDS = 200
QUIET_ROUNDS = 3
"""After how many passes in which there is nothing left nothing more comes."""


class BackgroundLoop:
    """Runs coroutines and calls in an event loop of its own."""

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        # Else the garbage collector may find, and complain of, a TLS connection whose client left
        # while reading was paused: neither the selector nor a server has hold of it then.
        self._loop._transports = {}  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._loop.run_forever, name="background loop")
        self._thread.start()
        self._entered: list[AbstractAsyncContextManager[Any]] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._stop_accepting())
        for manager in reversed(self._entered):
            self.run(manager.__aexit__(None, None, None))
        self.run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop_accepting(self) -> None:
        """Take no more connections, and let those that came reach their servers.

        A server that is closed while a connection is on its way leaves the socket to nobody.
        """
        for key in list(self._selector.get_map().values()):
            with socket.socket(fileno=os.dup(key.fd)) as reached:
                if reached.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._loop.remove_reader(key.fd)
        await asyncio.sleep(0.01)

    async def _settle(self) -> None:
        """Let tasks end and connections close.

        A connection that came while its server was being closed is nobody's any more, and would
        wait for its client to end the TLS session. One that is just being taken shows only in a
        later pass of the loop.
        """
        quiet = 0
        for _ in range(SETTLE_ROUNDS):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for transport in list(self._loop._transports.values()):  # type: ignore[attr-defined]
                transport.abort()
            only_its_own = len(self._selector.get_map()) <= 1
            quiet = quiet + 1 if only_its_own and not tasks else 0
            if quiet == QUIET_ROUNDS:
                return
            await asyncio.sleep(0.01)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the loop's thread and return its result."""

        async def call() -> T:
            return function(*arguments)

        return self.run(call())

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter an asynchronous context manager, to be left in the end."""
        entered = self.run(manager.__aenter__())
        self._entered.append(manager)
        return entered
