"""The keys that something is to be written for, each once, with its own backoff."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from modelinstance.registry.instance import InstanceKey

MIN_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60.0
JITTER = 0.5
"""By up to how much of itself a wait is made longer, lest what failed together come together."""

CHUNK = 64


def jittered(random: Random, seconds: float) -> float:
    """A wait that is never shorter than that, and up to half as much longer."""
    return seconds * random.uniform(1.0, 1.0 + JITTER)


@dataclass(slots=True)
class _Pending:
    """``repeated``: it was written or decided anew once, and still is not done.

    ``refused``: what it says is not taken; only something else may be. ``changed``: it says
    something else than what is under way.
    """

    not_before: float = 0.0
    delay: float = MIN_BACKOFF_SECONDS
    repeated: bool = False
    refused: bool = False
    changed: bool = False


class Outbox:
    """Holds back what has failed, and nobody else.

    Times are attended seconds. What a look at it costs grows with what is ready and looked at, not
    with what waits.
    """

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._pending: dict[InstanceKey, _Pending] = {}
        self._ready: OrderedDict[InstanceKey, None] = OrderedDict()
        self._later: list[tuple[float, int, InstanceKey]] = []
        self._sequence = 0
        self._in_flight: set[InstanceKey] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, key: InstanceKey) -> None:
        """Something may have to be written."""
        if key not in self._pending:
            self._pending[key] = _Pending()
            self._let_go(key)

    def changed(self, key: InstanceKey) -> None:
        """What is to be written is not what was refused."""
        pending = self._pending.get(key)
        if pending is None:
            return
        pending.changed = True
        if pending.refused:
            pending.refused = False
            pending.not_before, pending.delay = 0.0, MIN_BACKOFF_SECONDS
            self._let_go(key)

    def discard(self, key: InstanceKey) -> None:
        """There is nothing to write."""
        self._pending.pop(key, None)
        self._ready.pop(key, None)

    def ready(self, now: float) -> Iterator[InstanceKey]:
        """The keys to look at now, the longest waiting first.

        Whoever iterates may discard, and say that it sends, the key in hand.
        """
        self._wake(now)
        passed = 0
        while chunk := list(islice(self._ready, passed, passed + CHUNK)):
            for key in chunk:
                if key in self._ready:
                    yield key
                    passed += key in self._ready

    def sent(self, key: InstanceKey) -> None:
        """A write is under way: no second one until it has ended."""
        self._in_flight.add(key)
        self._ready.pop(key, None)
        if (pending := self._pending.get(key)) is not None:
            pending.changed = False

    def settle(self, key: InstanceKey) -> None:
        """A write has ended, and the key starts anew: if it is still there, it is ready."""
        self._in_flight.discard(key)
        if key in self._pending:
            self._pending[key] = _Pending()
            self._let_go(key)

    def repeat(self, key: InstanceKey, now: float) -> None:
        """What a write came to is known, and the key is not done: it is to be decided again.

        At once, but not without end: after the second time in a row it waits like one that failed.
        """
        pending = self._pending.get(key)
        if pending is None or pending.repeated:
            self.fail(key, now)
        else:
            self._in_flight.discard(key)
            pending.repeated = True
            self._let_go(key)

    def fail(
        self,
        key: InstanceKey,
        now: float,
        at_least: float = 0.0,
        most: float = MAX_BACKOFF_SECONDS,
    ) -> None:
        """A write has failed: try again after a growing time, or as late as asked for."""
        self._in_flight.discard(key)
        if (pending := self._pending.get(key)) is not None:
            delay = min(pending.delay, most)
            pending.delay = min(2 * delay, MAX_BACKOFF_SECONDS)
            self._hold_back(key, pending, now + jittered(self._random, max(delay, at_least)))

    def refuse(self, key: InstanceKey, now: float) -> None:
        """What was written is not taken: try again after the longest time, or once it changes."""
        pending = self._pending.get(key)
        if pending is None or pending.changed:
            self.fail(key, now)
        else:
            pending.refused = True
            self.fail(key, now, MAX_BACKOFF_SECONDS)

    def abandon(self) -> None:
        """Whoever wrote is gone: what became of the writes under way, the resources say."""
        under_way, self._in_flight = self._in_flight, set()
        for key in under_way:
            if key in self._pending:
                self._let_go(key)

    def _let_go(self, key: InstanceKey) -> None:
        if key not in self._in_flight:
            self._ready.setdefault(key)

    def _hold_back(self, key: InstanceKey, pending: _Pending, until: float) -> None:
        pending.not_before = until
        self._ready.pop(key, None)
        self._sequence += 1
        heapq.heappush(self._later, (until, self._sequence, key))

    def _wake(self, now: float) -> None:
        """Let go whose time has come; the entry of one that was let go before stands for none."""
        while self._later and self._later[0][0] <= now:
            at, _, key = heapq.heappop(self._later)
            pending = self._pending.get(key)
            if pending is not None and pending.not_before == at:
                self._let_go(key)
