"""What the registry knows of one instance."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from modelinstance.registry.health.chain import Evidence, Life, decide, is_alive
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.instance import Incarnation, InstanceKey, InstanceSpec, Rotation
from modelinstance.registry.load import Load
from modelinstance.registry.model_instance import ModelInstance
from modelinstance.registry.timeline import Expiring

HEARD_FOR_ITSELF = 4
"""Strength of a claim on an address: a heartbeat came within the timeout."""
SILENT_WITH_MANY = 3
"""Strength of a claim on an address: its silence is held to be none of its own."""
TAKEN_AT_ITS_WORD = 2
"""Strength of a claim on an address: heartbeats are not required."""
COMES_AND_GOES = 1
"""Strength of a claim on an address: it has to prove itself, heard or not just now."""


class Record(Expiring):
    """What the registry knows of one instance. Only `Records` changes it.

    ``created`` orders claims on one address, the least first. ``last_beat`` and
    ``last_beat_monotonic`` are the time of day and the monotonic time of the last sign of life
    that this process knows of. ``since`` is when ``verdict.ready`` last changed. ``handle`` is the
    object that stands for it where plain users of the registry class list it.

    ``id`` is that of its incarnation, ``former_id`` the one from before its resource had a uid.
    ``load`` is what the worker last said of it, at the attended second ``loaded_at``.

    ``fit`` is whether it would be ready were it not for ``probation``, which is what it has to
    prove after its ``falls`` (attended times). ``fallen``: the last of these is counted, and it has
    been neither fit nor heard anew since. ``frozen``: its silence is one of many.
    ``heard_in`` is the model as one of which it is counted as heard. ``presumed``: that it is heard
    is taken from an earlier process, whose last word said nothing of heartbeats.

    ``deregistered_since`` and ``drained_since`` are times of day, ``None`` where that is not so.

    ``owner`` is the uid of the pod that owns its resource, ``pod`` what is known of that pod. The
    other evidence is as in `Evidence`.
    """

    __slots__ = (
        "alive", "created", "deleting", "deregistered", "deregistered_since", "displaced",
        "drained", "drained_since", "failure", "fallen", "falls", "fit", "former_id", "frozen",
        "handle", "heard_in", "id", "key", "labels", "last_beat", "last_beat_monotonic", "life",
        "load", "loaded_at", "owner", "pod", "presumed", "probation", "probe_message",
        "probe_passing", "set_by_caller", "since", "spec", "uid", "verdict",
    )  # fmt: skip

    def __init__(
        self, key: InstanceKey, uid: str, spec: InstanceSpec, created: float, since: datetime
    ) -> None:
        super().__init__()
        self.key = key
        self.uid = uid
        self.spec = spec
        self.created = created
        self.labels: dict[str, str] = {}
        self.identify()
        self.load: Load | None = None
        self.loaded_at = 0.0
        self.life = Life.UNHEARD
        self.deleting = False
        self.deregistered = False
        self.drained = False
        self.deregistered_since: datetime | None = None
        self.drained_since: datetime | None = None
        self.owner: str | None = None
        self.pod: PodState | None = None
        self.displaced = False
        self.failure: str | None = None
        self.probe_passing: bool | None = None
        self.probe_message = ""
        self.set_by_caller: bool | None = None
        self.fallen = self.fit = self.frozen = self.presumed = False
        self.falls: deque[tuple[float, Reason]] | None = None
        self.probation: Probation | None = None
        self.heard_in: str | None = None
        self.last_beat: datetime | None = None
        self.last_beat_monotonic: float | None = None
        self.since = since
        self.handle: ModelInstance | None = None
        evidence = Evidence(key, spec, self.life, 0.0)
        self.verdict = decide(evidence)
        self.alive = is_alive(evidence)

    @property
    def incarnation(self) -> Incarnation:
        """Which life of the resource this is."""
        return Incarnation(self.uid, self.spec.address)

    def identify(self, former_id: str | None = None) -> None:
        """Work out the id anew. Without a uid the key stands in for it."""
        self.id = Incarnation(self.uid or str(self.key), self.spec.address).id
        self.former_id = former_id

    @property
    def claims_address(self) -> bool:
        """Whether it wants to be called at its address at all."""
        ending = self.pod is not None and self.pod.condition is PodCondition.TERMINATING
        leaving = self.deleting or self.deregistered or self.drained or ending or self.displaced
        return self.spec.rotation is Rotation.ACTIVE and not leaving

    @property
    def expected(self) -> bool:
        """Whether it ought to be heard at all, and was."""
        return self.spec.heartbeat_required and self.claims_address and not self.presumed

    @property
    def claim(self) -> tuple[int, float, InstanceKey]:
        """The rank of its claim on its address: the least holds it.

        That of one that comes and goes does not change as it does: nobody else would come and go
        with it.
        """
        strength = 0
        if self.probation is not None and self.probation.reason is Reason.FLAPPING:
            strength = COMES_AND_GOES
        elif self.life is Life.HEARD:
            strength = HEARD_FOR_ITSELF
        elif self.frozen:
            strength = SILENT_WITH_MANY
        elif not self.spec.heartbeat_required:
            strength = TAKEN_AT_ITS_WORD
        return (-strength, self.created, self.key)


class Probation(Expiring):
    """What one record has to do to return: to be well for so many seconds.

    ``since`` is the attended time from which on it is well, ``None`` while it is not.
    """

    __slots__ = ("reason", "record", "seconds", "since")

    def __init__(self, record: Record, reason: Reason, seconds: float) -> None:
        super().__init__()
        self.record = record
        self.reason = reason
        self.seconds = seconds
        self.since: float | None = None
