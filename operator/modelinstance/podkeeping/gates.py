"""Keeps our readiness gate of pods in step with what the registry would do with them.

A Deployment counts a pod with the gate only when routers are sent there, so that a rolling update
never leaves a model without any.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator

from modelinstance import api
from modelinstance.cluster.client import CONFLICT, FORBIDDEN, NOT_FOUND, ClusterError
from modelinstance.cluster.outcomes import FailureLog
from modelinstance.cluster.podfacts import facts_of
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.translate import UnreadableError
from modelinstance.registry.health.pods import Gate, PodFacts
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.outbox import Outbox

logger = logging.getLogger(__name__)

BATCH = 10
REFUSED_RETRY_SECONDS = 60.0


class Gates:
    """Patches the statuses of pods that have the gate, where it does not show what is so.

    One that is being deleted is left alone: it counts for nobody any more.
    """

    def __init__(
        self, client: PodClient, mirror: Mirror, book: PodBook, writes: Counter[tuple[str, str]]
    ) -> None:
        self._client = client
        self._mirror = mirror
        self._book = book
        self._writes = writes
        self._outbox = Outbox(mirror.records.random)
        self._failures = FailureLog(logger)

    def look(self, key: InstanceKey) -> None:
        """A pod, or an instance of it, may have changed."""
        facts = self._book.get(key)
        if facts is not None and facts.gated:
            self._outbox.add(key)

    async def write(self) -> bool:
        """Patch a few; returns whether there were any, and none failed."""
        if not self._mirror.synced:
            return False
        batch = list(itertools.islice(self._due(), BATCH))
        for facts, _ in batch:
            self._outbox.sent(facts.key)
        done = await asyncio.gather(*(self._write(facts, gate) for facts, gate in batch))
        return bool(batch) and all(done)

    def _due(self) -> Iterator[tuple[PodFacts, Gate]]:
        for key in self._outbox.ready(self._mirror.records.local.now):
            facts = self._book.get(key)
            if facts is None or not facts.gated or facts.terminating or facts.ended:
                self._outbox.discard(key)
            elif self._book.is_listed(key.namespace):
                gate = self._book.gate_of(facts)
                if facts.gate == gate:
                    self._outbox.discard(key)
                else:
                    yield facts, gate

    async def _write(self, facts: PodFacts, gate: Gate) -> bool:
        result, wait = "written", 0.0
        try:
            shown = facts_of(await self._client.set_gate(facts, gate))
            if api.MODEL_LABEL in shown.labels:
                self._book.answered(shown)
            if shown.gate != gate:
                result = "conflict"
        except ClusterError as error:
            gone = error.status == NOT_FOUND
            result = "gone" if gone else "conflict" if error.status == CONFLICT else "failed"
            wait = REFUSED_RETRY_SECONDS if error.status == FORBIDDEN else error.retry_after
            if result == "failed":
                self._failures.say(facts.key, str(error))
        except UnreadableError as error:
            result = "failed"
            logger.warning("%s", error)
        self._writes["gate", result] += 1
        if result == "written":
            self._outbox.settle(facts.key)
            return True
        self._outbox.fail(facts.key, self._mirror.records.local.now, wait)
        return False
