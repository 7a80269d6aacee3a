"""How current our view of one scope of the cluster is, and the time that runs with it.

A worker that beats through the API server cannot be heard while we cannot see the API server. So
the time of its silence runs on a timeline of the view: it goes on only when an event or a LIST
proves that the view was current up to that moment, and not over a gap that is known or likely to
hold an outage.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelinstance.registry.record import Record
from modelinstance.registry.timeline import Timeline
from modelinstance.registry.versions import UNKNOWN

MIN_GAP_SECONDS = 1.0
"""The least time between two LISTs that are asked for only as proof."""
PATIENCE = 1.5
"""How much later than asked for a proof may come and still cover its whole gap."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """How far what a registry answers can be trusted.

    ``synced``: everything was seen at least once. ``age``: seconds since the view was last proven
    current. ``stale``: it is older than a quiet and healthy cluster explains. ``failure``: why the
    last look at the cluster failed.
    """

    synced: bool
    age: float
    stale: bool
    failure: str | None


class View:
    """The view of one namespace, or of the whole cluster.

    ``local`` arguments are attended seconds, ``monotonic`` ones the clock's. ``failure`` says why
    the last LIST failed; ``listed`` turns true with the first LIST that was taken in whole, and
    ``listed_version`` is the version of the last one.
    """

    def __init__(self, local: float, monotonic: float) -> None:
        self.timeline: Timeline[Record] = Timeline()
        self.listed = False
        self.listed_version = UNKNOWN
        self.failure: str | None = None
        self._interrupted = False
        self._proven_local = local
        self._proven_monotonic = monotonic
        self._listed_local: float | None = None

    def prove(self, local: float, monotonic: float) -> None:
        """An event or a LIST shows that the view was current at that moment."""
        if local < self._proven_local:
            return
        self.timeline.now += self.uncredited(local)
        self._interrupted = False
        self._proven_local, self._proven_monotonic = local, monotonic

    def uncredited(self, local: float) -> float:
        """How far that moment is ahead of the timeline: what a proof of it would add."""
        if not self.listed or self._interrupted:
            return 0.0
        return min(max(local - self._proven_local, 0.0), self._gap_wanted() * PATIENCE)

    def prove_by_list(self, local: float, monotonic: float, version: int) -> None:
        """A LIST that began at that moment was taken in whole."""
        self.prove(local, monotonic)
        self.listed = True
        self.listed_version = version
        self.failure = None
        self._listed_local = local

    def interrupt(self, why: str) -> None:
        """A LIST failed: what passes until the next proof is nobody's silence."""
        self._interrupted = True
        self.failure = why

    def age(self, monotonic: float) -> float:
        """Seconds since the view was last proven current."""
        return max(monotonic - self._proven_monotonic, 0.0)

    def next_list(self, local: float, interval: float) -> float:
        """Seconds until a LIST is due: for resync, or because nothing else proves the view."""
        if self._listed_local is None:
            return 0.0
        resync = self._listed_local + interval
        proof = max(self._proven_local + self._gap_wanted(), self._listed_local + MIN_GAP_SECONDS)
        return max(min(resync, proof) - local, 0.0)

    def _gap_wanted(self) -> float:
        """Half the time to the next deadline, so that an outage is noticed well before it."""
        deadline = self.timeline.next_deadline()
        if deadline is None:
            return float("inf")
        left = max(deadline - self.timeline.now, 0.0)
        return max(left / 2, min(left, MIN_GAP_SECONDS))
