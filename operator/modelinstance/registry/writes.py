"""Which statuses are written now, and what follows from how that went."""

from __future__ import annotations

from dataclasses import dataclass

from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror import Mirror
from modelinstance.registry.observed import Observed
from modelinstance.registry.pacing import MAX_PAUSE_SECONDS, Pace, WriteResult
from modelinstance.registry.statuses import StatusWrite


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
        mirror.records.on_change(lambda record: self._outbox.changed(record.key))

    def plan(self, limit: int) -> StatusPlan:
        """At most that many statuses to write now; each is to be answered by `ended`."""
        now = self._mirror.records.attend()
        writes = self._mirror.plan_writes(min(limit, self.pace.allowed(now)))
        self.pace.spend(len(writes))
        more = len(writes) < limit and next(self._outbox.ready(now), None) is not None
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

    def abandon(self) -> None:
        """Whoever wrote is gone; the mirror knows what that means for what was under way."""
        self.pace.abandon()
