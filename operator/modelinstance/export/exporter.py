"""Keeps one file equal to what the registry selects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from modelinstance import files
from modelinstance.client.following import Follower
from modelinstance.client.steady import Choice
from modelinstance.export.rendering import Render

RETRY_SECONDS = 5.0
"""After how long a file is tried again that could not be written."""

log = logging.getLogger(__name__)


class Exporter:
    """Writes the file whole, when its content changes and only then.

    It writes nothing before the registry has told of all instances, and nothing while the registry
    is away: what was there last stays.
    """

    def __init__(self, path: Path, render: Render, follower: Follower) -> None:
        self._path = path
        self._render = render
        self._follower = follower
        self._changed = asyncio.Event()
        self._left_out: dict[str, str] = {}
        follower.on_change(self._changed.set)

    async def run(self, *, once: bool = False) -> None:
        """Write after each change until cancelled; ``once``: end after the first time.

        A file that cannot be written is tried again. Raises an `ExceptionGroup`, with an `OSError`
        for that if it is to be written ``once``, or a `RegistryUnavailableError` for a query that
        is wrong.
        """
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follower.run())
            await self._work(once=once)
            following.cancel()

    async def _work(self, *, once: bool) -> None:
        while True:
            self._changed.clear()
            choice = self._follower.choice()
            delay: float | None = None
            if choice is not None:
                delay = self._write(choice, once=once)
                if once:
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()

    def _write(self, choice: Choice, *, once: bool) -> float | None:
        """Write what has changed; returns after how long to look again, in seconds."""
        rendering = self._render(choice.selected.values())
        for key in sorted(rendering.left_out.keys() - self._left_out.keys()):
            log.warning("%s is left out: %s", key, rendering.left_out[key])
        self._left_out = dict(rendering.left_out)
        try:
            if _read(self._path) != rendering.text:
                files.replace(self._path, rendering.text)
                log.info("wrote %s: %d instances", self._path, len(choice.selected))
        except OSError as error:
            if once:
                raise
            log.error("%s cannot be written, it is tried again: %s", self._path, error)  # noqa: TRY400
            return RETRY_SECONDS
        if choice.kept_until is None:
            return None
        return max(choice.kept_until - time.monotonic(), 0.0)


def _read(path: Path) -> str | None:
    """What is there now; ``None`` for nothing, or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
