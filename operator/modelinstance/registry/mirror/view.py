"""How current our view of one scope of the cluster is, and the time that runs with it.

A worker that beats through the API server cannot be heard while we cannot see the API server. So
the time of its silence runs on a timeline of the view: it goes on only when an event or a LIST
proves that the view was current up to that moment, and not over a gap that is known or likely to
hold an outage.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelinstance.registry.health.record import Record
from modelinstance.registry.mirror.versions import UNKNOWN
from modelinstance.registry.timeline import Timeline

MIN_GAP_SECONDS = 1.0
"""The least time between two LISTs that are asked for only as proof."""
PATIENCE = 1.5
"""How much later than asked for a proof may come and still cover its whole gap."""
QUIET_SECONDS = 60.0
"""A watch of pods that is well shows it more often than that, even where nothing happens."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """How far what a registry answers can be trusted.

    ``synced``: everything was seen at least once. ``age``: seconds since the view was last proven
    current. ``stale``: it is older than a quiet and healthy cluster explains. ``failure``: why the
    last look at the cluster failed. ``durable``: a cluster keeps what is registered, so that a
    restart forgets nothing.
    """

    synced: bool
    age: float
    stale: bool
    failure: str | None
    durable: bool = True


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
        self._late = False
        self._slow = False
        self._proven_local = local
        self._proven_monotonic = monotonic
        self._listed_local: float | None = None

    def prove(self, local: float, monotonic: float) -> None:
        """An event or a LIST shows that the view was current at that moment."""
        if local < self._proven_local:
            return
        late = local - self._proven_local > self._most_wanted()
        self.timeline.now += self.uncredited(local)
        self._interrupted, self._late = False, late
        self._proven_local, self._proven_monotonic = local, monotonic

    def uncredited(self, local: float) -> float:
        """How far that moment is ahead of the timeline: what a proof of it would add."""
        if not self.listed or self._interrupted:
            return 0.0
        gap, most = max(local - self._proven_local, 0.0), self._most_wanted()
        if gap <= most or self._late:
            return min(gap, most)
        return min(most, max(self._left() - MIN_GAP_SECONDS, 0.0))

    def prove_by_list(
        self, local: float, monotonic: float, version: int, *, took: float = 0.0
    ) -> None:
        """A LIST that began at that moment, and took so many seconds, was taken in whole.

        A slow one is taken as an outage that it lasted out, unless the one before was slow as well.
        """
        slow = took > MIN_GAP_SECONDS * PATIENCE
        outage, self._slow = slow and not self._slow, slow
        self._interrupted |= outage
        self.prove(local, monotonic)
        self._interrupted |= outage
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
        left = self._left()
        return max(left / 2, min(left, MIN_GAP_SECONDS))

    def _most_wanted(self) -> float:
        """A gap that is longer is likely to hold an outage: the first such brings no deadline."""
        return max(self._gap_wanted(), MIN_GAP_SECONDS) * PATIENCE

    def _left(self) -> float:
        deadline = self.timeline.next_deadline()
        return float("inf") if deadline is None else max(deadline - self.timeline.now, 0.0)


class PodsView:
    """When the pods of one namespace, or of the whole cluster, were last known to be current.

    Nothing expires by it: what the pods showed last holds for as long as nobody can look at them.
    """

    def __init__(self, monotonic: float) -> None:
        self._listed = False
        self._proven = monotonic
        self._failure: str | None = None

    def prove(self, monotonic: float) -> None:
        """A LIST was taken in, or the watch has told something or has ended well."""
        self._listed = True
        self._proven = monotonic
        self._failure = None

    def interrupt(self, why: str) -> None:
        """A LIST or the watch failed."""
        self._failure = why

    def state(self, monotonic: float, resync_interval: float) -> ViewState:
        """How far the evidence of pods can be trusted.

        A watch may be cut and come back at once, so it is stale by its age alone.
        """
        age = max(monotonic - self._proven, 0.0)
        stale = age > PATIENCE * min(resync_interval, QUIET_SECONDS)
        return ViewState(self._listed, age, stale, self._failure)
