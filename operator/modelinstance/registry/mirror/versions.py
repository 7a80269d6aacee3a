"""What versions tell: which LIST to believe, and whether the watch still sees.

A resourceVersion grows with each change in a cluster (Kubernetes 1.35 made this a promise), until
the cluster is restored from a backup.
"""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN = 0
"""The version of what has to be learned anew."""


class Versions:
    """The highest version seen, and the changes that only a LIST has told of so far."""

    def __init__(self) -> None:
        self.highest = UNKNOWN
        self._unconfirmed: dict[str, tuple[int, float]] = {}

    def saw(self, version: int) -> None:
        """An event, an answer or a LIST shows that version."""
        self.highest = max(self.highest, version)

    def went_back(self, floor: int, version: int, pairs: Iterable[tuple[int, int]]) -> bool:
        """Whether a LIST comes from a cluster that was restored to an earlier state.

        ``floor`` is the highest version that was seen before the LIST began, which it cannot miss.
        ``pairs`` are the known and the listed version of each object. Either the LIST is below the
        floor, or the cluster has grown past it meanwhile and an object is at a version that this
        very LIST would have to surpass.
        """
        return version < floor or any(listed < known <= version for known, listed in pairs)

    def restart(self) -> None:
        """The cluster was restored: its versions begin anew."""
        self.highest = UNKNOWN
        self._unconfirmed.clear()

    # -- the watch -------------------------------------------------------------------------------

    def only_listed(self, uid: str, version: int, now: float) -> None:
        """A LIST tells of a change that no event has told of yet."""
        self._unconfirmed.setdefault(uid, (version, now))

    def told(self, uid: str, version: int) -> None:
        """An event shows an object at that version."""
        found = self._unconfirmed.get(uid)
        if found is not None and version >= found[0]:
            del self._unconfirmed[uid]

    def told_of_end(self, uid: str) -> None:
        """An event shows that an object is gone."""
        self._unconfirmed.pop(uid, None)

    def new_watch(self) -> None:
        """A new watch lists everything by itself."""
        self._unconfirmed.clear()

    def is_blind(self, now: float, patience: float) -> bool:
        """Whether the watch has kept silent on a change for that many seconds."""
        return any(now - found >= patience for _, found in self._unconfirmed.values())
