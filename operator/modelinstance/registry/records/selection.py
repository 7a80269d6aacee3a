"""Picking one of the instances that share a name.

Four ways, none of which costs more than the logarithm of the pool's size, unless but few of it are
admitted or have room:

- weighted: at random, with the chance of the weight;
- round robin: by turns, as often as the weight says (stride scheduling, Waldspurger 1995);
- least loaded: the better of two at random (power of two choices, Mitzenmacher 1996), by reported
  load and the picks since the report;
- sticky: consistent hashing of a key with bounded load (Mirrokni et al. 2016), so that a session
  or a prompt prefix stays where it is while that instance is not overloaded.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, chain
from random import Random

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.records.ring import Ring

BOUND = 1.25
"""How much more than its share of the picks a sticky instance may get."""
SLACK = 8
"""Picks that a sticky instance may get beyond that: a handful of sessions overloads nobody."""
WINDOW_SECONDS = 10.0
"""For how long picks count where no report says what became of them."""
LOAD_LASTS_SECONDS = 60.0
"""How old a report of load may be and still tell more than the picks do."""
TRIES = 4
"""Random draws that may hit what is not admitted before only the admitted are drawn from."""


class Policy(StrEnum):
    """How to pick."""

    WEIGHTED = "weighted"
    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"
    STICKY = "sticky"


def policy_for(policy: Policy | None, key: str) -> Policy | None:
    """How to pick for a caller who may leave it open; None where a key is needed and missing."""
    chosen = policy or (Policy.STICKY if key else Policy.WEIGHTED)
    return None if chosen is Policy.STICKY and not key else chosen


Admits = Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a caller wants to be served.

    ``key`` is what sticks. ``admits`` tells which instances may be picked, by default all.
    """

    policy: Policy = Policy.WEIGHTED
    key: str = ""
    admits: Admits | None = None


ANY = Wish()


