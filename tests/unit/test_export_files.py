"""Files that are replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelinstance import files


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, "one")
    assert path.stat().st_mode & 0o777 == files.DEFAULT_MODE
    path.chmod(0o640)
    before = path.stat().st_ino
    files.replace(path, "two")
    assert path.read_text("utf-8") == "two"
    assert path.stat().st_ino != before, "another file was put in its place"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("one", "utf-8")
    link.symlink_to(real)
    files.replace(link, "two")
    assert link.is_symlink()
    assert real.read_text("utf-8") == "two"


def test_what_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.replace(path, "one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, "two")
    assert path.read_text("utf-8") == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "no" / "file", "x")
