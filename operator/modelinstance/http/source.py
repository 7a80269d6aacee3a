"""What the endpoint reads."""

from __future__ import annotations

from typing import Protocol

from modelinstance.registry.records import Records
from modelinstance.registry.tallies import Tallies
from modelinstance.registry.view import ViewState


class Source(Protocol):
    """The registry, and how far it can be trusted."""

    records: Records
    tallies: Tallies
    stopping: bool

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        ...
