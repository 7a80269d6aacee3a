"""What a resource, its pod and its beats mean."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from modelinstance.cluster import podfacts
from modelinstance.registry.health import past
from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.observed import Reported
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Incarnation
from modelinstance.registry.mirror.beats import AnnotationBeats, Beat
from modelinstance.registry.mirror.tracker import Tracker
from modelinstance.registry.mirror.view import View
from modelinstance.registry.records.owners import Owners
from modelinstance.registry.records.records import Records
from support.left_out.table import leaves_out, let_do, nothing, put


@leaves_out("waiting-for-the-first-beat")
def _() -> None:
    """Whoever is applied is taken to be there."""
    meet = Tracker._meet

    def meet_alive(self: Tracker, observed: Any, view: View) -> None:
        meet(self, observed, view)
        record = self.records.get(observed.key)
        if record is not None and record.life is Life.UNHEARD:
            self.records.beat(record, view.timeline)

    put(Tracker, "_meet", meet_alive)


@leaves_out("memory-of-the-dead")
def _() -> None:
    """After a restart everyone is taken to have been alive."""

    def alive(_reported: Reported) -> Life:
        return Life.HEARD

    put(past, "_life_in", alive)


@leaves_out("new-address-new-life")
def _() -> None:
    """What was heard from one address counts for the next."""
    let_do(Records._forget_life, nothing)


@leaves_out("address-in-incarnation")
def _() -> None:
    """Workers name the resource that they beat for, whatever its address is by now."""

    def named(self: Incarnation) -> str:
        return blake2b(self.uid.encode(), digest_size=8).hexdigest()

    put(Incarnation, "id", property(named))


@leaves_out("memory-of-values")
def _() -> None:
    """Any change of the annotation is a heartbeat."""
    observe = AnnotationBeats.observe

    def believe(self: AnnotationBeats, value: str | None, applied: str | None) -> Beat:
        beat = observe(self, value, applied)
        return Beat.ACCEPTED if beat in {Beat.REPEATED, Beat.APPLIED} else beat

    put(AnnotationBeats, "observe", believe)


@leaves_out("any-new-value")
def _() -> None:
    """A heartbeat has to bear a later time than the one before."""
    observe = AnnotationBeats.observe
    latest: dict[int, str] = {}

    def compare(self: AnnotationBeats, value: str | None, applied: str | None) -> Beat:
        beat = observe(self, value, applied)
        if beat is Beat.ACCEPTED and value is not None:
            if value <= latest.get(id(self), ""):
                return Beat.REPEATED
            latest[id(self)] = value
        return beat

    put(AnnotationBeats, "observe", compare)


@leaves_out("the-heard-one-holds")
def _() -> None:
    """The oldest holds an address, whether it is heard or not."""

    def age(self: Record) -> tuple[int, float, Any]:
        return 0, self.created, self.key

    put(Record, "claim", property(age))


@leaves_out("displacement")
def _() -> None:
    """Who is heard at an address says nothing of others there."""
    let_do(Records.displace_others, nothing)


@leaves_out("address-of-a-pod")
def _() -> None:
    """What the kubelet last said of a pod's containers counts, wherever the pod may be."""

    def none(*_arguments: Any) -> tuple[str, ...]:
        return ()

    let_do(podfacts._lacks_address, none)


@leaves_out("host-rule")
def _() -> None:
    """It stands in the resource definition, so the scenario takes it out there."""


@leaves_out("leaving-of-owners")
def _() -> None:
    """Which records a pod owns, and where, is never forgotten."""
    let_do(Owners.leave, nothing)
