"""Names that somebody may have meant.

A look-up of an unknown name costs no more the more names there are, and leaves nothing behind.
"""

from __future__ import annotations

from bisect import bisect, insort
from difflib import get_close_matches

NEIGHBOURS = 8
"""How many names on either side, in the order of the alphabet, are looked at."""
SUGGESTIONS = 3


class Names:
    """All names under which something can be found, each counted, with its last part apart.

    ``meta-llama/Llama-3.1-8B`` is also found by what resembles ``llama-3.1-8b``.
    """

    def __init__(self) -> None:
        self._sorted: list[tuple[str, str]] = []

    def add(self, name: str) -> None:
        """A name comes."""
        for form in self._forms(name):
            insort(self._sorted, (form, name))

    def discard(self, name: str) -> None:
        """A name that came goes."""
        for form in self._forms(name):
            at = bisect(self._sorted, (form, name)) - 1
            del self._sorted[at]

    def near(self, name: str) -> list[str]:
        """The names that resemble it, the most alike first; at most `SUGGESTIONS`."""
        candidates: dict[str, list[str]] = {}
        for form in self._forms(name):
            at = bisect(self._sorted, (form, ""))
            for known, meant in self._sorted[max(at - NEIGHBOURS, 0) : at + NEIGHBOURS]:
                candidates.setdefault(known, []).append(meant)
        found: dict[str, None] = {}
        for form in self._forms(name):
            for match in get_close_matches(form, candidates, SUGGESTIONS):
                found.update(dict.fromkeys(candidates[match]))
        return list(found)[:SUGGESTIONS]

    @staticmethod
    def _forms(name: str) -> tuple[str, ...]:
        whole = name.casefold()
        last = whole.rsplit("/", 1)[-1]
        return (whole,) if last == whole else (whole, last)
