"""The two clocks that the registry reads, injected so that tests decide what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> datetime:
        """The time of day, timezone-aware; only ever shown, never compared."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """See `time.monotonic`."""
        return time.monotonic()

    def wall(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)
