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

from modelinstance.registry.health.observed import Observed, Reported
from modelinstance.registry.health.record import Record
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.tracker import Tracker
from modelinstance.registry.mirror.versions import UNKNOWN, Versions
from modelinstance.registry.mirror.view import PodsView, View, ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import MAX_STEP_SECONDS

WHOLE_CLUSTER = ""
"""The scope of a view that holds all namespaces."""


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
    seconds. ``follows_pods`` is whether anybody looks at pods.
    """

    def __init__(
        self,
        records: Records,
        *,
        scopes: Iterable[str] = (WHOLE_CLUSTER,),
        resync_interval: float = 60.0,
        follows_pods: bool = True,
    ) -> None:
        self.records = records
        self.resync_interval = resync_interval
        local, monotonic = records.attend(), records.clock.monotonic()
        self.views = {scope: View(local, monotonic) for scope in scopes}
        self.pods_views = {scope: PodsView(monotonic) for scope in self.views if follows_pods}
        self._versions = Versions()
        self._tracker = Tracker(records, self._versions, follows_pods=follows_pods)
        self.outbox = self._tracker.outbox
        self.beats = self._tracker.beats
        self.repairs: Counter[str] = Counter()
        self._listings: dict[str, Listing] = {}
        self._run = 0
        self._watching = False
        self._distrusted_run = 0
        records.ask_stale(self._hides)

    # -- reading ---------------------------------------------------------------------------------

    def state(self) -> ViewState:
        """How far what the registry answers can be trusted."""
        return ViewState(self.synced, self.age, self.stale, self.failure)

    def pods_state(self, namespace: str = WHOLE_CLUSTER) -> ViewState | None:
        """How far the evidence of pods can be trusted; ``None`` if nobody looks at them.

        It is that of one namespace, or else the worst of all that are seen.
        """
        views = self.pods_views
        view = (views.get(namespace) or views.get(WHOLE_CLUSTER)) if namespace else None
        now = self.records.clock.monotonic()
        states = [
            each.state(now, self.resync_interval)
            for each in (views.values() if view is None else (view,))
        ]
        if not states:
            return None
        return ViewState(
            all(state.synced for state in states),
            max(state.age for state in states),
            any(state.stale for state in states),
            next((state.failure for state in states if state.failure), None),
        )

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

    def _hides(self, record: Record) -> bool:
        """Whether heartbeats of a record may have come that cannot be seen."""
        view = self.view_of(record.key.namespace)
        expected_there = view is not None and record.timeline in {None, view.timeline}
        return expected_there and self.stale

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
        self._run, self._watching = run, True
        self._versions.new_watch()
        self.outbox.abandon()

    def watch_ended(self) -> None:
        """The watch has ended: it is not blind, there is none."""
        self._watching = False

    def changed(self, observed: Observed, *, run: int, listed: bool = False) -> None:
        """The watch shows an object. ``listed``: from a list of its own, which may be older."""
        view = self._hear(observed.key, run, proof=not listed)
        if view is None:
            return
        self._versions.told(observed.uid, observed.version)
        self._tracker.take(observed, view)

    def answered(self, observed: Observed) -> None:
        """The API server showed an object in answer to a write of ours."""
        view = self.view_of(observed.key.namespace)
        if view is None:
            return
        for listing in self._listings.values():
            listing.touched.add(observed.key)
        self._tracker.take(observed, view)

    def registration_of(self, key: InstanceKey) -> str | None:
        """The digest of the registration that a resource was written from, if it was."""
        tracked = self._tracker.get(key)
        return None if tracked is None else tracked.registration

    def pod_digest_of(self, key: InstanceKey) -> str | None:
        """The digest of what a pod asked for that a resource was written from, if it was."""
        tracked = self._tracker.get(key)
        return None if tracked is None else tracked.pod_digest

    def reported_of(self, key: InstanceKey) -> Reported | None:
        """What the status of a resource says, as it was last seen."""
        tracked = self._tracker.get(key)
        return None if tracked is None else tracked.reported

    def version_of(self, key: InstanceKey) -> int | None:
        """The resourceVersion of a resource that was last seen."""
        tracked = self._tracker.get(key)
        return None if tracked is None else tracked.version

    def deleted(self, key: InstanceKey, uid: str, version: int, *, run: int) -> None:
        """The watch shows that an object is gone."""
        if self._hear(key, run, proof=True) is None:
            return
        for listing in self._listings.values():
            listing.gone.add(uid)
        self._versions.saw(version)
        self._versions.told_of_end(uid)
        tracked = self._tracker.get(key)
        if tracked is not None and tracked.uid == uid:
            self._tracker.drop(key)

    def _hear(self, key: InstanceKey, run: int, *, proof: bool) -> View | None:
        view = self.view_of(key.namespace)
        if view is None or run <= self._distrusted_run:
            return None
        if proof:
            view.prove(self.records.attend(), self.records.clock.monotonic())
        for listing in self._listings.values():
            listing.touched.add(key)
        return view

    # -- the LIST --------------------------------------------------------------------------------

    def begin_list(self, scope: str) -> Listing:
        """Note what events say from now on, until the LIST is taken in."""
        local, monotonic = self.records.attend(), self.records.clock.monotonic()
        listing = Listing(scope, local, monotonic, self._versions.highest)
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
        view, now = self.views[listing.scope], self.records.attend()
        rewound = self._versions.went_back(listing.floor, version, self._tracker.pairs(objects))
        if rewound:
            self._forget_versions()
        blind = self._watching and self._versions.is_blind(now, self.resync_interval)
        self._versions.saw(version)
        view.prove_by_list(
            listing.began_local, listing.began_monotonic, version, took=now - listing.began_local
        )
        added = changed = removed = 0
        for key, observed in objects.items():
            if observed.uid in listing.gone and not rewound:
                continue
            known = self._tracker.get(key)
            if self._tracker.take(observed, view, from_list=True):
                self._versions.only_listed(observed.uid, observed.version, now)
                added += known is None or known.uid != observed.uid
                changed += known is not None and known.uid == observed.uid
        present = objects.keys() | set(unreadable)
        for key, tracked in self._tracker:
            if key in present or self.view_of(key.namespace) is not view:
                continue
            if key not in listing.touched or tracked.version == UNKNOWN:
                self._tracker.drop(key)
                removed += 1
        self.repairs.update(added=added, changed=changed, removed=removed)
        if self.synced:
            self.records.guard.settle()
        self.attend()
        return Repairs(added, changed, removed, rewound, blind)

    def _forget_versions(self) -> None:
        """The cluster was restored: every state that is shown next is the truth."""
        self._tracker.forget_versions()
        for view in self.views.values():
            view.listed_version = UNKNOWN
        for listing in self._listings.values():
            listing.gone.clear()
            listing.floor = UNKNOWN
        self._versions.restart()
        self._distrusted_run = self._run

    # -- statuses --------------------------------------------------------------------------------

    def plan_writes(self, limit: int) -> list[StatusWrite]:
        """At most that many statuses to write now; each is to be answered by one of the below."""
        if not self.synced:
            return []
        self.attend()
        return self._tracker.plan_writes(limit)

    def write_answered(self, key: InstanceKey, answer: Observed) -> None:
        """The API server showed the object, by the write or read again after a conflict."""
        tracked, view = self._tracker.get(key), self.view_of(key.namespace)
        if tracked is not None and tracked.uid == answer.uid and view is not None:
            self._tracker.take(answer, view)
        self.outbox.repeat(key, self.records.local.now)

    def write_failed(self, key: InstanceKey, retry_after: float = 0.0) -> None:
        """The write failed, or there is no such object: it is tried again while it is known."""
        self.outbox.fail(key, self.records.local.now, retry_after)
