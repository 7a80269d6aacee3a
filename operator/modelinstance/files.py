"""Files that others read while they are replaced."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

DEFAULT_MODE = 0o644


def replace(path: Path, text: str) -> None:
    """Put a text in the place of a file: whoever reads it sees the old one or the new one, whole.

    A file that was there keeps its permissions; a symbolic link stays, and what it names is
    replaced. Raises `OSError`, and then leaves the old file as it was.
    """
    path = path.resolve()
    try:
        mode = path.stat().st_mode & 0o7777
    except FileNotFoundError:
        mode = DEFAULT_MODE
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text)
            written.flush()
            os.fchmod(written.fileno(), mode)
            os.fsync(written.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a crash of the machine may bring the old file back
    finally:
        os.close(folder)
