"""Programs out of Debian's packages, without root.

A program on PATH is taken as it is. Otherwise its packages are fetched with ``apt-get download``,
which checks them against the signed package lists, and unpacked into the user's cache. What the
packages depend on is not fetched: name those that are needed, too. Root may also bring missing
package lists up to date, so that a new machine needs nothing by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gobuild import cache
from gobuild.progress import to_stderr
from guarded.errors import ToolError

CACHE = "debian"


class DebianError(ToolError):
    """A program cannot be had; the message says what to do."""


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
    directory = cache.root(CACHE) / "+".join(packages)

    def unpack(scratch: Path) -> Path:
        return _unpacked(scratch, name, packages)

    cache.ensure(directory, directory.is_dir, unpack, to_stderr(CACHE))
    libraries = sorted(str(path) for path in directory.glob("usr/lib/*-linux-gnu*"))
    environ = {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}
    return Program(_within(directory, name), environ)


def _within(directory: Path, name: str) -> Path:
    return directory / "usr" / "bin" / name


def _unpacked(scratch: Path, name: str, packages: tuple[str, ...]) -> Path:
    fetched, unpacked = scratch / "packages", scratch / "unpacked"
    fetched.mkdir()
    unpacked.mkdir()
    _download(fetched, name, packages)
    for package in sorted(fetched.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(unpacked)], fetched, name, packages)
    if not os.access(_within(unpacked, name), os.X_OK):
        raise DebianError(f"Debian's package {packages[0]} holds no program /usr/bin/{name}")
    return unpacked


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
