"""Which Kubernetes Events are to be written: few enough, whatever comes.

What is said again of an object within ten minutes raises the count of the Event that stands.
Requests are limited for each object and over all, and so is what waits and what is remembered. A
hundred thousand instances that fall silent at once cost a burst and then ten requests a second,
for as long as something waits. What there is to tell of the registry itself goes first, and is not
given up for what there is to tell of others.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b

from modelinstance.registry.instance import NO_UID, InstanceKey
from modelinstance.registry.mirror.buckets import TokenBucket
from modelinstance.registry.mirror.outbox import jittered
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.changes import Change

REPEATED_WITHIN_SECONDS = 600.0
UPDATE_SECONDS = 30.0
"""How long an Event stands before its count is raised again."""

BURST, RATE = 50, 10.0
"""How many requests at once, and how many a second in the long run."""
OBJECT_BURST, OBJECT_RATE = 5, 1 / 30
"""The same for one object."""

MAX_WAITING = 1000
"""How many wait to be written; the oldest are given up, but for those of the registry itself."""
MAX_WAITING_OF_OBJECT = 5
MAX_REMEMBERED = 4096
"""How many Events, and how many objects, are remembered."""

REST_SECONDS = 60.0
"""How long a namespace is left alone whose Events we may not write."""
MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 60.0
MAX_MESSAGE = 1000
"""How long a message may be, in characters: the API server takes 1024."""
MAX_NAME_OF_OBJECT = 200

REGISTRY_KIND = "InstanceRegistry"
"""The kind of the object that stands for the registry itself."""

_Topic = tuple[str, str, str]
"""Whose uid, the reason and the message: what is said again is the same in these."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    kind: str
    key: InstanceKey
    uid: str


@dataclass(frozen=True, slots=True)
class EventWrite:
    """An Event to be created, or, if it ``stands`` already, one whose count is to be raised."""

    subject: Subject
    name: str
    stands: bool
    reason: str
    message: str
    warning: bool
    first: datetime
    last: datetime
    count: int


class EventOutcome(StrEnum):
    """What came of a write."""

    WRITTEN = "written"
    EXPIRED = "expired"
    """The Event whose count was to be raised is none any more: they are kept for an hour."""
    REFUSED = "refused"
    """It will never be taken, as in a namespace that is being deleted."""
    FORBIDDEN = "forbidden"
    FAILED = "failed"


@dataclass(slots=True)
class _Said:
    """Something that was said of an object; ``told`` of the ``count`` times stand in its Event."""

    subject: Subject
    reason: str
    message: str
    warning: bool
    name: str
    first: datetime
    last: datetime
    again_until: float
    count: int = 1
    told: int = 0
    not_before: float = 0.0
    delay: float = 0.0

    @property
    def topic(self) -> _Topic:
        return (self.subject.uid, self.reason, self.message)

    @property
    def goes_first(self) -> bool:
        """It is of the registry itself, and not told yet: there are few of these at a time."""
        return self.subject.kind == REGISTRY_KIND and self.told < self.count


