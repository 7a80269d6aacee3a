"""What has to be done so that a pod has the resource that it asks for, and no other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.intake.podspecs import PodInstance


class Step(StrEnum):
    """What is to be done next for one name."""

    NOTHING = "nothing"
    STORE = "store"
    REMOVE = "remove"
    NAME_TAKEN = "name taken"


@dataclass(frozen=True, slots=True)
class Resource:
    """The ModelInstance of a pod's name, as it was last seen.

    ``ours`` is whether it was made for a pod, ``owner`` the uid of the pod that owns it, ``digest``
    of what it was written from.
    """

    uid: str
    version: int
    ours: bool
    owner: str | None
    digest: str | None
    deleting: bool = False


def plan(pod: PodFacts | None, wanted: PodInstance | None, found: Resource | None) -> Step:
    """What is to be done for one name.

    ``pod`` is the pod of that name, if there is one that has not ended; ``wanted`` what it asks
    for, ``None`` if that is not known; ``found`` the resource of that name.
    """
    if found is None:
        return Step.NOTHING if wanted is None else Step.STORE
    if not found.ours:
        return Step.NOTHING if wanted is None else Step.NAME_TAKEN
    if found.deleting:
        return Step.NOTHING
    if pod is None or found.owner not in {None, pod.uid}:
        return Step.REMOVE
    if wanted is None or (found.owner, found.digest) == (pod.uid, wanted.digest):
        return Step.NOTHING
    return Step.STORE
