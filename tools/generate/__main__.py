"""``python -m generate`` writes the generated files; with ``--check`` it only compares them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from generate import crds, deploy, rbac, reference, values
from guarded.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]

STEPS: tuple[Callable[[], dict[str, str]], ...] = (
    crds.files,
    rbac.files,
    values.files,
    reference.files,
    lambda: deploy.files(ROOT / "Helm-chart"),  # from what the steps before it have written
)
"""Each gives generated files: their paths from the root, and their texts."""


def main(arguments: list[str]) -> int:
    """Write or check all files; returns the exit status."""
    drifted = []
    for files in STEPS:
        for name, text in files().items():
            path = ROOT / name
            if path.exists() and path.read_text(encoding="utf-8") == text:
                continue
            drifted.append(name)
            if "--check" not in arguments:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(f"wrote {name}")
    if "--check" in arguments and drifted:
        print("out of date, run `make generate`:", *drifted, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ToolError as error:
        sys.exit(f"generate: {error}")
