"""A clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self._monotonic = 1000.0
        self._wall = START

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> datetime:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let both clocks go on, as they do while this process is stopped."""
        self._monotonic += seconds
        self._wall += timedelta(seconds=seconds)

    def jump_wall(self, seconds: float) -> None:
        """Set the time of day alone, as NTP or an administrator does."""
        self._wall += timedelta(seconds=seconds)
