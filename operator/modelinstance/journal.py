"""The log of what becomes of instances: a line for each change, and not too many of them."""

from __future__ import annotations

import logging

from modelinstance.registry.health.outages import Outage
from modelinstance.registry.mirror.buckets import TokenBucket
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.changes import Change, Changes

logger = logging.getLogger("modelinstance.instances")

BURST, RATE = 100, 10.0
"""How many lines at once, and how many a second in the long run."""
SUMMARY_SECONDS = 10.0
"""How often is told at most how many changes had no line."""


class Journal:
    """Logs the changes; those beyond the limit are counted, and the count is logged."""

    def __init__(self, records: Records, mirror: Mirror | None = None) -> None:
        self.changes = Changes(records, mirror)
        self._records = records
        self._bucket = TokenBucket(BURST, RATE, records.local.now)
        self._more = 0
        self._next_summary = 0.0
        self.changes.on_change(self._write)
        records.guard.on_outage.append(self._write_outage)

    def look(self) -> bool:
        """Tell what has changed; returns whether there is more to look at right away."""
        more, now = self.changes.look(), self._records.local.now
        if self._more and not more and now >= self._next_summary:
            logger.warning("… and %d more changes", self._more)
            self._more, self._next_summary = 0, now + SUMMARY_SECONDS
        return more

    def _write_outage(self, outage: Outage) -> None:
        if not self._bucket.take(self._records.local.now):
            self._more += 1
            return
        logger.log(
            logging.WARNING if outage.began else logging.INFO,
            "%s: %s", outage.reason, outage,
            extra={"fields": {"model": outage.group, "reason": outage.reason}},
        )  # fmt: skip

    def _write(self, change: Change) -> None:
        if not self._bucket.take(self._records.local.now):
            self._more += 1
            return
        logger.log(
            logging.WARNING if change.warning else logging.INFO,
            "%s of model %s is %s: %s: %s",
            change.key, change.model, change.phase, change.reason, change.message,
            extra={
                "fields": {
                    "namespace": change.key.namespace,
                    "name": change.key.name,
                    "model": change.model,
                    "phase": change.phase,
                    "reason": change.reason,
                }
            },
        )  # fmt: skip
