"""What is wrong with a pod, told where its owner looks: in an event on it, and in the log."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, deque

from modelinstance.cluster.client import FORBIDDEN, ClusterError
from modelinstance.cluster.pods import PodClient
from modelinstance.registry.pods import PodFacts

logger = logging.getLogger(__name__)

BATCH = 10
MAX_WAITING = 1000
"""How many wait to be written; the oldest are given up, and stand in the log."""

MAX_SAID = 20
"""How many things that were said of a pod are known; an API server's refusals may all differ."""

Complaint = tuple[PodFacts, str, str]
"""About which pod, the reason in one word, and the message."""


class Complaints:
    """Says each thing of each pod, and not again soon.

    ``writes`` counts the events by what came of them.
    """

    def __init__(self, client: PodClient, writes: Counter[tuple[str, str]]) -> None:
        self._client = client
        self._writes = writes
        self._said: dict[str, deque[tuple[str, str]]] = {}
        self._waiting: deque[Complaint] = deque(maxlen=MAX_WAITING)
        self._refused = False

    def say(self, facts: PodFacts, reason: str, message: str) -> None:
        """Say something of a pod, unless it was said."""
        said = self._said.setdefault(facts.uid, deque(maxlen=MAX_SAID))
        if (reason, message) in said:
            return
        said.append((reason, message))
        logger.warning("pod %s: %s: %s", facts.key, reason, message)
        self._waiting.append((facts, reason, message))

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._said.pop(uid, None)

    async def write(self) -> bool:
        """Make a few of the events that wait; returns whether there were any, and none failed."""
        batch = list(itertools.islice(self._waiting, BATCH))
        for _ in batch:
            self._waiting.popleft()
        done = await asyncio.gather(*map(self._write, batch))
        return bool(batch) and all(done)

    async def _write(self, complaint: Complaint) -> bool:
        try:
            await self._client.warn(*complaint)
        except ClusterError as error:
            self._writes["event", "failed"] += 1
            if error.passing:
                self._waiting.append(complaint)
            elif error.status == FORBIDDEN and not self._refused:
                self._refused = True
                logger.warning("%s; grant the operator to create events; the log has them", error)
            return False
        self._writes["event", "written"] += 1
        return True
