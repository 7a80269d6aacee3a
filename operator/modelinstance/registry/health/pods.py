"""What a pod tells of the instance that runs in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelinstance.registry.instance import InstanceKey


class PodCondition(StrEnum):
    """How a pod is, as far as it counts for who would call it."""

    STARTING = "Starting"
    READY = "Ready"
    NOT_READY = "NotReady"
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class PodState:
    """How a pod is, and why, in a sentence."""

    condition: PodCondition
    message: str


@dataclass(frozen=True, slots=True)
class Gate:
    """Our readiness gate of a pod: whether routers are sent there, and why."""

    routable: bool
    reason: str
    message: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the API server says of a pod, as far as it counts here.

    ``created`` is in seconds; it orders pods that tell of one address. ``address`` is the IP
    address that goes into a resource, ``addresses`` are all of them, none as long as it has none,
    and ``nodes`` those of its node. ``version`` is the resourceVersion; it is no fact of its own.
    ``model`` is the value of the label that asks for an instance, ``settings`` the annotations that
    describe it, by the name behind the prefix. ``ports`` are the TCP ports that containers declare,
    with their names, which may be empty.

    ``ready`` is whether the kubelet finds it ready apart from our own gate, ``why`` what it lacks.
    ``started`` is whether all containers have been up. ``ended`` tells that all of them are over
    for good: the address may be another pod's. ``gated`` is whether it has our gate, and ``gate``
    what that shows, with the time of its last change as it stands there.
    """

    key: InstanceKey
    uid: str
    created: float
    model: str
    version: int = field(default=0, compare=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    addresses: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    ports: tuple[tuple[str, int], ...] = ()
    started: bool = False
    ready: bool = False
    why: str = ""
    terminating: bool = False
    ended: bool = False
    gated: bool = False
    gate: Gate | None = None
    gate_since: str = ""

    @property
    def state(self) -> PodState:
        """What this means for who would call it."""
        if self.ended:
            return GONE
        if self.terminating:
            return PodState(
                PodCondition.TERMINATING,
                "The pod is being deleted: no new requests, running ones may end",
            )
        if self.ready:
            return PodState(PodCondition.READY, "The pod is ready")
        if self.started:
            return PodState(PodCondition.NOT_READY, f"The pod is not ready: {self.why}")
        return PodState(PodCondition.STARTING, f"The pod is starting: {self.why}")


GONE = PodState(PodCondition.TERMINATING, "The pod is gone")
"""The state of a pod that has ended."""
