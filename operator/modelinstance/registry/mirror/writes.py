"""Which statuses are written now, and what follows from how that went."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.pacing import MAX_PAUSE_SECONDS, Pace, WriteResult

MAX_FAILED = 10_000
"""Of how many objects it is known that their last write failed, the latest."""


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """The statuses to write now.

    ``wait``: seconds until the rate allows more of those that are due; ``None`` if none are, or
    more than that is in the way. ``paused``: the API server is to be left alone.
    """

    writes: list[StatusWrite]
    wait: float | None
    paused: bool


class StatusWrites:
    """Keeps the statuses in step with what the mirror holds, at a bounded rate."""

    def __init__(self, mirror: Mirror, rate: float) -> None:
        self.pace = Pace(mirror.records.random, rate)
        self._mirror = mirror
        self._outbox = mirror.outbox
        self._written = 0
        self._failed_at: OrderedDict[InstanceKey, int] = OrderedDict()
        mirror.records.on_change(lambda record: self._outbox.changed(record.key))

    def plan(self, limit: int) -> StatusPlan:
        """At most that many statuses to write now; each is to be answered by `ended`."""
        now = self._mirror.records.attend()
        writes = self._mirror.plan_writes(min(limit, self.pace.allowed(now)))
        self.pace.spend(len(writes))
        more = (
            self._mirror.synced
            and len(writes) < limit
            and next(self._outbox.ready(now), None) is not None
        )
        return StatusPlan(writes, self.pace.wait(now) if more else None, self.pace.is_paused(now))

    def ended(
        self,
        key: InstanceKey,
        result: WriteResult,
        answer: Observed | None = None,
        retry_after: float = 0.0,
    ) -> None:
        """A write has ended; ``answer`` is the object as the API server then showed it, if so.

        What concerns all writes holds all of them up, and else only the one.
        """
        now = self._mirror.records.attend()
        if self._is_its_own(key, result):
            result = WriteResult.FAILED
        self.pace.ended(result, now, retry_after)
        if answer is not None:
            self._mirror.write_answered(key, answer)
        elif result is WriteResult.INVALID:
            self._outbox.refuse(key, now)
        elif result is WriteResult.THROTTLED:
            self._outbox.settle(key)
        elif result is WriteResult.UNAVAILABLE:
            self._outbox.fail(key, now, most=MAX_PAUSE_SECONDS)
        else:
            self._mirror.write_failed(key, retry_after)

    def _is_its_own(self, key: InstanceKey, result: WriteResult) -> bool:
        """Whether it is the trouble of one object that the API server cannot do what it should.

        It is where that was so before, and others were written since: one that is too large, say,
        must not hold up all others.
        """
        self._written += result is WriteResult.WRITTEN
        if result is not WriteResult.UNAVAILABLE:
            self._failed_at.pop(key, None)
            return False
        before = self._failed_at.pop(key, self._written)
        self._failed_at[key] = self._written
        if len(self._failed_at) > MAX_FAILED:
            self._failed_at.popitem(last=False)
        return self._written > before

    def abandon(self) -> None:
        """Whoever wrote is gone; the mirror knows what that means for what was under way."""
        self.pace.abandon()
