"""What the endpoint reads, and where it passes on what workers say."""

from __future__ import annotations

from typing import Protocol

from modelinstance.registry.intake.registrations import Registered, Registration
from modelinstance.registry.intake.reports import Reports
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.tallies import Tallies


class Enrolment(Protocol):
    """Enrols workers. ``default_namespace`` is for those that name none."""

    default_namespace: str

    async def register(self, registration: Registration) -> Registered:
        """Enrol a worker; it is taken for heard. Raises `RefusedError`."""
        ...


class Source(Protocol):
    """The registry, and how far it can be trusted."""

    records: Records
    workers: Workers
    reports: Reports
    tallies: Tallies
    stopping: bool

    @property
    def enrolment(self) -> Enrolment:
        """Who enrols workers."""
        ...

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        ...

    def pods_state(self, namespace: str = "") -> ViewState | None:
        """How far the evidence of pods can be trusted, in one namespace or in all.

        ``None`` if nobody looks at pods.
        """
        ...
