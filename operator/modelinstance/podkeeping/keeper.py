"""Keeps a ModelInstance for each pod that has the label, and takes in what the pods show."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from modelinstance import api
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.podwatch import PodFollower
from modelinstance.outbound.getter import Getter
from modelinstance.podkeeping.complaints import Complaints
from modelinstance.podkeeping.gates import Gates
from modelinstance.podkeeping.instances import Instances
from modelinstance.podkeeping.names import NameReader
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podbook import PodBook, is_made_for_pod
from modelinstance.registry.intake.podspecs import Names
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.tallies import Tallies
from modelinstance.registry.telling.events import EventBook

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often is looked for what is to be tried again."""


class PodKeeper:
    """Follows pods, and writes what comes of them. It lives in the thread that owns the registry.

    ``scopes`` are the namespaces to follow, or the empty one for all.
    """

    def __init__(
        self,
        client: PodClient,
        mirror: Mirror,
        tallies: Tallies,
        getter: Getter,
        *,
        events: EventBook,
        scopes: Sequence[str],
    ) -> None:
        self.book = PodBook(mirror.records, scopes)
        self._client = client
        self._mirror = mirror
        self._tallies = tallies
        self._complaints = Complaints(events)
        self._gates = Gates(client, mirror, self.book, tallies.pod_writes)
        self._names = NameReader(getter, self.book, lambda facts: self._look(facts.key))
        self._followers = [PodFollower(client, self, scope) for scope in scopes]
        self._instances = Instances(
            client,
            mirror,
            self.book,
            names=self._names,
            complaints=self._complaints,
            writes=tallies.pod_writes,
        )
        self._news: list[asyncio.Event] = []
        self.book.on_change(self._look)
        self.book.on_end(self._complaints.forget)
        self.book.on_end(self._names.forget)

    async def run(self) -> None:
        """Follow and write until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for follower in self._followers:
                    group.create_task(follower.run())
                for work in (self._instances.write, self._gates.write, self._names.read):
                    group.create_task(self._keep(work))
        finally:
            await self._client.close()

    async def _keep(self, work: Callable[[], Awaitable[bool]]) -> None:
        """Do a piece of work for as long as there is some, and again when there is news."""
        news = asyncio.Event()
        self._news.append(news)
        while True:
            news.clear()
            if not await work():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):  # wait_for swallows cancellations
                        await news.wait()

    # -- what is told ----------------------------------------------------------------------------

    def pods_resync_interval(self) -> float:
        """See `PodDesk`."""
        return self._mirror.resync_interval

    def pods_list_began(self) -> int:
        """See `PodDesk`."""
        return self.book.highest

    def pods_seen(self, scope: str) -> None:
        """See `PodDesk`."""
        self._mirror.pods_views[scope].prove(self._mirror.records.clock.monotonic())

    def pods_failed(self, scope: str, why: str) -> None:
        """See `PodDesk`."""
        self._mirror.pods_views[scope].interrupt(why)

    def pods_listed(self, scope: str, pods: Sequence[PodFacts], version: int, floor: int) -> None:
        """See `PodDesk`."""
        first = not self.book.is_listed(scope)
        self.book.end_list(scope, pods, version, floor)
        self.pods_seen(scope)
        if first:
            logger.info("listed %d pods with the label %s", len(pods), api.MODEL_LABEL)
        self._count()

    def pod_changed(self, facts: PodFacts) -> None:
        """See `PodDesk`."""
        self.book.take(facts)
        self._count()

    def pod_deleted(self, key: InstanceKey, uid: str, lives: bool) -> None:
        """See `PodDesk`."""
        self.book.drop(key, uid, lives=lives)
        self._count()

    def registered(self, registration: Registration, record: Record) -> None:
        """A worker has registered, and that record stands for it: a pod's gets its other names.

        All else is what the pod says.
        """
        uid = record.owner
        if uid is None or not is_made_for_pod(record):
            return
        if registration.pod is not None and registration.pod.uid != uid:
            return
        if self.book.of(uid) is None and self.book.is_listed(record.key.namespace):
            return
        said = registration.spec
        names = Names(said.model_name, tuple(sorted(said.aliases)))
        if self._names.told(uid) != names:
            self._names.tell(uid, names)
            self._look(record.key)

    def _count(self) -> None:
        self._tallies.pods = len(self.book)

    def _look(self, key: InstanceKey) -> None:
        """A pod, its names, or a resource of its name has changed."""
        facts = self.book.get(key)
        if facts is not None:
            self._names.look(facts)
        self._instances.look(key)
        self._gates.look(key)
        for news in self._news:
            news.set()
