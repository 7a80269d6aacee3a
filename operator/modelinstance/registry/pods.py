"""What a pod tells of the instance that runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
