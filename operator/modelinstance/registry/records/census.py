"""How many records there are: of each model, in each phase, for each reason, ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from modelinstance.registry.health.chain import Verdict
from modelinstance.registry.health.reasons import Phase, Reason


@dataclass(frozen=True, slots=True)
class Totals:
    """How many there are."""

    models: int
    instances: int
    healthy: int


class Census:
    """Counts records by model name (an alias does not count) and phase; nothing is left of zero."""

    def __init__(self) -> None:
        self.by_model: dict[str, Counter[Phase]] = {}
        self.reasons: Counter[Reason] = Counter()
        self.ready = 0

    def __contains__(self, model_name: str) -> bool:
        return model_name in self.by_model

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.by_model))

    def __len__(self) -> int:
        return len(self.by_model)

    def enter(self, model_name: str, verdict: Verdict) -> None:
        """A record of that model comes."""
        phases = self.by_model.setdefault(model_name, Counter())
        phases[verdict.phase] += 1
        self.reasons[verdict.reason] += 1
        self.ready += verdict.ready

    def leave(self, model_name: str, verdict: Verdict) -> None:
        """A record of that model goes."""
        phases = self.by_model[model_name]
        phases[verdict.phase] -= 1
        self.reasons[verdict.reason] -= 1
        self.ready -= verdict.ready
        if not phases.total():
            del self.by_model[model_name]
