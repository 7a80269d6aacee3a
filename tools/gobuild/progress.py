"""How those who wait are told what goes on."""

import sys
from collections.abc import Callable

Progress = Callable[[str], None]


def to_stderr(name: str) -> Progress:
    """Show each line of progress to a person, as said by `name`."""
    return lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True)
