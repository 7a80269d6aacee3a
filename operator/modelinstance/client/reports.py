"""What a router tells a registry: how its calls ended. No call waits for that."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from modelinstance.client.connection import Connection
from modelinstance.client.errors import RegistryUnavailableError

REPORTS = "/api/v1/reports"
SUCCESS, FAILURE, TIMEOUT = "success", "failure", "timeout"
MAX_WAITING = 4096
"""Of how many instances reports may wait to be sent."""
MAX_INSTANCES = 1000
"""On how many instances reports are sent in one request."""
MAX_COUNT = 1_000_000
"""How many calls one report may be about; more says no more."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Calls:
    """How calls to one incarnation ended since the last report: what counts, and no more.

    A success makes the failures before it meaningless.
    """

    succeeded: bool = False
    failures: int = 0
    timeouts: int = 0

    def items(self, incarnation: str) -> list[dict[str, Any]]:
        """The reports that say so, in an order that means the same."""
        counts = {SUCCESS: int(self.succeeded), FAILURE: self.failures, TIMEOUT: self.timeouts}
        return [
            {"incarnation": incarnation, "outcome": outcome, "count": min(count, MAX_COUNT)}
            for outcome, count in counts.items()
            if count
        ]


class RouterReports:
    """Gathers how a router's calls ended, and tells a registry while `run` runs.

    ``reporter`` tells this router from others, for example its pod's name: one reporter alone
    cannot take out what others use well. `success`, `failure` and `timeout` only remember, for one
    event loop. What was gathered is sent at most once in ``period`` seconds; what cannot be sent,
    and the oldest of what is too much, is lost: it would be out of date. ``lost`` counts the
    instances of which something was lost, ``sent`` the reports that a registry took.
    """

    def __init__(self, connection: Connection, reporter: str, *, period: float = 1.0) -> None:
        self.connection = connection
        self.lost = 0
        self.sent = 0
        self._reporter = reporter
        self._period = period
        self._waiting: OrderedDict[str, _Calls] = OrderedDict()
        self._news = asyncio.Event()
        self._failing = False

    def __len__(self) -> int:
        return len(self._waiting)

    def success(self, incarnation: str) -> None:
        """An instance has answered as it should."""
        calls = self._calls(incarnation)
        calls.succeeded = True
        calls.failures = calls.timeouts = 0

    def failure(self, incarnation: str) -> None:
        """The connection to an instance failed or broke, or it answered with a 5xx."""
        self._calls(incarnation).failures += 1

    def timeout(self, incarnation: str) -> None:
        """An instance did not answer in time."""
        self._calls(incarnation).timeouts += 1

    async def run(self) -> None:
        """Send what was gathered, until cancelled."""
        while True:
            await self._news.wait()
            await self.send()
            await asyncio.sleep(self._period)

    async def send(self) -> None:
        """Send what was gathered now. Never raises for what a registry does: the log tells once."""
        self._news.clear()
        waiting, self._waiting = list(self._waiting.items()), OrderedDict()
        while waiting:
            part, rest = waiting[:MAX_INSTANCES], waiting[MAX_INSTANCES:]
            items = [item for incarnation, calls in part for item in calls.items(incarnation)]
            body = {"reporter": self._reporter, "items": items}
            try:
                await self.connection.request("POST", REPORTS, body=body)
            except RegistryUnavailableError as error:
                self.lost += len(waiting)
                if not self._failing:
                    log.warning("reports are lost: %s", error)
                self._failing = True
                return
            self.sent += len(items)
            waiting, self._failing = rest, False

    def _calls(self, incarnation: str) -> _Calls:
        calls = self._waiting.get(incarnation)
        if calls is None:
            calls = self._waiting[incarnation] = _Calls()
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
                self.lost += 1
            self._news.set()
        return calls
