"""How fast statuses are written, and when not at all."""

from __future__ import annotations

from enum import StrEnum
from random import Random

from modelinstance.registry.mirror.buckets import TokenBucket
from modelinstance.registry.mirror.outbox import MAX_BACKOFF_SECONDS, jittered

BURST_SECONDS = 0.1
"""How much of a second's writes may go at once after a time without any."""

MIN_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 5.0
"""The longest pause that nobody asked for: as often an API server that is away is tried."""

MAX_REFUSALS = 3
"""How often the first write after a pause may be refused before that is taken as it is."""


class WriteResult(StrEnum):
    """How a status write ended.

    ``INVALID``: the status does not fit the CRD that is installed. ``UNAVAILABLE``: there was no
    answer, or none that tells of more than the API server's own trouble. ``FAILED``: all others.
    """

    WRITTEN = "written"
    CONFLICT = "conflict"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"


class Pace:
    """A bucket of tokens, one for each write, and pauses of the whole writer.

    After a pause one write goes ahead. The others follow once the API server has carried it out, or
    has said why it does not do so for this one. A server that has just started refuses everything
    for about a second: that is not taken as such a word at once. Times are attended seconds.
    """

    def __init__(self, random: Random, rate: float) -> None:
        self._random = random
        self._bucket = TokenBucket(_burst(rate), rate, 0.0)
        self._paused_until = 0.0
        self._pause = MIN_PAUSE_SECONDS
        self._probing = False
        self._probe_sent = False
        self._refusals = 0

    def set_rate(self, rate: float) -> None:
        """Let so many writes a second hold from now on."""
        self._bucket.set_rate(_burst(rate), rate)

    def is_paused(self, now: float) -> bool:
        """Whether nothing at all is to be written now."""
        return now < self._paused_until

    def allowed(self, now: float) -> int:
        """How many writes may begin now."""
        if self.is_paused(now) or (self._probing and self._probe_sent):
            return 0
        available = self._bucket.available(now)
        return min(available, 1) if self._probing else available

    def spend(self, writes: int) -> None:
        """So many begin."""
        self._bucket.spend(writes)
        self._probe_sent = self._probing and (self._probe_sent or writes > 0)

    def wait(self, now: float) -> float | None:
        """Seconds until the rate allows a write; ``None`` while something else is waited for."""
        if self.is_paused(now) or self._probing:
            return None
        return self._bucket.wait()

    def ended(self, result: WriteResult, now: float, retry_after: float = 0.0) -> None:
        """A write has ended; ``retry_after`` are the seconds that the API server asked for."""
        self._probe_sent = False
        retry_after = min(retry_after, MAX_BACKOFF_SECONDS)
        if result in {WriteResult.THROTTLED, WriteResult.UNAVAILABLE}:
            self._stop(now, retry_after)
        elif self._probing and not self.is_paused(now):
            refused = result in {WriteResult.FORBIDDEN, WriteResult.UNAUTHORIZED}
            if refused and self._refusals < MAX_REFUSALS:
                self._refusals += 1
                self._stop(now)
            else:
                self._go_on()

    def abandon(self) -> None:
        """Whoever wrote is gone, and with it what was under way."""
        self._probe_sent = False

    def _stop(self, now: float, at_least: float = 0.0) -> None:
        """Pause; those that were under way when it began make it longer only if they say so."""
        if self.is_paused(now):
            until = now + jittered(self._random, at_least) if at_least else 0.0
            self._paused_until = max(self._paused_until, until)
            return
        self._probing = True
        self._paused_until = now + jittered(self._random, max(self._pause, at_least))
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)

    def _go_on(self) -> None:
        self._probing = False
        self._pause, self._refusals = MIN_PAUSE_SECONDS, 0


def _burst(rate: float) -> float:
    return max(rate * BURST_SECONDS, 1.0)
