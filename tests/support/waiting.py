"""Waiting on conditions, never on the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0
"""How many times a stated bound a test allows: the machines are small and shared."""


def eventually(condition: Callable[[], T], within: float = 3.0) -> T:
    """Wait until the condition is truthy and return what it gave.

    ``within`` is the stated bound in seconds, of which five times are allowed. An AssertionError or
    LookupError of the condition counts as "not yet"; the last one is shown on failure.
    """
    deadline = time.monotonic() + within * PATIENCE
    seen: object = None
    while True:
        try:
            value = condition()
        except (AssertionError, LookupError) as error:
            seen = error
        else:
            if value:
                return value
            seen = value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s (times {PATIENCE:g}); last: {seen!r}")
        time.sleep(0.05)


def stays(condition: Callable[[], object], seconds: float) -> None:
    """Check that a condition holds for some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        time.sleep(0.05)
