"""What is to be said of an engine, from what it answered. Time and chance are given; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from modelinstance.agent.models import Served
from modelinstance.agent.settings import JITTER
from modelinstance.agent.streak import Streak
from modelinstance.client.workers import Load


def jittered(seconds: float, random: Random) -> float:
    """About as long, so that many agents do not do it at once."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)


@dataclass(frozen=True, slots=True)
class Word:
    """What to tell the registries: the names, and the load or else why it cannot answer."""

    served: Served
    load: Load | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """How a completion by the name ``model`` ended.

    ``trouble`` is what was asked and what came instead, or empty. ``generated_before`` and
    ``generated_after`` are the engine's counter of tokens around it, where it has one.
    """

    model: str
    trouble: str = ""
    timed_out: bool = False
    generated_before: float | None = None
    generated_after: float | None = None

    @property
    def found_it_busy(self) -> bool:
        """Whether the engine had no time for it, because it was answering others meanwhile."""
        return (
            self.timed_out
            and self.generated_before is not None
            and self.generated_after is not None
            and self.generated_after > self.generated_before
        )


class EngineState:
    """Takes in what the engine answered, and knows what to say of it.

    Until a completion has succeeded for the first time nothing is said; nor while there is doubt.
    An engine that was taken for failed has to show by a completion that it is back, and one that
    serves another model that it completes by that name: to be busy is not enough.
    """

    def __init__(
        self,
        *,
        failure_threshold: int,
        success_threshold: int,
        completion_interval: float,
        random: Random,
    ) -> None:
        self._interval = completion_interval
        self._random = random
        self._failures, self._successes = failure_threshold, success_threshold
        self._routes, self._completions = self._streak(), self._streak()
        self._served: Served | None = None
        self._load: Load | None = None
        self._proven = False
        self._ever_proven = False
        self._another = False
        self._failure = ""
        self._completion_due = float("-inf")

    @property
    def served(self) -> Served | None:
        """The names under which it last said to answer."""
        return self._served

    def answered(self, served: Served, load: Load | None) -> None:
        """It is well by its health route, and named its models."""
        if self._served is not None and served.model != self._served.model:
            self._serves_another(served.model)
        self._served, self._load = served, load
        doubtful = self._routes.doubtful
        self._routes.succeed()
        if doubtful and not self._routes.doubtful:
            self._completion_due = float("-inf")
        if not self._interval and not self._routes.doubtful:
            self._proven = self._ever_proven = True
        self._conclude()

    def failed(self, trouble: str) -> None:
        """Its health route or its list of models failed."""
        self._routes.fail(trouble)
        if self._routes.message:
            self._proven = False
        self._conclude()

    def wants_completion(self, now: float) -> bool:
        """Whether a completion is to be asked for, at this monotonic time."""
        well = self._served is not None and not self._routes.doubtful
        return well and self._interval > 0 and now >= self._completion_due

    def completed(self, completion: Completion, now: float) -> None:
        """A completion has ended, well or not; what was asked of another model says nothing."""
        if self._served is None or completion.model != self._served.model:
            return
        if completion.trouble and not completion.found_it_busy:
            self._completions.fail(completion.trouble)
        else:
            self._completions.succeed()
            if not self._routes.message and not (self._another and completion.trouble):
                self._proven = self._ever_proven = True
                self._another = False
        self._conclude()
        again = self._completions.doubtful or not self._proven
        self._completion_due = now if again else now + jittered(self._interval, self._random)

    def _serves_another(self, model: str) -> None:
        """What is known of the completions is about a model that is there no more."""
        if self._interval:
            self._completion_due = float("-inf")
            self._completions = self._streak()
            self._proven, self._another = False, True
            self._failure = f"it serves {model!r} now, and has completed nothing by that name yet"

    def _streak(self) -> Streak:
        return Streak(failures=self._failures, successes=self._successes)

    def _conclude(self) -> None:
        """What was wrong stays so until it is disproven."""
        if message := self._routes.message or self._completions.message:
            self._failure = message
        elif self._proven:
            self._failure = ""

    def word(self) -> Word | None:
        """What to say now; ``None`` for nothing."""
        if self._served is None or not self._ever_proven:
            return None
        if self._failure:
            return Word(self._served, failure=self._failure)
        if self._routes.doubtful or self._completions.doubtful:
            return None
        return Word(self._served, self._load)
