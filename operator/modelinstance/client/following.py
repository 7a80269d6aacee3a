"""One registry, followed for those who keep something equal to what it selects."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from modelinstance.client.connection import Connection
from modelinstance.client.steady import Choice, Steady
from modelinstance.client.watching import Snapshot, Watcher

log = logging.getLogger(__name__)


class Follower:
    """What to use now, by the registry's last word; see `Watcher` and `Steady` for the settings."""

    def __init__(
        self,
        connection: Connection,
        *,
        hold: float,
        model: str | None = None,
        namespace: str | None = None,
        selector: str | None = None,
    ) -> None:
        self._steady = Steady(hold)
        self._hold = hold
        self._kept: frozenset[str] = frozenset()
        self._listeners: list[Callable[[], None]] = []
        self._since: float | None = None
        self._watcher = Watcher(
            connection,
            model=model,
            namespace=namespace,
            selector=selector,
            on_loss=lambda: self._steady.lose(time.monotonic()),
        )

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call a function after each change."""
        self._listeners.append(listener)

    @property
    def since(self) -> float | None:
        """Since when the registry has been known (`time.monotonic`), ``None`` before that."""
        return self._since

    def choice(self) -> Choice | None:
        """What to use now; ``None`` until the registry has told of all instances once."""
        return None if self._since is None else self._steady.choose(time.monotonic())

    async def run(self) -> None:
        """Follow until cancelled. Raises `RegistryUnavailableError` for a query that is wrong."""
        async with aclosing(self._watcher.follow()) as snapshots:
            async for snapshot in snapshots:
                self._hear(snapshot)

    def _hear(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        self._steady.hear(snapshot, now)
        self._since = now if self._since is None else self._since
        kept = self._steady.choose(now).kept
        for key in sorted(kept.keys() - self._kept):
            log.warning(
                "%s stays in use for up to %g s more although %s: it would be the last one, or "
                "the registry may not know of it yet", key, self._hold, kept[key],
            )  # fmt: skip
        self._kept = frozenset(kept)
        for listener in self._listeners:
            listener()
