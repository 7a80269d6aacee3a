"""How often something may be done: a burst, and then a steady rate."""

from __future__ import annotations


class TokenBucket:
    """Lets ``burst`` things happen at once, and ``rate`` a second in the long run.

    Times are attended seconds.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._tokens = burst
        self._rate = rate
        self._at = now

    def has(self, now: float) -> bool:
        """Whether one more may happen now."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens >= 1.0

    def take(self, now: float) -> bool:
        """Let one more happen; returns whether it may."""
        if not self.has(now):
            return False
        self._tokens -= 1.0
        return True

    def available(self, now: float) -> int:
        """How many more may happen now."""
        self.has(now)
        return int(self._tokens)

    def spend(self, number: int) -> None:
        """Let as many happen; they were available."""
        self._tokens -= number

    def wait(self) -> float:
        """Seconds from the last look until one more may happen."""
        return max(1.0 - self._tokens, 0.0) / self._rate

    def set_rate(self, burst: float, rate: float) -> None:
        """Let another burst and rate hold from now on."""
        self._burst, self._rate = burst, rate
