"""How often in a row something failed or succeeded, and what to say of it."""

from __future__ import annotations


class Streak:
    """Counts until it is sure: of a failure after ``failures`` of them, else of ``successes``.

    ``message`` says what is wrong once that is sure, and is empty otherwise. It changes only when
    another trouble has come as often in a row: what alternates is not told anew each time.
    """

    def __init__(self, *, failures: int, successes: int) -> None:
        self.message = ""
        self._needed, self._enough = failures, successes
        self._failures = self._same = self._successes = 0
        self._last = self._told = ""

    @property
    def doubtful(self) -> bool:
        """Whether it failed the last time, or is still taken for failed."""
        return self._failures > 0 or bool(self.message)

    def succeed(self) -> None:
        """It went well."""
        self._failures = self._same = 0
        self._last = ""
        self._successes += 1
        if self._successes >= self._enough:
            self.message = self._told = ""

    def fail(self, trouble: str) -> None:
        """It failed; ``trouble`` is what was asked and what came."""
        self._successes = 0
        self._failures += 1
        self._same = self._same + 1 if trouble == self._last else 1
        self._last = trouble
        changed = trouble != self._told and self._same >= self._needed
        if changed if self.message else self._failures >= self._needed:
            self._say(trouble)

    def _say(self, trouble: str) -> None:
        self._told = trouble
        if self._needed == 1:
            self.message = trouble
        elif self._same >= self._needed:
            self.message = f"{trouble}, {self._needed} times in a row"
        else:
            self.message = f"{trouble}, the last of {self._needed} failures in a row"
