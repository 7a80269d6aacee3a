"""Which value of the heartbeat annotation is a sign of life.

The annotation is a plain string; only that it differs from what was there before counts, so no
clocks are compared. Applying a manifest again brings back an old value and must not revive a dead
instance, so old values are remembered.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

REMEMBERED = 16
MAX_BYTES = 256


class Beat(StrEnum):
    """What a value of the annotation amounts to."""

    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"
    APPLIED = "applied"
    REMOVED = "removed"
    EMPTY = "empty"
    OVERSIZED = "oversized"
    MOVED = "moved"
    """It came with a new address, so it may be about the old one."""


class AnnotationBeats:
    """The values that one resource has shown.

    The first value is remembered for good: it is the one that a manifest most likely holds.
    """

    __slots__ = ("_first", "_last", "_recent")

    def __init__(self) -> None:
        self._first: str | None = None
        self._last: str | None = None
        self._recent: deque[str] = deque(maxlen=REMEMBERED)

    def remember(self, value: str | None) -> None:
        """Take a value as known, so that it is never a beat."""
        value = _shortened(value)
        self._last = value
        if self._first is None:
            self._first = value
        if value is not None:
            if value in self._recent:
                self._recent.remove(value)
            self._recent.append(value)

    def observe(self, value: str | None, applied: str | None) -> Beat:
        """Judge the value that the resource shows now, and remember it.

        ``applied`` is the value in kubectl's last-applied-configuration, if any.
        """
        value = _shortened(value)
        if value == self._last:
            return Beat.UNCHANGED
        known = value == self._first or value in self._recent
        self.remember(value)
        if value is None:
            return Beat.REMOVED
        if not value.strip():
            return Beat.EMPTY
        if len(value.encode()) > MAX_BYTES:
            return Beat.OVERSIZED
        if known:
            return Beat.REPEATED
        if value == applied:
            return Beat.APPLIED
        return Beat.ACCEPTED


def _shortened(value: str | None) -> str | None:
    """No more of a value than tells that it is too long."""
    return None if value is None else value[: MAX_BYTES + 1]
