"""``python -m demo [--keep]``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from controlplane import binaries
from controlplane.errors import ToolError
from demo.stage import DemoError, Stage
from demo.story import Story


def main() -> int:
    """Play the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it up with lines to try by hand")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        found = binaries.ensure()
        with (
            tempfile.TemporaryDirectory(prefix="modelinstance-demo-") as directory,
            Stage(found, Path(directory)) as stage,
        ):
            story = Story(stage)
            story.tell()
            if arguments.keep:
                story.stay()
            story.end()
    except (DemoError, ToolError) as error:
        print(f"\nNOT AS SAID: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        f"\nEverything was as said, in {time.monotonic() - began:.0f} s. Nothing is left running."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
