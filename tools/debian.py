"""Programs out of Debian's packages, without root.

A program on PATH is taken as it is. Otherwise its packages are fetched with ``apt-get download``,
which checks them against the signed package lists, and unpacked into the user's cache. They appear
there under their final name only when all is unpacked, so what was interrupted is never taken for
finished. What the packages depend on is not fetched: name those that are needed, too. Root may also
bring missing package lists up to date, so that a new machine needs nothing by hand.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCRATCH_PREFIX = ".tmp-"


class DebianError(Exception):
    """A program cannot be had; the message says what to do and is meant to be shown as it is."""


@dataclass(frozen=True)
class Program:
    """A program that runs here; `environ` is what its environment has to hold in addition."""

    path: Path
    environ: Mapping[str, str]


def find(name: str, *packages: str) -> Program:
    """The program, from PATH or from the packages, of which the first has it in ``/usr/bin``.

    Processes that call this at once fetch only once. Raises `DebianError`.
    """
    if found := shutil.which(name):
        return Program(Path(found), {})
    root = cache_root()
    directory = root / packages[0]
    if not directory.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with _exclusive(root / ".lock"):
            _remove_leftovers(root)
            if not directory.is_dir():
                _unpack_into(directory, name, packages)
    libraries = sorted(str(path) for path in directory.glob("usr/lib/*-linux-gnu*"))
    environ = {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}
    return Program(_within(directory, name), environ)


def cache_root() -> Path:
    """The folder of all unpacked packages: below `XDG_CACHE_HOME`, or `~/.cache` without it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "modelinstance-operator" / "debian"


def _within(directory: Path, name: str) -> Path:
    return directory / "usr" / "bin" / name


def _unpack_into(directory: Path, name: str, packages: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=directory.parent) as scratch:
        fetched, unpacked = Path(scratch) / "packages", Path(scratch) / "unpacked"
        fetched.mkdir()
        unpacked.mkdir()
        _download(fetched, name, packages)
        for package in sorted(fetched.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(unpacked)], fetched, name, packages)
        if not os.access(_within(unpacked, name), os.X_OK):
            raise DebianError(f"Debian's package {packages[0]} holds no program /usr/bin/{name}")
        unpacked.rename(directory)


def _download(directory: Path, name: str, packages: tuple[str, ...]) -> None:
    """Fetch the packages; where this user may, with new package lists if need be."""
    command = ["apt-get", "download", "--quiet", *packages]
    try:
        _run(command, directory, name, packages)
    except DebianError as error:
        if os.geteuid() != 0:
            raise
        try:
            _run(["apt-get", "update", "--quiet"], directory, name, packages)
        except DebianError:
            raise error from None
        _run(command, directory, name, packages)


def _run(command: list[str], directory: Path, name: str, packages: tuple[str, ...]) -> None:
    """Run a step; a failure says how else the program can be had."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise DebianError(
            f"{name} is not on PATH, and without {command[0]} it cannot be fetched: install it "
            f"(Debian has it in the package {packages[0]})"
        ) from None
    if done.returncode != 0:
        raise DebianError(
            f"{name} is not on PATH, and `{' '.join(command[:2])}` ended with {done.returncode}:\n"
            f"{done.stdout.strip()}\n"
            f"Run `apt-get update` and try again, or `apt-get install {' '.join(packages)}`"
        )


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes left; the lock says that none is at work."""
    for leftover in root.glob(f"{_SCRATCH_PREFIX}*"):
        shutil.rmtree(leftover)


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
