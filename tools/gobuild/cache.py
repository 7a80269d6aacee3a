"""Directories in the user's cache that are made once.

A directory appears under its final name only when it is complete, so what was killed while it was
made is never taken for finished. Processes that want it at once make it only once.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gobuild.progress import Progress

_SCRATCH_PREFIX = ".tmp-"


def root(folder: str) -> Path:
    """A folder of cached directories: below `XDG_CACHE_HOME`, or `~/.cache` without it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "modelinstance-operator" / folder


def ensure(
    directory: Path,
    is_complete: Callable[[], bool],
    make: Callable[[Path], Path],
    progress: Progress,
) -> None:
    """Have `directory` complete: `make` is given a scratch folder, and tells what to move there."""
    if is_complete():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(directory.parent / ".lock", progress):
        _remove_leftovers(directory.parent)
        if is_complete():
            return
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=directory.parent) as scratch:
            made = make(Path(scratch))
            shutil.rmtree(directory, ignore_errors=True)  # exists only if it lost some of its parts
            made.rename(directory)
    progress(f"cached in {directory}")


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left; the lock says that none is at work."""
    for leftover in folder.glob(f"{_SCRATCH_PREFIX}*"):
        shutil.rmtree(leftover)


@contextmanager
def _exclusive(lock: Path, progress: Progress) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that is at work in {lock.parent}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
