"""Keeps the records in step with the ModelInstances of a cluster.

Events come from a watch that may be cut, late or blind, so a LIST is the truth, and events are
its fast path. Rules: an older state of an object never overwrites a newer; a LIST removes only
what had no event since it began; what was deleted while it ran stays deleted; a cluster whose
versions went back was restored from a backup, and is believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelinstance.registry.beats import AnnotationBeats, Beat
from modelinstance.registry.health import Life
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.observed import Observed, Reported
from modelinstance.registry.reasons import Phase, Reason
from modelinstance.registry.records import Record, Records
from modelinstance.registry.reporting import Outbox, StatusWrite, compose, is_current
from modelinstance.registry.timeline import MAX_STEP_SECONDS
from modelinstance.registry.view import View, ViewState

WHOLE_CLUSTER = ""
"""The scope of a view that holds all namespaces."""


@dataclass(slots=True)
class Tracked:
    """What is known of a resource beside its record."""

    uid: str
    version: int
    generation: int
    reported: Reported | None
    beats: AnnotationBeats = field(default_factory=AnnotationBeats)


@dataclass(slots=True)
class Listing:
    """A LIST that is under way, and what events said meanwhile.

    ``floor`` is the highest version that was seen before, which a consistent LIST cannot miss.
    ``touched`` holds the keys that had an event, ``gone`` the uids that were seen deleted.
    """

    scope: str
    began_local: float
    began_monotonic: float
    floor: int
    touched: set[InstanceKey] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Repairs:
    """What a LIST has set right. ``rewound``: the cluster's versions went back.

    ``blind``: the watch has not told of a change that the LIST before this one had found.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    rewound: bool = False
    blind: bool = False


