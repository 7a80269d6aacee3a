"""Which instances to use, of what a registry says: nothing is given up because of one answer.

A registry that was restarted without a cluster has forgotten what was registered, until the
workers beat again; one that hears nobody takes all for dead. Either looks like the end of the last
instance, and a router that believed it at once would refuse every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelinstance.client.watching import Instance, Snapshot

DELIBERATE_PHASES = frozenset({"Draining", "Disabled", "Terminating", "Conflicted"})
DELIBERATE_REASONS = frozenset({"Deregistered", "PodReplaced", "WorkerNotReady"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use now: ``selected`` and ``listed`` by ``NAMESPACE/NAME``.

    ``kept`` are those of the selected that the registry does not select any more, with why not.
    ``kept_until`` is when the next of them is given up (a reading of the caller's clock).
    ``durable`` says that what is not listed is gone, and not merely forgotten.
    """

    selected: Mapping[str, Instance] = field(default_factory=dict)
    listed: Mapping[str, Instance] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    kept_until: float | None = None
    durable: bool = False


class Steady:
    """Keeps instances in use for ``hold`` seconds after they are

    - missing, when a registry in memory was read anew: it may not know of them yet;
    - not healthy, without anybody's having asked for that, as the last ones of their model.

    All others are given up at once: the registry told of their end on a stream that it kept, or it
    forgets nothing and does not list them, or they are drained, disabled, deregistered, of weight
    0, at another address, or not the last. So is one whose host and port another instance has now:
    it would be called under the wrong name.
    The clock is the caller's, in seconds; it does not run for a hold while the registry is away.
    """

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._listed: Mapping[str, Instance] = {}
        self._used: dict[str, Instance] = {}
        self._kept: dict[str, float] = {}
        """Since when each of the used is kept only."""
        self._lost_at: float | None = None
        self._durable = False

    def hear(self, snapshot: Snapshot, now: float) -> None:
        """The registry has spoken."""
        if snapshot.fresh:
            self.choose(now)  # what had run out before the loss is not kept anew
            self._kept = dict.fromkeys(self._kept, now)
            self._lost_at = None
        used = {key: each for key, each in snapshot.instances.items() if each.selectable}
        served = {each.model for each in used.values()}
        held = {_place(each) for each in used.values()}
        taken = self._taken(snapshot)
        kept: dict[str, float] = {}
        for key, each in self._used.items():
            if key in used or _place(each) in taken:
                continue
            if self._spared(each, snapshot, served, held):
                used[key] = each
                kept[key] = self._kept.get(key, now)
        self._listed, self._used, self._kept = snapshot.instances, used, kept
        self._durable = snapshot.durable

    def _taken(self, snapshot: Snapshot) -> set[tuple[str, int]]:
        """The places that belong to those who have come, and were not there before.

        One worker may serve several models at its place. What was known there beside another is
        known there again after a restart, one model after the other.
        """
        before = {key: _place(each) for key, each in {**self._listed, **self._used}.items()}
        places = {key: _place(each) for key, each in snapshot.instances.items()}
        return {place for key, place in places.items() if before.get(key) != place}

    def _spared(
        self, used: Instance, snapshot: Snapshot, served: set[str], held: set[tuple[str, int]]
    ) -> bool:
        """Whether one that was used, and is not selected any more, may be kept for a time.

        ``served`` are the models, and ``held`` the places, of those that are selected.
        """
        found = snapshot.instances.get(used.key)
        if found is None:
            missing = used.key in self._kept and used.key not in self._listed
            return not snapshot.durable and (snapshot.fresh or missing)
        return (
            found.address == used.address
            and found.weight > 0
            and found.phase not in DELIBERATE_PHASES
            and found.reason not in DELIBERATE_REASONS
            and used.model not in served
            and _place(used) not in held
        )

    def lose(self, now: float) -> None:
        """The registry cannot be reached any more."""
        if self._lost_at is None:
            self._lost_at = now

    def choose(self, now: float) -> Choice:
        """What to use now."""
        if self._lost_at is not None:
            now = min(now, self._lost_at)
        over = [key for key, since in self._kept.items() if now >= since + self._hold]
        for key in over:
            del self._kept[key], self._used[key]
        return Choice(
            selected=dict(self._used),
            listed=self._listed,
            kept={key: why_not(self._listed.get(key)) for key in self._kept},
            kept_until=min(self._kept.values()) + self._hold if self._kept else None,
            durable=self._durable,
        )


def _place(instance: Instance) -> tuple[str, int]:
    return instance.host, instance.port


def why_not(instance: Instance | None) -> str:
    """Why the registry does not select an instance that it lists, or lists no more."""
    if instance is None:
        return "the registry lists no such instance"
    if instance.healthy:
        return f"{instance.key} has the weight 0"
    return f"{instance.key} is {instance.phase}: {instance.reason}"
