"""``python -m generate`` writes the generated files; with ``--check`` it only compares them."""

from __future__ import annotations

import sys
from pathlib import Path

from generate import crds, rbac, reference

ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[str, str]:
    """Every generated file: its path from the root, and its text."""
    return {**crds.files(), **rbac.files(), **reference.files()}


def main(arguments: list[str]) -> int:
    """Write or check all files; returns the exit status."""
    drifted = []
    for name, text in generated().items():
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
    sys.exit(main(sys.argv[1:]))
