"""What the Kubernetes API says of a resource, in the registry's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelinstance.registry.instance import Incarnation, InstanceKey, InstanceSpec


@dataclass(frozen=True, slots=True)
class ConditionSeen:
    """A condition as it stands in a status."""

    status: bool
    since: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the status of a resource says; all of it was written by this operator."""

    phase: str
    reason: str
    generation: int
    incarnation: Incarnation | None
    last_beat: datetime | None = None
    conditions: Mapping[str, ConditionSeen] = field(default_factory=dict)

    def holds(self, kind: str, reason: str | None = None) -> bool:
        """Whether a condition is true, and for that reason if one is given."""
        seen = self.conditions.get(kind)
        return seen is not None and seen.status and reason in {None, seen.reason}

    def since(self, kind: str) -> datetime | None:
        """Since when a condition is true, if it is."""
        seen = self.conditions.get(kind)
        return seen.since if seen is not None and seen.status else None


@dataclass(frozen=True, slots=True)
class Observed:
    """A ModelInstance as one event or LIST shows it.

    ``version`` is the resourceVersion, which grows with each change in the cluster; ``created`` is
    in seconds. ``heartbeat`` is the annotation's value, ``heartbeat_applied`` the one that kubectl
    noted as last applied. ``registration`` is the digest of the registration over HTTP that it was
    written from, ``pod_digest`` the same for one that was made for a pod, ``owner`` the uid of the
    pod that owns it.
    """

    key: InstanceKey
    uid: str
    version: int
    generation: int
    created: float
    spec: InstanceSpec
    labels: Mapping[str, str] = field(default_factory=dict)
    heartbeat: str | None = None
    heartbeat_applied: str | None = None
    registration: str | None = None
    pod_digest: str | None = None
    owner: str | None = None
    deleting: bool = False
    reported: Reported | None = None

    @property
    def incarnation(self) -> Incarnation:
        """Which life of the resource this shows."""
        return Incarnation(self.uid, self.spec.address)