class Pool:
    """The instances that routers get when they ask for one name.

    What can be picked is worked out at the first pick after a change.
    """

    __slots__ = (
        "_cumulative", "_members", "_pace", "_pickable", "_picks", "_ring", "_since_report",
        "_turn", "_turns", "_window", "_window_total",
    )  # fmt: skip

    def __init__(self) -> None:
        self._members: dict[InstanceKey, Record] = {}
        self._pickable: list[Record] = []
        self._cumulative: list[float] | None = None
        self._turns: list[tuple[float, int, Record]] | None = None
        self._turn: dict[InstanceKey, float] = {}
        self._pace = 0.0
        self._ring: Ring | None = None
        self._picks: dict[InstanceKey, int] = {}
        self._since_report: dict[InstanceKey, int] = {}
        self._window = 0
        self._window_total = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Record]:
        """The members in the order in which they came, safe against changes meanwhile."""
        return iter(tuple(self._members.values()))

    def add(self, record: Record) -> None:
        """Take a record in; nothing happens if it is a member."""
        if record.key not in self._members:
            self._members[record.key] = record
            if self._ring is not None:
                self._ring.add(record.key)
        self.refresh()

    def discard(self, record: Record) -> None:
        """Take a record out; nothing happens if it is no member."""
        if self._members.pop(record.key, None) is not None:
            if self._ring is not None:
                self._ring.discard(record.key)
            self._turn.pop(record.key, None)
            self._picks.pop(record.key, None)
            self._since_report.pop(record.key, None)
        self.refresh()

    def refresh(self) -> None:
        """Say that a member's readiness or weight has changed."""
        self._cumulative = None
        self._turns = None

    def reported(self, record: Record) -> None:
        """A member has reported its load: the picks so far are in it."""
        self._since_report.pop(record.key, None)

    def pick(self, random: Random, now: float, wish: Wish = ANY) -> Record | None:
        """One ready member; ``None`` if there is none. ``now`` is in seconds."""
        if self._cumulative is None:
            self._work_out()
        if not self._pickable:
            return None
        if wish.policy is Policy.WEIGHTED:
            return self._draw(random, wish.admits)
        if wish.policy is Policy.ROUND_ROBIN:
            return self._next_in_turn(wish.admits)
        window = int(now / WINDOW_SECONDS)
        if window != self._window:
            self._window, self._window_total = window, 0
            self._picks.clear()
        if wish.policy is Policy.LEAST_LOADED:
            picked = self._less_loaded(random, now, wish.admits)
        else:
            picked = self._stay(wish.key, wish.admits)
        if picked is not None:
            self._picks[picked.key] = self._picks.get(picked.key, 0) + 1
            self._since_report[picked.key] = self._since_report.get(picked.key, 0) + 1
            self._window_total += 1
        return picked

    def _work_out(self) -> None:
        self._pickable = [
            record
            for record in self._members.values()
            if record.verdict.ready and record.spec.weight > 0
        ]
        self._cumulative = list(accumulate(record.spec.weight for record in self._pickable))

    def _draw(self, random: Random, admits: Admits | None) -> Record | None:
        cumulative, pickable = self._cumulative or [], self._pickable
        last = len(pickable) - 1
        for _ in range(TRIES):
            record = pickable[min(bisect(cumulative, random.random() * cumulative[-1]), last)]
            if admits is None or admits(record):
                return record
        left = [record for record in pickable if admits is None or admits(record)]
        if not left:
            return None
        return random.choices(left, [record.spec.weight for record in left])[0]

    def _next_in_turn(self, admits: Admits | None) -> Record | None:
        """The one whose turn it is; its next turn comes the sooner the greater its weight.

        Who comes new, comes again or was not admitted for long joins where the others are, and
        nobody has to wait for longer than the weight of now says.
        """
        pace = self._pace
        if self._turns is None:
            self._turns = [
                (min(self._turn.get(r.key, pace), pace + 1.0 / r.spec.weight), number, r)
                for number, r in enumerate(self._pickable)
            ]
            heapq.heapify(self._turns)
        passed, picked = [], None
        while self._turns and picked is None:
            entry = heapq.heappop(self._turns)
            if admits is None or admits(entry[2]):
                turn, number, picked = entry
                self._pace = max(pace, turn)
                entry = (max(turn + 1.0 / picked.spec.weight, self._pace), number, picked)
                self._turn[picked.key] = entry[0]
            passed.append(entry)
        for entry in passed:
            heapq.heappush(self._turns, entry)
        return picked

    def _less_loaded(self, random: Random, now: float, admits: Admits | None) -> Record | None:
        pickable, first = self._pickable, None
        for _ in range(TRIES):
            record = pickable[int(random.random() * len(pickable))]
            if record is first or (admits is not None and not admits(record)):
                continue
            if first is not None:
                return first if self._load(first, now) <= self._load(record, now) else record
            first = record
        left = [record for record in pickable if admits is None or admits(record)]
        if len(left) < 2:
            return left[0] if left else None
        return min(random.sample(left, 2), key=lambda record: self._load(record, now))

    def _load(self, record: Record, now: float) -> float:
        """Requests for each unit of weight, those that were sent there since counted in."""
        if record.load is None or now - record.loaded_at > LOAD_LASTS_SECONDS:
            return self._picks.get(record.key, 0) / record.spec.weight
        sent = self._since_report.get(record.key, 0)
        return (record.load.requests + sent) / record.spec.weight

    def _stay(self, key: str, admits: Admits | None) -> Record | None:
        """The first that the key meets and that has room.

        Where only some are admitted and their share of all picks is used up, what counts is their
        share of what the admitted got.
        """
        if self._ring is None:
            self._ring = Ring(self._members)
        met = (
            record
            for record in map(self._members.__getitem__, self._ring.walk(key))
            if record.verdict.ready
            and record.spec.weight > 0
            and (admits is None or admits(record))
        )
        home = next(met, None)
        picks, weight = self._window_total, self._cumulative[-1] if self._cumulative else 0.0
        if home is None or self._has_room(home, picks, weight):
            return home
        if admits is not None:
            admitted = [record for record in self._pickable if admits(record)]
            picks = sum(self._picks.get(record.key, 0) for record in admitted)
            weight = sum(record.spec.weight for record in admitted)
        return next((r for r in chain((home,), met) if self._has_room(r, picks, weight)), home)

    def _has_room(self, record: Record, picks: int, weight: float) -> bool:
        """Whether it may get one more of so many picks that instances of that weight got."""
        share = (picks + 1) * record.spec.weight / weight
        return self._picks.get(record.key, 0) < BOUND * share + SLACK
