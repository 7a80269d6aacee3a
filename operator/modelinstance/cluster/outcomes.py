"""What the API server's answer to a write means, and what is said of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from modelinstance.cluster.client import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    SERVER_ERROR,
    TOO_MANY,
    UNAUTHORIZED,
    ClusterError,
)
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.pacing import WriteResult

UNPROCESSABLE = 422
MISFIT = "failed to create typed patch object"
"""With these words and 500 the API server tells of a field that the installed CRD has not."""

SILENCE_SECONDS = 600.0
"""A complaint that was not heard of for this long is told again."""
MAX_SAID = 100

_RESULTS = {
    None: WriteResult.UNAVAILABLE,
    UNAUTHORIZED: WriteResult.UNAUTHORIZED,
    FORBIDDEN: WriteResult.FORBIDDEN,
    CONFLICT: WriteResult.CONFLICT,
    UNPROCESSABLE: WriteResult.INVALID,
    TOO_MANY: WriteResult.THROTTLED,
}
_HINTS = {
    WriteResult.FORBIDDEN: "; grant the operator what its role in deploy/ holds",
    WriteResult.INVALID: "; the installed CRD is not of this version: apply crds/",
}


def hint_of(result: WriteResult) -> str:
    """What a person has to do about it, to be added to what went wrong; empty if nothing."""
    return _HINTS.get(result, "")


def result_of(error: ClusterError) -> WriteResult:
    """How a write ended that failed. Without the resource type there is nothing to write to."""
    if error.status == NOT_FOUND:
        return WriteResult.GONE if error.kind else WriteResult.UNAVAILABLE
    if error.status is not None and error.status >= SERVER_ERROR:
        return WriteResult.INVALID if MISFIT in str(error) else WriteResult.UNAVAILABLE
    return _RESULTS.get(error.status, WriteResult.FAILED)


class FailureLog:
    """Says each thing once, not once for each object that it is said of."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._said: dict[str, float] = {}

    def say(self, key: InstanceKey, text: str, *, hint: str = "", again: bool = True) -> None:
        """Log why a write failed, unless it was said of another object of the namespace.

        ``hint`` is what a person has to do, ``again`` whether it will be tried again.
        """
        now = self._clock()
        what = text.replace(str(key), f"{key.namespace}/*").replace(f'"{key.name}"', '"*"')
        heard = self._said.pop(what, None)
        self._said[what] = now
        if heard is not None and now - heard < SILENCE_SECONDS:
            return
        while len(self._said) > MAX_SAID:
            del self._said[next(iter(self._said))]
        level = logging.ERROR if hint else logging.WARNING
        self._log.log(level, "%s%s%s", text, hint, "; it will be tried again" if again else "")
