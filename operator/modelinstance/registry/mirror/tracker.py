"""What is known of each resource beside its record, and what a new state of it means.

Here it is decided whether a state is new, where a resource is taken up after a restart, whether
its annotation is a sign of life, and whether its status is out of date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelinstance.registry.health.observed import Observed, Reported
from modelinstance.registry.health.past import past_in
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.record import Record
from modelinstance.registry.health.statuses import StatusWrite, compose, is_current
from modelinstance.registry.instance import NO_UID, InstanceKey
from modelinstance.registry.intake.podbook import is_made_for_pod
from modelinstance.registry.mirror.beats import AnnotationBeats, Beat
from modelinstance.registry.mirror.outbox import Outbox
from modelinstance.registry.mirror.versions import UNKNOWN, Versions
from modelinstance.registry.mirror.view import View
from modelinstance.registry.records.records import Records

NOT_SEEN = "The pod was not looked at yet"


@dataclass(slots=True)
class Tracked:
    """What is known of a resource beside its record."""

    uid: str
    version: int
    generation: int
    reported: Reported | None
    registration: str | None
    pod_digest: str | None
    beats: AnnotationBeats = field(default_factory=AnnotationBeats)


class Tracker:
    """All resources by key, in step with the records.

    ``outbox`` holds the keys whose status may be out of date, ``beats`` counts the values of the
    heartbeat annotation by what they amounted to. ``follows_pods``: what the status says of the pod
    is taken up, since somebody will look at it.
    """

    def __init__(self, records: Records, versions: Versions, *, follows_pods: bool = True) -> None:
        self.records = records
        self.outbox = Outbox(records.random)
        self.beats: Counter[Beat] = Counter()
        self.follows_pods = follows_pods
        self._versions = versions
        self._tracked: dict[InstanceKey, Tracked] = {}
        records.on_change(lambda record: self.outbox.add(record.key))

    def __iter__(self) -> Iterator[tuple[InstanceKey, Tracked]]:
        return iter(tuple(self._tracked.items()))

    def get(self, key: InstanceKey) -> Tracked | None:
        """What is known of a resource."""
        return self._tracked.get(key)

    def pairs(self, objects: Mapping[InstanceKey, Observed]) -> Iterator[tuple[int, int]]:
        """The known and the listed version of each object that is still the same."""
        for key, observed in objects.items():
            known = self._tracked.get(key)
            if known is not None and known.uid == observed.uid:
                yield known.version, observed.version

    def forget_versions(self) -> None:
        """The cluster was restored: every state that is shown next is the truth."""
        for tracked in self._tracked.values():
            tracked.version = UNKNOWN

    def take(self, observed: Observed, view: View, *, from_list: bool = False) -> bool:
        """Take in the state of one object unless a newer one is known; returns whether it did."""
        key, tracked = observed.key, self._tracked.get(observed.key)
        if tracked is not None and observed.version <= tracked.version:
            return False
        known = tracked is not None and tracked.uid == observed.uid
        if not known and not from_list and observed.version <= view.listed_version:
            return False  # had it still been there, the last LIST would have shown it
        self._versions.saw(observed.version)
        if tracked is not None and known:
            self._follow(observed, tracked, view)
        else:
            self._meet(observed, view)
        tracked, record = self._tracked[key], self.records.get(key)
        if record is not None and is_current(record, tracked.generation, tracked.reported):
            self.outbox.discard(key)
        else:
            self.outbox.add(key)
        return True

    def _meet(self, observed: Observed, view: View) -> None:
        """An object that was not known: take it up where its status says that it was.

        If it is the resource of a worker that has already registered, the worker is heard already.
        """
        reported = observed.reported
        tracked = Tracked(
            observed.uid,
            observed.version,
            observed.generation,
            reported,
            observed.registration,
            observed.pod_digest,
        )
        self._tracked[observed.key] = tracked
        held = self.records.get(observed.key)
        awaited = (
            held is not None and held.uid == NO_UID and held.spec.address == observed.spec.address
        )
        if held is not None and awaited:
            self.records.adopt(held, observed.uid, observed.created)
        record = self._put(observed)
        if reported is None:
            self._await_pod(observed, record)
            self._judge(observed, tracked, record, view)
            return
        tracked.beats.remember(observed.heartbeat)
        if reported.incarnation != observed.incarnation:
            self._await_pod(observed, record)
        elif not awaited:
            past = past_in(reported)
            if not self.follows_pods:
                past = replace(past, pod=None)
            ahead = view.uncredited(self.records.attend())
            self.records.resume(record, past, view.timeline, ahead=ahead)

    def _await_pod(self, observed: Observed, record: Record) -> None:
        """What was made for a pod is not ready before anybody knows how the pod is."""
        unseen = record.pod is None and record.owner is not None and is_made_for_pod(record)
        if self.follows_pods and observed.pod_digest is not None and unseen:
            self.records.set_pod(record, PodState(PodCondition.STARTING, NOT_SEEN))

    def _follow(self, observed: Observed, tracked: Tracked, view: View) -> None:
        """A later state of a known object.

        A beat that comes with a new address is not one; nor is what a restored cluster shows.
        """
        record = self.records.get(observed.key)
        moved = record is not None and record.spec.address != observed.spec.address
        restored = tracked.version == UNKNOWN
        tracked.version = observed.version
        tracked.generation = observed.generation
        tracked.reported = observed.reported
        tracked.registration = observed.registration
        tracked.pod_digest = observed.pod_digest
        record = self._put(observed)
        if restored:
            tracked.beats.remember(observed.heartbeat)
        else:
            self._judge(observed, tracked, record, view, moved=moved)

    def _put(self, observed: Observed) -> Record:
        return self.records.put(
            observed.key,
            observed.uid,
            observed.spec,
            created=observed.created,
            labels=dict(observed.labels),
            deleting=observed.deleting,
            owner=observed.owner,
        )

    def _judge(
        self,
        observed: Observed,
        tracked: Tracked,
        record: Record,
        view: View,
        *,
        moved: bool = False,
    ) -> None:
        beat = tracked.beats.observe(observed.heartbeat, observed.heartbeat_applied)
        if beat is Beat.ACCEPTED and moved:
            beat = Beat.MOVED
        if beat is not Beat.UNCHANGED:
            self.beats[beat] += 1
        if beat is Beat.ACCEPTED and not record.deregistered:
            ahead = view.uncredited(self.records.attend())
            self.records.beat(record, view.timeline, ahead=ahead)

    def drop(self, key: InstanceKey) -> None:
        """A resource is gone."""
        del self._tracked[key]
        self.records.remove(key)
        self.outbox.discard(key)

    # -- statuses --------------------------------------------------------------------------------

    def plan_writes(self, limit: int) -> list[StatusWrite]:
        """At most that many statuses to write now; each is to be answered by one of the below."""
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
            writes.append(
                compose(
                    record,
                    message=self.records.explain_lastingly(record),
                    version=tracked.version,
                    generation=tracked.generation,
                    reported=reported,
                    now=self.records.clock.wall(),
                )
            )
            self.outbox.sent(key)
        return writes