class EventBook:
    """Takes in what there is to tell, and plans the requests.

    ``registry`` gives the InstanceRegistry object, if there is one. ``counts`` are what came of
    what was told: ``written`` as an Event of its own, ``aggregated`` into the count of one, or
    ``dropped``; and the requests that ``failed``.
    """

    def __init__(
        self,
        records: Records,
        *,
        registry: Callable[[], Subject | None],
        counts: Counter[str],
    ) -> None:
        self._records = records
        self._registry = registry
        self._counts = counts
        self._said: OrderedDict[_Topic, _Said] = OrderedDict()
        self._waiting: OrderedDict[_Topic, _Said] = OrderedDict()
        self._waiting_of: Counter[str] = Counter()
        self._all = TokenBucket(BURST, RATE, records.local.now)
        self._of_object: OrderedDict[str, TokenBucket] = OrderedDict()
        self._resting: dict[str, float] = {}
        self._not_before = 0.0
        self._delay = 0.0

    # -- being told ------------------------------------------------------------------------------

    def note_change(self, change: Change) -> None:
        """An instance has changed; without a resource there is nothing to have an Event."""
        if change.uid != NO_UID:
            subject = Subject("ModelInstance", change.key, change.uid)
            self.note(subject, change.reason, change.message, warning=change.warning)

    def note_registry(self, reason: str, message: str, warning: bool) -> None:
        """Something is to be told of the registry itself."""
        subject = self._registry()
        if subject is None:
            self._counts["dropped"] += 1
        else:
            self.note(subject, reason, message, warning=warning)

    def note(
        self, subject: Subject, reason: str, message: str, *, warning: bool, once: bool = False
    ) -> None:
        """Something is to be told of an object.

        ``once``: its Event has the same name in every process, so that the API server refuses to
        make it twice.
        """
        now, wall = self._records.local.now, self._records.clock.wall()
        message = re.sub(r"\s+", " ", message)[:MAX_MESSAGE]
        topic = (subject.uid, reason, message)
        said = self._said.get(topic)
        if said is not None and (topic in self._waiting or now < said.again_until):
            said.count += 1
            said.last = wall
            self._counts["aggregated"] += 1
        else:
            name = _name(subject, topic, "" if once else wall.isoformat())
            said = _Said(subject, reason, message, warning, name, wall, wall, 0.0)
            self._said[topic] = said
        said.again_until = now + REPEATED_WITHIN_SECONDS
        self._said.move_to_end(topic)
        if len(self._said) > MAX_REMEMBERED:
            self._drop(_oldest(self._said))
        self._wait(said)

    def _wait(self, said: _Said) -> None:
        topic, uid = said.topic, said.subject.uid
        if topic in self._waiting:
            return
        self._waiting[topic] = said
        self._waiting_of[uid] += 1
        if self._waiting_of[uid] > MAX_WAITING_OF_OBJECT:
            self._drop(next(each for each in self._waiting if each[0] == uid))
        elif len(self._waiting) > MAX_WAITING:
            self._drop(_oldest(self._waiting))

    def _leave(self, topic: _Topic) -> bool:
        """It does not wait any more; returns whether it did."""
        if self._waiting.pop(topic, None) is None:
            return False
        self._waiting_of[topic[0]] -= 1
        if not self._waiting_of[topic[0]]:
            del self._waiting_of[topic[0]]
        return True

    def _drop(self, topic: _Topic) -> None:
        """Forget what was said; what of it had yet to be told is lost."""
        said = self._said.pop(topic, None)
        if self._leave(topic) and said is not None:
            self._counts["dropped"] += 1

    # -- writing ---------------------------------------------------------------------------------

    def plan(self, limit: int) -> list[EventWrite]:
        """At most that many to write now; each is to be answered by `settled`."""
        now = self._records.attend()
        if not self._waiting or now < self._not_before:
            return []
        if self._delay:
            limit = 1  # the last one failed: see whether it is better now
        self._resting = {where: until for where, until in self._resting.items() if until > now}
        writes: list[EventWrite] = []
        for topic, said in sorted(self._waiting.items(), key=lambda item: not item[1].goes_first):
            if len(writes) == limit or not self._all.has(now):
                break
            if said.not_before > now or said.subject.key.namespace in self._resting:
                continue
            if self._bucket(said.subject.uid, now).take(now):
                self._all.take(now)
                self._leave(topic)
                said.not_before = math.inf  # until it is settled
                writes.append(_write(said))
        return writes

    def _bucket(self, uid: str, now: float) -> TokenBucket:
        bucket = self._of_object.get(uid)
        if bucket is None:
            bucket = self._of_object[uid] = TokenBucket(OBJECT_BURST, OBJECT_RATE, now)
            if len(self._of_object) > MAX_REMEMBERED:
                self._of_object.popitem(last=False)
        self._of_object.move_to_end(uid)
        return bucket

    def settled(self, write: EventWrite, outcome: EventOutcome, retry_after: float = 0.0) -> None:
        """How a write went; ``retry_after`` is for how long the API server wants to be left alone.

        What failed is tried again, after a growing time.
        """
        now = self._records.local.now
        if outcome is not EventOutcome.FAILED:
            self._delay = 0.0
        elif now >= self._not_before:  # of those that failed at once, one counts
            self._delay = _grown(self._delay)
            self._not_before = now + jittered(self._records.random, max(self._delay, retry_after))
        if outcome is EventOutcome.FORBIDDEN:
            self._resting[write.subject.key.namespace] = now + REST_SECONDS
        if outcome in {EventOutcome.FAILED, EventOutcome.FORBIDDEN}:
            self._counts["failed"] += 1
        elif outcome is EventOutcome.WRITTEN and not write.stands:
            self._counts["written"] += 1
        topic = (write.subject.uid, write.reason, write.message)
        said = self._said.get(topic)
        if said is None or said.name != write.name:
            if outcome is not EventOutcome.WRITTEN:
                self._counts["dropped"] += 1  # it was forgotten meanwhile
            return
        said.not_before = now
        if outcome is EventOutcome.WRITTEN:
            said.told, said.not_before, said.delay = write.count, now + UPDATE_SECONDS, 0.0
        elif outcome is EventOutcome.EXPIRED:
            said.count, said.told, said.first = said.count - said.told, 0, said.last
            said.name = _name(said.subject, topic, said.first.isoformat())
            self._wait(said)
        elif outcome is EventOutcome.REFUSED:
            self._leave(topic)
            del self._said[topic]
            self._counts["dropped"] += 1
        else:
            if outcome is EventOutcome.FAILED:  # lest it hold up the others, if it alone fails
                said.delay = _grown(said.delay)
                said.not_before = now + jittered(self._records.random, said.delay)
            self._wait(said)


def _oldest(said: OrderedDict[_Topic, _Said]) -> _Topic:
    """What is given up first where there is too much."""
    return next(topic for topic, each in said.items() if not each.goes_first)


def _grown(delay: float) -> float:
    return min(2 * delay or MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)


def _name(subject: Subject, topic: _Topic, when: str) -> str:
    """A name that no other Event has: it says what the Event is about, and since when."""
    digest = blake2b("\0".join((*topic, when)).encode(), digest_size=8).hexdigest()
    return f"{subject.key.name[:MAX_NAME_OF_OBJECT].rstrip('.-')}.{digest}"


def _write(said: _Said) -> EventWrite:
    return EventWrite(
        said.subject,
        said.name,
        stands=said.told > 0,
        reason=said.reason,
        message=said.message,
        warning=said.warning,
        first=said.first,
        last=said.last,
        count=said.count,
    )
