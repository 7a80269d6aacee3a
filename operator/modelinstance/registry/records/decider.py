"""Decides on records whenever something about them changes, and tells those who listen."""

from __future__ import annotations

from collections.abc import Callable

from modelinstance.registry.clock import Clock
from modelinstance.registry.health.chain import Evidence, Verdict, decide, fitness, is_alive
from modelinstance.registry.health.probation import Probations
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID
from modelinstance.registry.records.census import Census
from modelinstance.registry.records.claims import Claims
from modelinstance.registry.records.index import Index

Listener = Callable[[Record], None]


class Decider:
    """The verdicts on the records of one index.

    ``timeout_of`` gives the seconds of silence after which a record expires, ``is_stale`` whether
    its heartbeats cannot be seen at present. ``revision`` grows with each change that is told. The
    lists are of those who listen: to each changed verdict or ``alive``, to each record that came,
    went or is now shown in another way, to each ready one that may now be picked where it was not
    before, and to each id that is over and was given out before there was a uid.
    """

    def __init__(
        self,
        index: Index,
        census: Census,
        clock: Clock,
        timeout_of: Callable[[Record], float],
        probations: Probations,
    ) -> None:
        self._index = index
        self._census = census
        self._clock = clock
        self._timeout_of = timeout_of
        self._probations = probations
        self.is_stale: Callable[[Record], bool] = _is_current
        self.revision = 0
        self.on_verdict: list[Listener] = []
        self.on_change: list[Listener] = []
        self.on_offer: list[Listener] = []
        self.on_end: list[Callable[[str], None]] = []

    def tell(self, record: Record) -> None:
        """Something is known of a record that counts even where it changes no verdict."""
        before = record.verdict
        self.weigh(record)
        if record.verdict == before:
            self.changed(record)

    def weigh(self, record: Record) -> None:
        """Something about a record has changed: decide on it, and on who else it concerns."""
        claims = self._index.claims(record.spec.address)
        if claims is not None:
            self.reconsider(claims, record)

    def reconsider(self, claims: Claims, record: Record) -> None:
        """A claim on an address has changed: decide on all whom that concerns."""
        for affected in claims.weigh(record):
            evidence, before = self.evidence(affected), affected.probation
            self._probations.observe(affected, fitness(evidence))
            if affected.probation is before:
                self._settle(affected, decide(evidence), alive=is_alive(evidence))
            else:  # what it has to prove weakens its claim
                self.reconsider(claims, affected)

    def evidence(self, record: Record) -> Evidence:
        """All that is known of a record and counts for its health."""
        claims = self._index.claims(record.spec.address)
        holder = None if claims is None else claims.holder
        return Evidence(
            key=record.key,
            spec=record.spec,
            life=record.life,
            timeout=self._timeout_of(record),
            holder=None if holder is None or holder is record else holder.key,
            deleting=record.deleting,
            deregistered=record.deregistered,
            drained=record.drained,
            set_by_caller=record.set_by_caller,
            pod=record.pod,
            displaced=record.displaced,
            failure=record.failure,
            probe_passing=record.probe_passing,
            probe_message=record.probe_message,
            probation=None if record.probation is None else record.probation.reason,
            frozen=record.frozen,
            stale=self.is_stale(record),
        )

    def _settle(self, record: Record, verdict: Verdict, *, alive: bool) -> None:
        before = record.verdict
        if before == verdict and record.alive is alive:
            return
        record.verdict, record.alive = verdict, alive
        if before != verdict:
            self._census.leave(record.spec.model_name, before)
            self._census.enter(record.spec.model_name, verdict)
            self.changed(record)
        if before.ready is not verdict.ready:
            record.since = self._clock.wall()
            for pool in self._index.pools(record):
                pool.refresh()
            self.offer(record)
        for listener in self.on_verdict:
            listener(record)

    def end_ids(self, record: Record) -> None:
        """An incarnation is over: tell of the id that it had before there was a uid."""
        early = record.id if record.uid == NO_UID else record.former_id
        if early is not None:
            for listener in self.on_end:
                listener(early)

    def changed(self, record: Record) -> None:
        """A record came, went or is shown in another way."""
        self.revision += 1
        for listener in self.on_change:
            listener(record)

    def offer(self, record: Record) -> None:
        """A record may be picked where it could not be before, if it is ready."""
        if record.verdict.ready:
            for listener in self.on_offer:
                listener(record)


def _is_current(record: Record) -> bool:
    """Nothing is known to be stale where nobody looks."""
    del record
    return False
