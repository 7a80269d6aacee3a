"""Follows the labelled pods of one scope: a LIST, a watch from it, and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from modelinstance import api
from modelinstance.cluster.client import FORBIDDEN, GONE, NOT_FOUND, ClusterError
from modelinstance.cluster.podfacts import facts_of
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.translate import RawObject, UnreadableError, key_of
from modelinstance.notices import Notices
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.instance import InstanceKey

logger = logging.getLogger(__name__)

SUBJECT = "pods"
REFUSED = frozenset({FORBIDDEN, NOT_FOUND})
MAX_RETRY_SECONDS = 5.0
MAX_REFUSED_RETRY_SECONDS = 60.0
"""The same where a right is missing: somebody has to grant it first."""
MAX_DOUBLINGS = 10
"""A delay is at its most long before that, and a number too large is none of Python's."""
WATCH_SECONDS = 30.0
"""How long a watch goes on before the next takes over: a dead connection is noticed by its end."""
LASTING_SECONDS = 1.0
"""A watch that lasted this long was a good one: the next failure is retried soon."""


class PodDesk(Protocol):
    """Where pods are taken in."""

    def pods_resync_interval(self) -> float:
        """Seconds from one LIST to the next."""
        ...

    def pods_list_began(self) -> int:
        """A LIST begins; returns what `pods_listed` wants to know of that."""
        ...

    def pods_seen(self, scope: str) -> None:
        """The watch shows that the pods of a scope are known as they are now."""
        ...

    def pods_failed(self, scope: str, why: str) -> None:
        """The pods of a scope cannot be listed or watched."""
        ...

    def pods_listed(self, scope: str, pods: Sequence[PodFacts], version: int, floor: int) -> None:
        """All labelled pods of a scope, and the LIST's resourceVersion."""
        ...

    def pod_changed(self, facts: PodFacts) -> None:
        """A pod as it is."""
        ...

    def pod_deleted(self, key: InstanceKey, uid: str, lives: bool) -> None:
        """A pod is gone, or has lost its label and ``lives``."""
        ...


class PodFollower:
    """Follows the pods of one namespace, or of all if ``scope`` is empty."""

    def __init__(self, client: PodClient, desk: PodDesk, scope: str) -> None:
        self._client = client
        self._desk = desk
        self._scope = scope
        self._version = ""
        self._notices = Notices(logger)

    async def run(self) -> None:
        """List and watch until cancelled."""
        loop = asyncio.get_running_loop()
        failures, resync_at = 0, 0.0
        while True:
            began = loop.time()
            try:
                if not self._version:
                    await self._list()
                    resync_at = began + self._desk.pods_resync_interval()
                await self._watch(min(max(resync_at - loop.time(), 1.0), WATCH_SECONDS))
            except ClusterError as error:
                lasted = loop.time() - began > LASTING_SECONDS
                failures = 1 if lasted else failures + 1
                if error.status == GONE:  # the version is too old by now: nothing is wrong
                    self._version = ""
                else:
                    self._desk.pods_failed(self._scope, str(error))
                    self._complain(error)
                await asyncio.sleep(_delay(error, failures))
            else:
                failures = 0
                self._desk.pods_seen(self._scope)
                self._heal()
            if loop.time() >= resync_at:
                self._version = ""

    def _complain(self, error: ClusterError) -> None:
        """Say what is wrong."""
        hint = ""
        if error.status in REFUSED:
            where = f"in namespace {self._scope}" if self._scope else "in all namespaces"
            hint = (
                f"; grant the operator list and watch of pods {where}, or tell it --no-pods. "
                f"Pods are not followed until then, all else goes on"
            )
        self._notices.tell(SUBJECT, f"{error}{hint}")

    def _heal(self) -> None:
        self._notices.settle(SUBJECT, "they are followed again")

    async def _list(self) -> None:
        floor = self._desk.pods_list_began()
        found, version = await self._client.list_pods(self._scope)
        pods = [facts for raw in found if (facts := self._read(raw)) is not None]
        self._desk.pods_listed(self._scope, pods, version, floor)
        self._heal()
        self._version = str(version)

    async def _watch(self, seconds: float) -> None:
        async for kind, raw in self._client.watch_pods(self._scope, self._version, seconds):
            try:
                metadata = raw["metadata"]
                version = metadata["resourceVersion"]
                if kind == "DELETED":
                    lives = "deletionTimestamp" not in metadata
                    self._desk.pod_deleted(key_of(raw), metadata["uid"], lives)
                elif kind in {"ADDED", "MODIFIED"} and (facts := self._read(raw)) is not None:
                    self._desk.pod_changed(facts)
            except (LookupError, TypeError) as error:
                raise ClusterError(
                    "watch of pods", f"an event is not about a pod: {error}"
                ) from error
            self._version = version
            self._desk.pods_seen(self._scope)

    def _read(self, raw: RawObject) -> PodFacts | None:
        """A pod's facts; one that cannot be understood is named once, and left as it was."""
        try:
            facts = facts_of(raw)
        except UnreadableError as error:
            self._notices.tell(
                f"pod {error.key}", f"{error}; is {api.MODEL_LABEL} a label of a pod?"
            )
            return None
        self._notices.forget(f"pod {facts.key}")
        return facts


def _delay(error: ClusterError, failures: int) -> float:
    """The seconds until the next try, after so many failures in a row."""
    grown = 2.0 ** min(failures, MAX_DOUBLINGS)
    if error.status in REFUSED:
        return min(grown, MAX_REFUSED_RETRY_SECONDS)
    return max(min(0.25 * grown, MAX_RETRY_SECONDS), error.retry_after)
