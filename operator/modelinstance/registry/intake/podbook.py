"""The pods that are known, and what follows from them for the records.

A record is concerned by the pod that owns it, however it came: made for the pod, registered by an
agent in it, or written by hand with an owner reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_address

from modelinstance.registry.health.pods import GONE, Gate, PodCondition, PodFacts, PodState
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podspecs import MANAGER, SettingError, port_of, wants_names
from modelinstance.registry.intake.registrations import MANAGED_BY
from modelinstance.registry.records.owners import Place
from modelinstance.registry.records.records import Records

NOT_REGISTERED = "NotRegistered"
NOT_WEIGHTED = "WeightIsZero"

Listener = Callable[[InstanceKey], None]


def is_made_for_pod(record: Record) -> bool:
    """Whether a record's resource was made here, for a pod."""
    return record.labels.get(MANAGED_BY) == MANAGER


class PodBook:
    """All labelled pods by key, in step with the records.

    ``scopes`` are the namespaces that are listed, or the empty one for all. ``highest`` is the
    highest resourceVersion that was seen.
    """

    def __init__(self, records: Records, scopes: Collection[str]) -> None:
        self.highest = 0
        self._unlisted = set(scopes)
        self._records = records
        self._pods: dict[InstanceKey, PodFacts] = {}
        self._keys: dict[str, InstanceKey] = {}
        self._at: dict[Place, dict[str, None]] = {}
        self._places: dict[str, frozenset[Place]] = {}
        self._versions: dict[str, int] = {}
        self._named: set[str] = set()
        self._unnamed: dict[str, str] = {}
        self._listeners: list[Listener] = []
        self._end_listeners: list[Callable[[str], None]] = []
        records.on_change(self._look)

    def __len__(self) -> int:
        return len(self._pods)

    def __iter__(self) -> Iterator[PodFacts]:
        return iter(tuple(self._pods.values()))

    def get(self, key: InstanceKey) -> PodFacts | None:
        """The pod of that name."""
        return self._pods.get(key)

    def of(self, uid: str) -> PodFacts | None:
        """The pod of that uid."""
        key = self._keys.get(uid)
        return None if key is None else self._pods.get(key)

    def is_listed(self, namespace: str) -> bool:
        """Whether the pods of a namespace were listed at least once."""
        return not self._unlisted & {"", namespace}

    def on_change(self, listener: Listener) -> None:
        """Call the listener with the key of each pod that came, went or changed, or a record of it.

        The evidence of the records holds already by then.
        """
        self._listeners.append(listener)

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call the listener with the uid of each pod that is gone, or is none of ours any more."""
        self._end_listeners.append(listener)

    # -- being told ------------------------------------------------------------------------------

    def take(self, facts: PodFacts) -> None:
        """A pod as it was at its version, unless a later one is known."""
        self.highest = max(self.highest, facts.version)
        if facts.version <= self._versions.get(facts.uid, -1):
            return
        self._versions[facts.uid] = facts.version
        known = self._pods.get(facts.key)
        if known == facts:
            return
        if known is not None and known.uid != facts.uid:
            self.drop(facts.key, known.uid)
            known = None
        self._pods[facts.key], self._keys[facts.uid] = facts, facts.key
        if not wants_names(facts):
            self._named.discard(facts.uid)
        left = self._settle(facts)
        self._judge_all(facts)
        self._judge_others(facts.uid, left)
        self._tell(facts.key)

    def drop(self, key: InstanceKey, uid: str, *, lives: bool = False) -> None:
        """A pod is gone; or it ``lives``, and is none of ours any more.

        It may live as well where a LIST does not show it: not if its end had begun.
        """
        known = self._pods.get(key)
        if known is None or known.uid != uid:
            return
        del self._pods[key], self._keys[uid]
        self._unnamed.pop(uid, None)
        self._named.discard(uid)
        self._versions.pop(uid, None)
        left = self._places.pop(uid, frozenset())
        self._leave(uid, left)
        ended = not lives or known.terminating or known.ended
        for record in self._records.owned_by(uid):
            gone = ended or is_made_for_pod(record)
            self._records.set_pod(record, GONE if gone else None)
        self._judge_others(uid, left)
        for listener in self._end_listeners:
            listener(uid)
        self._tell(key)

    def answered(self, facts: PodFacts) -> None:
        """A pod as it was in answer to a write of ours, which may come after its end.

        So it counts only as long as the pod is known.
        """
        if facts.uid in self._keys:
            self.take(facts)

    def end_list(
        self, scope: str, pods: Collection[PodFacts], version: int = 0, floor: int = 0
    ) -> None:
        """Take in a whole LIST of a scope, which is at a version.

        ``floor`` is the highest version that was seen before it began: a LIST from below comes from
        a cluster that was restored to an earlier state, and is believed.
        """
        if version < floor:
            self._versions.clear()
            self.highest = version
        present = {facts.uid for facts in pods}
        for facts in self:
            if scope in {"", facts.key.namespace} and facts.uid not in present:
                self.drop(facts.key, facts.uid, lives=True)
        for facts in sorted(pods, key=lambda each: (each.created, each.key)):
            self.take(facts)
        if scope in self._unlisted:
            self._unlisted.discard(scope)
            for record in self._records:
                self._look(record)

    def name(self, facts: PodFacts, why_not: str | None = None) -> None:
        """A pod's resource has the names that its engine has said; or why not yet."""
        if why_not is None:
            self._named.add(facts.uid)
        else:
            self._unnamed[facts.uid] = why_not
        self._judge_all(facts)

    # -- what follows ----------------------------------------------------------------------------

    def gate_of(self, facts: PodFacts) -> Gate:
        """What our gate of a pod is to show."""
        owned = sorted(
            self._records.owned_by(facts.uid),
            key=lambda record: (not record.verdict.ready, record.key != facts.key, record.key),
        )
        if not owned:
            return Gate(False, NOT_REGISTERED, "The registry has no instance for this pod yet")
        verdict = owned[0].verdict
        if verdict.ready and not any(
            record.verdict.ready and record.spec.weight > 0 for record in owned
        ):
            return Gate(False, NOT_WEIGHTED, "The instance has weight 0: it is never picked")
        return Gate(verdict.ready, verdict.reason.value, self._records.explain(owned[0]))

    def _tell(self, key: InstanceKey) -> None:
        for listener in self._listeners:
            listener(key)

    def _settle(self, facts: PodFacts) -> frozenset[Place]:
        """See to it that a pod that has just got an address and port is known to be there.

        Returns where it is no more.
        """
        before, now = self._places.pop(facts.uid, frozenset()), places_of(facts)
        self._leave(facts.uid, before - now)
        for place in now - before:
            self._at.setdefault(place, {})[facts.uid] = None
        if now:
            self._places[facts.uid] = now
        return before - now

    def _leave(self, uid: str, places: Collection[Place]) -> None:
        for place in places:
            there = self._at[place]
            del there[uid]
            if not there:
                del self._at[place]

    def _holder(self, place: Place) -> str | None:
        """The uid of the pod that has got there last, of those that are there still."""
        return next(reversed(self._at.get(place, {})), None)

    def _judge_all(self, facts: PodFacts) -> None:
        """Let the records that a pod concerns show it: its own, and others where it is."""
        for record in self._records.owned_by(facts.uid):
            self._judge(record)
        self._judge_others(facts.uid, self._places.get(facts.uid, ()))

    def _judge_others(self, uid: str, places: Collection[Place]) -> None:
        for place in places:
            for record in self._records.owned_at(place):
                if record.owner != uid:
                    self._judge(record)

    def _judge(self, record: Record) -> None:
        facts = None if record.owner is None else self.of(record.owner)
        if facts is not None:
            self._records.set_pod(record, self._state(record, facts))
        elif self._is_orphan(record):
            self._records.set_pod(record, GONE)
        place, owner = (record.spec.host, record.spec.port), record.owner
        holder = self._holder(place)
        moved = facts is not None and is_elsewhere(facts, record.spec.host)
        if moved or (owner is not None and holder is not None and holder != owner):
            self._records.displace(record)
        elif holder == owner and owner is not None:
            self._records.displace(record, displaced=False)

    def _is_orphan(self, record: Record) -> bool:
        made = record.owner is not None and is_made_for_pod(record)
        return made and self.is_listed(record.key.namespace)

    def _state(self, record: Record, facts: PodFacts) -> PodState:
        waits = wants_names(facts) and facts.uid not in self._named
        ready = facts.state.condition is PodCondition.READY
        if not waits or not ready or not is_made_for_pod(record):
            return facts.state
        why = self._unnamed.get(facts.uid, "it was not asked yet")
        return PodState(PodCondition.STARTING, f"It has yet to get the names of its engine: {why}")

    def _look(self, record: Record) -> None:
        """A record came, went or changed: let it show what is known of its pod."""
        if self._records.get(record.key) is record:
            self._judge(record)
        if record.key in self._pods or is_made_for_pod(record):
            self._tell(record.key)
        key = None if record.owner is None else self._keys.get(record.owner)
        if key is not None and key != record.key:
            self._tell(key)


def places_of(facts: PodFacts) -> frozenset[Place]:
    """The addresses of a pod, with the port that it says; none if it does not say, or has ended."""
    if facts.ended or not facts.addresses:
        return frozenset()
    try:
        port = port_of(facts)
    except SettingError:
        return frozenset()
    return frozenset((address, port) for address in facts.addresses)


def is_elsewhere(facts: PodFacts, host: str) -> bool:
    """Whether a pod has addresses, and a host is another one: neither its own nor its node's.

    What a name stands for is not known here.
    """
    if not facts.addresses or host in facts.addresses or host in facts.nodes:
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
