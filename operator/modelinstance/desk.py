"""Where the Kubernetes adapter brings its news and fetches its work: the registry's own thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from modelinstance import api
from modelinstance.cluster.listing import Listed, Lister
from modelinstance.cluster.registration import RegistrationWriter
from modelinstance.cluster.status import WriteOutcome
from modelinstance.cluster.supervisor import Supervisor
from modelinstance.enrolment import ClusterEnrolment
from modelinstance.journal import Journal
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.reports import Reports
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.mirror.mirror import WHOLE_CLUSTER, Listing, Mirror
from modelinstance.registry.mirror.summary import (
    Mode,
    RegistryObject,
    RegistryObjectMirror,
    SummaryWrite,
)
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.mirror.writes import StatusPlan, StatusWrites
from modelinstance.registry.tallies import Tallies
from modelinstance.registry.telling.events import REGISTRY_KIND, EventBook, Subject
from modelinstance.settings import Settings

logger = logging.getLogger(__name__)


class Desk:
    """Passes what the adapter brings to the registry, and the registry's decisions back.

    All of it runs in one thread. ``listers`` and ``supervisor`` are set once they exist.
    """

    def __init__(
        self, registry: EmbeddedModelRegistry, settings: Settings, writer: RegistrationWriter
    ) -> None:
        self.registry = registry
        self.records = registry.records
        self.workers = Workers(registry.records)
        self.reports = Reports(registry.records)
        self.mirror = Mirror(
            registry.records,
            scopes=settings.namespaces or (WHOLE_CLUSTER,),
            resync_interval=settings.resync_interval_with(None),
            follows_pods=settings.pods,
        )
        self.writes = StatusWrites(self.mirror, settings.status_writes_with(None))
        self.home = RegistryObjectMirror()
        self.tallies = Tallies()
        self.journal = Journal(self.records, self.mirror)
        self.events = EventBook(
            self.records, registry=self._registry_object, counts=self.tallies.events
        )
        self.journal.changes.on_change(self.events.note_change)
        self.records.guard.on_outage.append(
            lambda outage: self.events.note_registry(
                outage.reason, str(outage), warning=outage.began
            )
        )
        self.stopping = False
        self.synced = asyncio.Event()
        self.listers: Sequence[Lister] = ()
        self.supervisor: Supervisor | None = None
        self.remove_after = settings.remove_after_with(None)
        self.enrolment = ClusterEnrolment(
            self.workers,
            self.mirror,
            writer,
            default_namespace=settings.default_namespace,
            remove_after=lambda: self.remove_after,
        )
        self._settings = settings
        self._news = asyncio.Event()

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        return self.mirror.state()

    def pods_state(self, namespace: str = WHOLE_CLUSTER) -> ViewState | None:
        """How far the evidence of pods can be trusted."""
        return self.mirror.pods_state(namespace)

    def _registry_object(self) -> Subject | None:
        """The InstanceRegistry, as Events name it."""
        if self.home.current is None:
            return None
        key = InstanceKey(self._settings.operator_namespace, api.REGISTRY_NAME)
        return Subject(REGISTRY_KIND, key, self.home.current.uid)

    async def keep_time(self) -> None:
        """Expire what falls silent, and tell of it, until cancelled."""
        while True:
            self._news.clear()
            until = self.mirror.attend()
            if self.journal.look():
                until = 0.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until):  # wait_for would swallow a cancellation
                    await self._news.wait()

    # -- LISTs -----------------------------------------------------------------------------------

    def next_list(self, scope: str) -> float:
        """See `ListDesk`."""
        return self.mirror.next_list(scope)

    def list_began(self, scope: str) -> Listing:
        """See `ListDesk`."""
        return self.mirror.begin_list(scope)

    def list_failed(self, listing: Listing, why: str) -> None:
        """See `ListDesk`."""
        if self.mirror.views[listing.scope].failure != why:
            logger.warning("the view of the cluster is not current: %s", why)
        self.tallies.lists["failure"] += 1
        self.mirror.fail_list(listing, why)

    def list_ended(self, listing: Listing, listed: Listed) -> None:
        """See `ListDesk`."""
        view = self.mirror.views[listing.scope]
        first, failed = not view.listed, view.failure
        repairs = self.mirror.end_list(
            listing, listed.objects, listed.version, unreadable=listed.unreadable
        )
        self.tallies.lists["success"] += 1
        if self.mirror.synced:
            self.synced.set()
        if first:
            logger.info("listed %d ModelInstances, ready", len(listed.objects))
        elif repairs.added or repairs.changed or repairs.removed:
            logger.info(
                "resync set right what events did not tell: %d added, %d changed, %d removed",
                repairs.added, repairs.changed, repairs.removed,
            )  # fmt: skip
        if failed:
            logger.info("the view of the cluster is current again")
        if repairs.rewound:
            logger.warning("the cluster was restored to an earlier state: taking it as the truth")
        elif repairs.blind:
            logger.warning("the watch does not tell of changes: starting it again")
        if (repairs.rewound or repairs.blind) and self.supervisor is not None:
            self.supervisor.restart()
        if repairs.rewound:
            self.home.gone()
            self._list_again()
        self._news.set()

    def registry_listed(self, found: RegistryObject) -> None:
        """See `ListDesk`."""
        self.home.seen(found)
        self._apply_settings()

    def registry_missing(self) -> None:
        """See `ListDesk`."""
        self.home.gone()
        self._apply_settings()

    # -- events ----------------------------------------------------------------------------------

    def watch_started(self, run: int) -> None:
        """See `supervisor.Desk`."""
        self.tallies.watch_running = True
        self.tallies.watch_restarts += run > 1
        self.mirror.watch_started(run)
        self.writes.abandon()

    def watch_ended(self, run: int, why: str | None) -> None:
        """See `supervisor.Desk`."""
        self.tallies.watch_running = False
        self.mirror.watch_ended()
        logger.info("watch %d ended%s", run, f": {why}" if why else "")

    def instance_changed(self, run: int, observed: Observed, listed: bool) -> None:
        """See `EventDesk`."""
        self.mirror.changed(observed, run=run, listed=listed)
        self._news.set()

    def instance_deleted(self, run: int, key: InstanceKey, uid: str, version: int) -> None:
        """See `EventDesk`."""
        self.mirror.deleted(key, uid, version, run=run)
        self._news.set()

    def event_lost(self, run: int, why: str) -> None:
        """See `EventDesk`."""
        self.tallies.events_lost += 1
        logger.warning("an event of watch %d could not be understood: %s", run, why)

    def registry_changed(self, run: int, shown: RegistryObject) -> None:
        """See `EventDesk`."""
        del run
        self.home.seen(shown)
        self._apply_settings()

    def registry_deleted(self, run: int, uid: str) -> None:
        """See `EventDesk`: it is made anew by the next LIST, which is asked for now."""
        del run
        self.home.gone(uid)
        self._apply_settings()
        self._list_again()

    def _list_again(self) -> None:
        for lister in self.listers:
            lister.poke()

    def _apply_settings(self) -> None:
        """Let the settings of the InstanceRegistry, or their absence, hold."""
        home, settings = self.home.current, self._settings
        self.records.set_default_timeout(
            settings.heartbeat_timeout_with(home.timeout_seconds if home else None)
        )
        self.mirror.resync_interval = settings.resync_interval_with(
            home.resync_interval_seconds if home else None
        )
        self.remove_after = settings.remove_after_with(home.remove_after_seconds if home else None)
        guard = (home.guard if home else None) or GuardSettings()
        self.records.guard.configure(guard if guard.seconds else None)
        self.writes.pace.set_rate(
            settings.status_writes_with(home.status_writes_per_second if home else None)
        )

    # -- statuses --------------------------------------------------------------------------------

    def plan_statuses(self, limit: int) -> StatusPlan:
        """See `StatusDesk`. What is written is told as well: whoever reads it may act on it."""
        self.journal.look()
        return self.writes.plan(limit)

    def statuses_settled(self, outcomes: Sequence[WriteOutcome]) -> None:
        """See `StatusDesk`."""
        for outcome in outcomes:
            self.tallies.status_writes[outcome.result.value] += 1
            self.writes.ended(outcome.key, outcome.result, outcome.answer, outcome.retry_after)

    def plan_summary(self) -> SummaryWrite | None:
        """See `StatusDesk`."""
        state = self.view_state()
        if not state.synced:
            return None
        return self.home.plan_write(self.records.totals(), Mode.STALE if state.stale else Mode.LIVE)

    def summary_settled(self, answer: RegistryObject | None) -> None:
        """See `StatusDesk`."""
        if answer is not None:
            self.home.seen(answer)
