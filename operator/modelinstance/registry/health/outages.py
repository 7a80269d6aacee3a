"""What counts as an outage between the workers and us: of one model, or of all."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from modelinstance.registry.health.reasons import RegistryReason
from modelinstance.registry.health.record import Record

MAX_NEWCOMERS = 10_000
"""Of how many newcomers of a group it is known when they came, the latest."""

EVERYONE = None
"""The group of all instances, beside that of each model."""

Group = str | None
"""The name of a model, or `EVERYONE`."""


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """When silence counts as one of many: a share from 0 to 1, a number, and for how long at most.

    ``seconds`` is the longest that one outage may freeze anybody.
    """

    share: float = 0.5
    least: int = 3
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A group's silence has begun or ended to count as one."""

    group: Group
    began: bool

    @property
    def reason(self) -> RegistryReason:
        """What it is called."""
        if self.began:
            return RegistryReason.CORRELATED_SILENCE
        return RegistryReason.CORRELATED_SILENCE_ENDED

    def __str__(self) -> str:
        whose = "all models" if self.group is EVERYONE else f"model {self.group}"
        if self.began:
            return (
                f"Instances of {whose} fell silent at once: they are selected on as Degraded, as "
                f"the cause is likely between them and the registry"
            )
        return f"The instances of {whose} that fell silent at once are heard again, or are out"


class Members:
    """One group: ``heard`` is how many are; ``silent`` and ``frozen`` are who fell silent lately.

    They are kept with the time at which they were last heard. ``began`` is when its outage began,
    ``None`` while there is none, and ``cut`` when the first of those that fell was last heard.
    ``wanes`` is since when so few are silent that it is none any more. ``least`` is no more than
    the least timeout of the frozen.
    """

    __slots__ = ("began", "cut", "frozen", "heard", "least", "newcomers", "silent", "wanes")

    def __init__(self) -> None:
        self.heard = 0
        self.newcomers: list[float] = []
        self.silent: dict[Record, float] = {}
        self.frozen: dict[Record, float] = {}
        self.cut = math.inf
        self.began: float | None = None
        self.wanes: float | None = None
        self.least = math.inf

    def __bool__(self) -> bool:
        return bool(self.heard or self.silent or self.frozen)

    def is_out(self, settings: GuardSettings | None) -> bool:
        """Whether so many fell silent that it counts as one outage.

        It is none when as many have come anew since: these are replacements, and have found the
        way to us.
        """
        fallen = len(self.silent) + len(self.frozen)
        return (
            settings is not None
            and fallen >= settings.least
            and fallen >= settings.share * (fallen + self.heard)
            and fallen > self._replacements()
        )

    def welcome(self, now: float) -> None:
        """One is heard that was not known to be there, or was silent for long."""
        self.newcomers.append(now)
        if len(self.newcomers) > 2 * MAX_NEWCOMERS:
            del self.newcomers[:MAX_NEWCOMERS]

    def _replacements(self) -> int:
        """How many of those that are heard came after the first that fell was last heard."""
        cut = next(iter(self.silent.values()), math.inf) if self.began is None else self.cut
        return min(self.heard, len(self.newcomers) - bisect_right(self.newcomers, cut))

    def ends(self, settings: GuardSettings | None) -> float:
        """When its outage ends at the latest."""
        if self.began is None:
            return math.inf
        return self.began + settings.seconds if settings is not None else -math.inf

    def holds(self, record: Record, now: float, timeout: float) -> bool:
        """Whether its outage lets a record be frozen on."""
        if record not in self.frozen:
            return False
        return self.wanes is None or now < self.wanes + timeout
