"""Each replay has its line in the table of failures, and each line its replay."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_failures_names_each_replay_once() -> None:
    page = (ROOT / "docs/failures.md").read_text(encoding="utf-8")
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/replays/\w+\.py)\)", page)
    there = [
        (name, str(module.relative_to(ROOT)))
        for module in (ROOT / "tests/replays").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", module.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(named) == sorted(there)
