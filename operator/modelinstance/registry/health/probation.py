"""Who comes and goes has to be well for a while before it is selected again.

Without this an instance that flaps takes requests each time that it looks well, and each turn is a
write. After so many falls within a window it has to be well for a time that grows with each further
fall, shown as ``Flapping`` throughout, so that nothing is written meanwhile. Envoy's ejection times
of outlier detection grow in the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelinstance.registry.health.chain import Verdict
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Probation, Record
from modelinstance.registry.timeline import Timeline

FALLS = frozenset({Reason.PROBE_FAILED, Reason.WORKER_NOT_READY, Reason.POD_NOT_READY})
"""What counts as a fall beside silence: that a worker is unfit, not that somebody wants it out."""
REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """After which of the falls within a window of seconds an instance has to prove itself.

    It has to be well for ``first`` seconds, twice as long after each further fall, at most for
    ``most``.
    """

    falls: int = 3
    window: float = 600.0
    first: float = 30.0
    most: float = 300.0

    def penalty(self, falls: int, free: int) -> float:
        """For how many seconds it has to be well after so many falls; ``free`` add nothing."""
        return float(min(self.first * 2 ** max(falls - free, 0), self.most))


class Probations:
    """Counts the falls of each record, and lets those return that have proven themselves.

    ``now`` gives the attended time. Without ``settings`` nobody has to prove anything.
    """

    def __init__(self, now: Callable[[], float], settings: Hysteresis | None = None) -> None:
        self.settings = settings
        self._now = now
        self._timeline: Timeline[Probation] = Timeline()

    def observe(self, record: Record, fitness: Verdict) -> None:
        """What would be decided on a record, were it not for probation."""
        was, record.fit = record.fit, fitness.ready
        if record.fit:
            record.fallen = False
        elif was and fitness.reason in FALLS:
            self._fall(record, fitness.reason)
        probation = record.probation
        if probation is None:
            return
        well = record.fit and fitness.reason is not Reason.CORRELATED_SILENCE
        if well and probation.since is None:
            probation.since = self._now()
            self._timeline.schedule(probation, probation.since + probation.seconds)
        elif not well and probation.since is not None:
            probation.since = None
            self._let_lapse(probation)

    def fell_silent(self, record: Record) -> None:
        """It was heard, and is silent now: a fall, whatever else is wrong with it and hides that.

        Not where nobody expects it to be heard, nor where it is unfit by a fall already.
        """
        if record.expected:
            self._fall(record, Reason.HEARTBEAT_EXPIRED)

    def vouch(self, record: Record) -> bool:
        """A sign of life has come; returns whether the record has thereby proven itself."""
        probation = record.probation
        if probation is None or probation.since is None:
            return False
        if self._now() < probation.since + probation.seconds:
            return False
        self.forget(record)
        return True

    def eject(self, record: Record) -> None:
        """Calls to it fail, whatever else is known: a fall after which it has to prove itself."""
        settings = self.settings or Hysteresis()
        falls = self._note_fall(record, Reason.CALLS_FAILING, settings)
        self._put_on(record, Reason.CALLS_FAILING, settings.penalty(falls, free=1))

    def resume(self, record: Record, reason: Reason) -> None:
        """An earlier process had put it on probation, which begins anew."""
        if self.settings is not None:
            self._put_on(record, reason, self.settings.first)

    def excuse(self, record: Record, since: float) -> None:
        """That a record fell silent after that time was none of its own doing."""
        settings, falls = self.settings, record.falls
        if not falls or settings is None:
            return
        at, reason = falls[-1]
        if at < since or reason is not Reason.HEARTBEAT_EXPIRED:
            return
        falls.pop()
        record.fallen = False
        probation = record.probation
        if probation is not None and probation.reason is Reason.FLAPPING:
            if len(falls) < settings.falls:
                self.forget(record)
            else:
                probation.seconds = settings.penalty(len(falls), settings.falls)

    def forget(self, record: Record) -> None:
        """A record has nothing to prove any more."""
        if record.probation is not None:
            record.probation.cancel_deadline()
            record.probation = None

    def due(self) -> Iterator[Record]:
        """The records whose probation has just ended."""
        self._timeline.now = self._now()
        if not self._timeline.has_due:
            return
        for probation in self._timeline.pop_due():
            well = probation.since is not None
            if well and probation.record.spec.heartbeat_required:
                # A sign of life ends it, which shows that it is there now; this only sees to it
                # that time does, once heartbeats are required no more.
                self._timeline.schedule(probation, self._now() + probation.seconds)
                continue
            self.forget(probation.record)
            yield probation.record

    def _fall(self, record: Record, reason: Reason) -> None:
        """Count a fall, unless it is the one that the record has not yet got up from."""
        settings = self.settings
        if settings is None or record.fallen:
            return
        record.fallen = True
        falls = self._note_fall(record, reason, settings)
        if falls >= settings.falls:
            self._put_on(record, Reason.FLAPPING, settings.penalty(falls, settings.falls))

    def _note_fall(self, record: Record, reason: Reason, settings: Hysteresis) -> int:
        now = self._now()
        if record.falls is None:
            record.falls = deque(maxlen=REMEMBERED)
        while record.falls and record.falls[0][0] <= now - settings.window:
            record.falls.popleft()
        record.falls.append((now, reason))
        return len(record.falls)

    def _put_on(self, record: Record, reason: Reason, seconds: float) -> None:
        self.forget(record)
        record.probation = Probation(record, reason, seconds)
        self._let_lapse(record.probation)

    def _let_lapse(self, probation: Probation) -> None:
        """Who is not well for a whole window does not flap: what ails it is shown instead."""
        window = (self.settings or Hysteresis()).window
        self._timeline.schedule(probation, self._now() + window)
