"""When something was out of order: the time that is held against nobody."""

from __future__ import annotations


class Outages:
    """Spans of time in which the operator, its view, or what the view is of was out.

    Times are seconds of any one clock. Spans follow one another; the last may be open.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._open: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether something is out of order."""
        return self._open is not None

    def begin(self, at: float) -> None:
        """Something goes out of order, if it is not yet."""
        if self._open is None:
            self._open = at

    def end(self, at: float) -> None:
        """All is in order again."""
        assert self._open is not None
        self.spans.append((self._open, at))
        self._open = None

    def calm_since(self, at: float) -> float | None:
        """Since when all has been in order, seen from that time; ``None`` if it is not."""
        if self._open is not None and at >= self._open:
            return None
        since = 0.0
        for begin, end in reversed(self.spans):
            if at >= end:
                since = end
                break
            if at >= begin:
                return None
        return since

    def calm_between(self, begin: float, end: float) -> float:
        """How many seconds of that span all was in order."""
        spans = list(self.spans)
        if self._open is not None:
            spans.append((self._open, end))
        out = (min(last, end) - max(first, begin) for first, last in spans)
        return max(end - begin, 0.0) - sum(seconds for seconds in out if seconds > 0)
