"""The registry without a cluster: all of it is in memory."""

from __future__ import annotations

from modelinstance.enrolment import LocalEnrolment
from modelinstance.journal import Journal
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.intake.reports import Reports
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.tallies import Tallies


class StandaloneDesk:
    """What the endpoint reads where there is no cluster; its view is always current."""

    def __init__(
        self, registry: EmbeddedModelRegistry, *, default_namespace: str, remove_after: float
    ) -> None:
        self.registry = registry
        self.records = registry.records
        self.workers = Workers(registry.records)
        self.reports = Reports(registry.records)
        self.tallies = Tallies()
        self.journal = Journal(self.records)
        self.stopping = False
        self.enrolment = LocalEnrolment(
            self.workers, default_namespace=default_namespace, remove_after=remove_after
        )

    def view_state(self) -> ViewState:
        """How far the answers can be trusted: wholly."""
        return _CURRENT

    def pods_state(self, namespace: str = "") -> None:
        """Nobody looks at pods."""
        del namespace


_CURRENT = ViewState(synced=True, age=0.0, stale=False, failure=None, durable=False)
