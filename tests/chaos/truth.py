"""What must be true of each instance, worked out from what was said and what was acknowledged.

An instance is forbidden when something that forbids it was acknowledged before an answer was asked
for, and nothing that might lift that was under way or done by the time it came. What got no answer
may have been carried out at any time since, until it is settled that it was then or never.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from chaos.outages import Outages
from support.waiting import PATIENCE

TIMEOUT_SECONDS = 3.0
"""After so long a silence an instance is out."""
SWEEP_SECONDS = 2.0
"""So much later at most it shows: a sweep, a LIST, and what a view that was out has lost."""
AT_ONCE_SECONDS = 1.0
"""So long it takes an event to be followed when all is in order."""
REPAIR_SECONDS = 2.0
"""One resync: so long it takes to repair what was missed during a fault."""


STORY = 8


class Word(StrEnum):
    """What is said of an instance."""

    CREATE = "created"
    MOVE = "moved"
    GONE = "deleted"
    OUT = "out of rotation"
    IN = "active"
    DRAIN = "drained"
    UNDRAIN = "undrained"
    LEAVE = "deregistered"
    ENTER = "registered"
    BEAT = "heard"


BEGINS = frozenset({Word.CREATE, Word.MOVE})
LIFTED_BY: dict[Word, frozenset[Word]] = {
    Word.GONE: frozenset({Word.CREATE, Word.ENTER}),
    Word.OUT: frozenset({Word.IN, Word.CREATE, Word.GONE}),
    Word.DRAIN: frozenset({Word.UNDRAIN, Word.ENTER, Word.GONE, *BEGINS}),
    Word.LEAVE: frozenset({Word.ENTER, Word.GONE, *BEGINS}),
}
"""What forbids an instance, and what may lift that. A deletion forbids in the others' stead."""
TO_OPERATOR = frozenset({Word.DRAIN, Word.LEAVE})
"""What the operator itself acknowledges: it holds from then on, whatever happens to its view."""
SAID_TO_OPERATOR = frozenset({*TO_OPERATOR, Word.UNDRAIN, Word.ENTER})
"""What is known to the operator alone until it has written a status."""


@dataclass(slots=True, eq=False)
class Fact:
    """Something that was said. ``over``: when it was acknowledged, or settled, if it was.

    ``host`` is the one of the incarnation that begins, if one does; ``stored`` whether the
    resource's status shows it.
    """

    word: Word
    sent: float
    host: str | None = None
    over: float | None = None
    acknowledged: bool = False
    stored: bool = False

    def may_follow(self, other: Fact) -> bool:
        """Whether it may have been carried out after the other was."""
        return self.over is None or self.over >= other.sent