class Mirror:
    """Takes in events and LISTs, and says which statuses are to be written.

    ``scopes`` are the namespaces that are seen, or `WHOLE_CLUSTER` alone. ``resync_interval`` is in
    seconds.
    """

    def __init__(
        self,
        records: Records,
        *,
        scopes: Iterable[str] = (WHOLE_CLUSTER,),
        resync_interval: float = 60.0,
    ) -> None:
        self.records = records
        self.resync_interval = resync_interval
        local, monotonic = records.attend(), records.clock.monotonic()
        self.views = {scope: View(local, monotonic) for scope in scopes}
        self.outbox = Outbox()
        self.beats: Counter[Beat] = Counter()
        self.repairs: Counter[str] = Counter()
        self._tracked: dict[InstanceKey, Tracked] = {}
        self._listings: dict[str, Listing] = {}
        self._highest = 0
        self._unconfirmed: dict[str, tuple[int, float]] = {}
        self._distrusted_run = 0
        self._run = 0
        records.on_change(lambda record: self.outbox.add(record.key))

    # -- reading ---------------------------------------------------------------------------------

    def state(self) -> ViewState:
        """How far what the registry answers can be trusted."""
        return ViewState(self.synced, self.age, self.stale, self.failure)

    @property
    def synced(self) -> bool:
        """Whether every scope was listed in whole at least once."""
        return all(view.listed for view in self.views.values())

    @property
    def age(self) -> float:
        """Seconds since the oldest of the views was last proven current."""
        now = self.records.clock.monotonic()
        return max(view.age(now) for view in self.views.values())

    @property
    def failure(self) -> str | None:
        """Why the last LIST of a scope failed, or ``None``."""
        return next((view.failure for view in self.views.values() if view.failure), None)

    @property
    def stale(self) -> bool:
        """Whether the view is older than a quiet and healthy cluster explains."""
        return self.failure is not None or self.age > 1.5 * self.resync_interval

    def view_of(self, namespace: str) -> View | None:
        """The view that holds a namespace; ``None`` when it is not seen."""
        return self.views.get(namespace) or self.views.get(WHOLE_CLUSTER)

    # -- time ------------------------------------------------------------------------------------

    def attend(self) -> float:
        """Look at the clock and expire what is due; returns the seconds until the next look."""
        self.records.expire()
        for view in self.views.values():
            self.records.expire_on(view.timeline)
        local = self.records.local
        deadline = local.next_deadline()
        if deadline is None:
            return MAX_STEP_SECONDS
        return min(max(deadline - local.now, 0.001), MAX_STEP_SECONDS)

    def next_list(self, scope: str) -> float:
        """Seconds until a LIST of that scope is due."""
        return self.views[scope].next_list(self.records.attend(), self.resync_interval)

    # -- the watch -------------------------------------------------------------------------------

    def watch_started(self, run: int) -> None:
        """A new watch begins; it lists everything anew."""
        self._run = run
        self._unconfirmed.clear()
        self.outbox.abandon()

    def changed(self, observed: Observed, *, run: int, listed: bool = False) -> None:
        """The watch shows an object. ``listed``: from a list of its own, which may be older."""
        view = self._hear(observed.key, run, proof=not listed)
        if view is None:
            return
        self._confirm(observed.uid, observed.version)
        self._take(observed, view)

    def deleted(self, key: InstanceKey, uid: str, version: int, *, run: int) -> None:
        """The watch shows that an object is gone."""
        if self._hear(key, run, proof=True) is None:
            return
        for listing in self._listings.values():
            listing.gone.add(uid)
        self._highest = max(self._highest, version)
        tracked = self._tracked.get(key)
        if tracked is not None and tracked.uid == uid:
            self._drop(key)

    def _hear(self, key: InstanceKey, run: int, *, proof: bool) -> View | None:
        view = self.view_of(key.namespace)
        if view is None or run <= self._distrusted_run:
            return None
        if proof:
            view.prove(self.records.attend(), self.records.clock.monotonic())
        for listing in self._listings.values():
            listing.touched.add(key)
        return view

    def _confirm(self, uid: str, version: int) -> None:
        found = self._unconfirmed.get(uid)
        if found is not None and version >= found[0]:
            del self._unconfirmed[uid]

    # -- the LIST --------------------------------------------------------------------------------

    def begin_list(self, scope: str) -> Listing:
        """Note what events say from now on, until the LIST is taken in."""
        local, monotonic = self.records.attend(), self.records.clock.monotonic()
        listing = Listing(scope, local, monotonic, self._highest)
        self._listings[scope] = listing
        return listing

    def fail_list(self, listing: Listing, why: str) -> None:
        """The LIST cannot be had: the view stays as it is, and says so."""
        self._listings.pop(listing.scope, None)
        self.views[listing.scope].interrupt(why)

    def end_list(
        self,
        listing: Listing,
        objects: Mapping[InstanceKey, Observed],
        version: int,
        *,
        unreadable: Iterable[InstanceKey] = (),
    ) -> Repairs:
        """Take in a whole LIST. ``version`` is its resourceVersion.

        ``unreadable`` are the objects that exist but cannot be understood: what was known of them
        stays.
        """
        self._listings.pop(listing.scope, None)
        view = self.views[listing.scope]
        rewound = self._went_back(listing, objects, version)
        if rewound:
            self._forget_versions()
        blind = self._is_blind()
        self._highest = max(self._highest, version)
        view.prove_by_list(listing.began_local, listing.began_monotonic)
        added = changed = removed = 0
        for key, observed in objects.items():
            if observed.uid in listing.gone and not rewound:
                continue
            known = self._tracked.get(key)
            if self._take(observed, view, rewound=rewound):
                self._unconfirmed[observed.uid] = (observed.version, self.records.local.now)
                added += known is None or known.uid != observed.uid
                changed += known is not None and known.uid == observed.uid
        present = objects.keys() | set(unreadable)
        for key in tuple(self._tracked):
            if key in present or self.view_of(key.namespace) is not view:
                continue
            if key not in listing.touched or rewound:
                self._drop(key)
                removed += 1
        self.repairs.update(added=added, changed=changed, removed=removed)
        self.attend()
        return Repairs(added, changed, removed, rewound, blind)

    def _went_back(
        self, listing: Listing, objects: Mapping[InstanceKey, Observed], version: int
    ) -> bool:
        """Whether the cluster was restored to an earlier state.

        Either its version is below one that was seen, or it has grown past it meanwhile and an
        object shows a version below the one that this very LIST would have to hold.
        """
        return version < listing.floor or any(
            known.uid == observed.uid and observed.version < known.version <= version
            for key, observed in objects.items()
            if (known := self._tracked.get(key)) is not None
        )

    def _forget_versions(self) -> None:
        for tracked in self._tracked.values():
            tracked.version = 0
        for listing in self._listings.values():
            listing.gone.clear()
            listing.floor = 0
        self._highest = 0
        self._distrusted_run = self._run
        self._unconfirmed.clear()

    def _is_blind(self) -> bool:
        now = self.records.local.now
        return any(now - found >= self.resync_interval for _, found in self._unconfirmed.values())

    # -- one object ------------------------------------------------------------------------------

    def _take(self, observed: Observed, view: View, *, rewound: bool = False) -> bool:
        """Take in the state of one object unless a newer one is known; returns whether it did."""
        key, tracked = observed.key, self._tracked.get(observed.key)
        if tracked is not None and observed.version <= tracked.version:
            return False
        self._highest = max(self._highest, observed.version)
        if tracked is None or tracked.uid != observed.uid:
            self._meet(observed, view)
        else:
            self._follow(observed, tracked, view, rewound=rewound)
        tracked, record = self._tracked[key], self.records.get(key)
        if record is not None and is_current(record, tracked.generation, tracked.reported):
            self.outbox.discard(key)
        else:
            self.outbox.add(key)
        return True

    def _meet(self, observed: Observed, view: View) -> None:
        """An object that was not known: take it up where its status says that it was."""
        tracked = Tracked(observed.uid, observed.version, observed.generation, observed.reported)
        self._tracked[observed.key] = tracked
        record = self._put(observed)
        reported = observed.reported
        if reported is None:
            self._judge(observed, tracked, record, view)
            return
        tracked.beats.remember(observed.heartbeat)
        if reported.incarnation == observed.incarnation:
            self.records.resume(record, _life_in(reported), view.timeline, reported.last_beat)

    def _follow(self, observed: Observed, tracked: Tracked, view: View, *, rewound: bool) -> None:
        """A later state of a known object. A beat that comes with a new address is not one."""
        record = self.records.get(observed.key)
        moved = record is not None and record.spec.address != observed.spec.address
        tracked.version = observed.version
        tracked.generation = observed.generation
        tracked.reported = observed.reported
        record = self._put(observed)
        if moved or rewound:
            tracked.beats.remember(observed.heartbeat)
        else:
            self._judge(observed, tracked, record, view)

    def _put(self, observed: Observed) -> Record:
        return self.records.put(
            observed.key,
            observed.uid,
            observed.spec,
            created=observed.created,
            labels=dict(observed.labels),
            deleting=observed.deleting,
        )

    def _judge(self, observed: Observed, tracked: Tracked, record: Record, view: View) -> None:
        beat = tracked.beats.observe(observed.heartbeat, observed.heartbeat_applied)
        if beat is not Beat.UNCHANGED:
            self.beats[beat] += 1
        if beat is Beat.ACCEPTED and not record.deregistered:
            self.records.beat(record, view.timeline)

    def _drop(self, key: InstanceKey) -> None:
        del self._tracked[key]
        self.outbox.discard(key)
        self.records.remove(key)

    # -- statuses --------------------------------------------------------------------------------

    def plan_writes(self, limit: int) -> list[StatusWrite]:
        """At most that many statuses to write now; each is to be answered by one of the below."""
        if not self.synced:
            return []
        self.attend()
        writes: list[StatusWrite] = []
        for key in self.outbox.ready(self.records.local.now):
            if len(writes) == limit:
                break
            tracked, record = self._tracked.get(key), self.records.get(key)
            reported = None if tracked is None else tracked.reported
            if (
                tracked is None
                or record is None
                or is_current(record, tracked.generation, reported)
            ):
                self.outbox.discard(key)
                continue
            now = self.records.clock.wall()
            writes.append(compose(record, tracked.version, tracked.generation, reported, now))
            self.outbox.sent(key)
        return writes

    def write_answered(self, key: InstanceKey, answer: Observed | None) -> None:
        """The API server showed the object, by the write or by reading it again after a conflict.

        ``None``: the object is gone; that is for an event or a LIST to say.
        """
        self.outbox.settle(key)
        tracked, view = self._tracked.get(key), self.view_of(key.namespace)
        if answer is None:
            self.outbox.discard(key)
        elif tracked is not None and tracked.uid == answer.uid and view is not None:
            self._take(answer, view)

    def write_failed(self, key: InstanceKey) -> None:
        """The write failed otherwise: it is tried again later."""
        self.outbox.fail(key, self.records.local.now)


def _life_in(reported: Reported) -> Life:
    """What an earlier process had heard of an incarnation, going by its status."""
    if reported.reason == Reason.HEARTBEAT_RECEIVED:
        return Life.HEARD
    if reported.phase == Phase.UNHEALTHY:
        return Life.SILENT
    return Life.UNHEARD