class Truth:
    """The facts by name, and the invariants over them. Times are those of `Outages`."""

    def __init__(self, outages: Outages) -> None:
        self.outages = outages
        self.facts: defaultdict[str, list[Fact]] = defaultdict(list)
        self.lost: set[str] = set()
        self.restarted = 0.0

    # -- what is said ----------------------------------------------------------------------------

    def say(self, name: str, word: Word, at: float, host: str | None = None) -> Fact:
        """Something is being said; it may be carried out from now on."""
        fact = Fact(word, at, host)
        self.facts[name].append(fact)
        return fact

    def acknowledge(self, name: str, fact: Fact, at: float) -> None:
        """It was carried out; perhaps by an operator that has ended meanwhile."""
        fact.over = at
        if fact.word in SAID_TO_OPERATOR and fact.sent < self.restarted:
            self.lost.add(name)
        else:
            fact.acknowledged = True

    def begin_anew(self, name: str) -> None:
        """An incarnation began of which nothing was said yet."""
        self.lost.discard(name)

    def refuse(self, name: str, fact: Fact) -> None:
        """It was not carried out, and never will be."""
        self.facts[name].remove(fact)

    def settle(self, sent_before: float, at: float) -> None:
        """What got no answer was carried out by now, or never will be."""
        for name, facts in self.facts.items():
            for fact in facts:
                if fact.over is None and fact.sent < sent_before:
                    fact.over = at
            self.facts[name] = list(_still_needed(facts, sent_before))

    def store(self, name: str, asked: float, *, drained: bool, left: bool) -> None:
        """The status in the API server shows this of what the operator had acknowledged."""
        shown = {
            Word.DRAIN: drained, Word.UNDRAIN: not drained,
            Word.LEAVE: left, Word.ENTER: not left and not drained,
        }  # fmt: skip
        for fact in self.facts[name]:
            if fact.over is not None and fact.over < asked and shown.get(fact.word):
                fact.stored = True

    def restart(self, at: float) -> None:
        """The operator has ended: what it alone knew is lost, and may count or not."""
        for name, facts in self.facts.items():
            for fact in facts:
                if fact.word not in SAID_TO_OPERATOR or fact.stored or not fact.acknowledged:
                    continue
                if not _surely_lifted(facts, fact):
                    self.lost.add(name)
                fact.acknowledged = False
        self.restarted = at

    # -- invariants ------------------------------------------------------------------------------

    def forbids(
        self, name: str, host: str, asked: float, answered: float, *, marked: bool = False
    ) -> str | None:
        """Why an instance must not be given out in that answer, or ``None`` if it may be.

        ``marked``: the answer says that its silence is not held against it.
        """
        facts = [fact for fact in self.facts[name] if fact.sent <= answered]
        for word, lifts in LIFTED_BY.items():
            fact = _standing(facts, word, lifts)
            if fact is not None and self._shows(fact, asked):
                return f"{word} {asked - (fact.over or 0.0):.1f} s before it was asked for"
        begun = _standing(facts, Word.CREATE, BEGINS, host) or _standing(
            facts, Word.MOVE, BEGINS, host
        )
        if begun is not None and self._shows(begun, asked):
            return f"at {host}, but it is at {begun.host} since {asked - (begun.over or 0):.1f} s"
        return None if marked else self._silent(facts, host, asked)

    def story(self, name: str, now: float) -> str:
        """The last things that were said of an instance, and how many seconds ago."""
        facts = [fact for fact in self.facts[name] if fact.word is not Word.BEAT]
        beats = [fact for fact in self.facts[name] if fact.word is Word.BEAT]
        return ", ".join(
            f"{fact.word} {now - fact.sent:.1f} s ago{'' if fact.acknowledged else ' (unanswered)'}"
            for fact in (*facts[-STORY:], *beats[-2:])
        )

    def _shows(self, fact: Fact, asked: float) -> bool:
        """Whether the operator must have seen it by then."""
        assert fact.over is not None
        if fact.word in TO_OPERATOR:
            return fact.over < asked
        calm = self.outages.calm_since(asked)
        if calm is None:
            return False
        if calm <= fact.sent:
            return asked - fact.over > PATIENCE * AT_ONCE_SECONDS
        return asked - calm > PATIENCE * REPAIR_SECONDS

    def _silent(self, facts: list[Fact], host: str, asked: float) -> str | None:
        """Whether it was not heard for longer than it may be."""
        begun = [f for f in facts if f.word in BEGINS and f.host == host and f.acknowledged]
        heard = [f for f in facts if f.word in {Word.BEAT, Word.ENTER}]
        if begun and not any(fact.may_follow(begun[-1]) for fact in heard):
            return "never heard" if self._shows(begun[-1], asked) else None
        if any(fact.over is None for fact in heard):
            return None
        last = max((fact.over or 0.0 for fact in heard), default=0.0)
        silence = self.outages.calm_between(max(last, self.restarted), asked)
        if silence <= TIMEOUT_SECONDS + PATIENCE * SWEEP_SECONDS:
            return None
        return f"silent for {silence:.1f} s, not counting outages"

    def is_kept_out(self, name: str) -> bool:
        """Whether it may be out because of what was said of it, if it is heard."""
        facts = self.facts[name]
        return name in self.lost or any(
            fact.word in LIFTED_BY and not _surely_lifted(facts, fact) for fact in facts
        )


def _standing(
    facts: list[Fact], word: Word, lifts: frozenset[Word], host: str | None = None
) -> Fact | None:
    """The last acknowledged fact of that kind, if nothing may have lifted it since.

    With a host, only a fact about another one, and only facts about that host lift it.
    """
    for fact in reversed(facts):
        if fact.word is word and fact.acknowledged and (host is None or fact.host != host):
            lifted = any(
                each.word in lifts
                and each is not fact
                and each.may_follow(fact)
                and (host is None or each.host == host)
                for each in facts
            )
            return None if lifted else fact
    return None


def _surely_lifted(facts: list[Fact], fact: Fact) -> bool:
    lifts = LIFTED_BY.get(fact.word, BEGINS)
    return fact.over is not None and any(
        each.word in lifts and each.acknowledged and each.sent >= fact.over for each in facts
    )


def _still_needed(facts: list[Fact], before: float) -> Iterator[Fact]:
    """All but heartbeats of the past, of which the last is enough."""
    old = [
        fact
        for fact in facts
        if fact.word is Word.BEAT and fact.over is not None and fact.over < before
    ]
    last = max(old, key=lambda fact: fact.over or 0.0, default=None)
    return (fact for fact in facts if fact not in old or fact is last)
