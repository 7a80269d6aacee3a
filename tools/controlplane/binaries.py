"""Where etcd, kube-apiserver and kubectl come from.

`KUBEBUILDER_ASSETS` names a directory that has them, or else they are built once from the pinned
Go modules and kept in the user's cache. A cached build appears under its final name only when it
is complete, so a build that was killed is never taken for a finished one.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from controlplane.build import build
from controlplane.errors import AssetsError
from controlplane.pins import Pins, host_platform
from controlplane.toolchain import Progress, find_go

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"

_SCRATCH_PREFIX = ".tmp-"


@dataclass(frozen=True)
class Binaries:
    """The three programs."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path

    @classmethod
    def within(cls, directory: Path) -> Self:
        """The programs by their usual names in `directory`, whether they exist or not."""
        return cls(
            etcd=directory / "etcd",
            kube_apiserver=directory / "kube-apiserver",
            kubectl=directory / "kubectl",
        )

    def missing(self) -> list[Path]:
        """Those of the three that are no executable files."""
        programs: list[Path] = [getattr(self, field.name) for field in fields(self)]
        return [path for path in programs if not (path.is_file() and os.access(path, os.X_OK))]


def print_to_stderr(line: str) -> None:
    """Show one line of progress to a person."""
    print(f"controlplane: {line}", file=sys.stderr, flush=True)


def ensure(progress: Progress = print_to_stderr) -> Binaries:
    """The programs, built first if need be; processes that call this at once build only once."""
    if assets := os.environ.get(ASSETS_VARIABLE):
        return _from_assets(Path(assets))
    directory = binaries_dir()
    binaries = Binaries.within(directory)
    if binaries.missing():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(directory.parent / ".lock", progress):
            _remove_leftovers(directory.parent)
            if binaries.missing():
                _build_into(directory, progress)
    return binaries


def binaries_dir() -> Path:
    """The directory that `ensure` takes the programs from, whether it exists or not."""
    if assets := os.environ.get(ASSETS_VARIABLE):
        return Path(assets)
    return cache_root() / Pins.read().key(*host_platform())


def cache_root() -> Path:
    """The folder of all cached builds: below `XDG_CACHE_HOME`, or `~/.cache` without it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "modelinstance-operator" / "controlplane"


def _from_assets(directory: Path) -> Binaries:
    binaries = Binaries.within(directory)
    if missing := binaries.missing():
        names = ", ".join(path.name for path in missing)
        raise AssetsError(
            f"{ASSETS_VARIABLE} is {directory}, which has no executable {names}; "
            f"put it there, or unset {ASSETS_VARIABLE} to build from the pinned modules"
        )
    return binaries


def _build_into(directory: Path, progress: Progress) -> None:
    pins = Pins.read()
    go = find_go(pins.go, directory.parent, progress)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=directory.parent) as scratch:
        built = build(pins, go, Path(scratch), progress)
        shutil.rmtree(directory, ignore_errors=True)  # exists only if someone removed parts of it
        built.rename(directory)
    progress(f"cached in {directory}")


def _remove_leftovers(root: Path) -> None:
    """Remove what killed builders left; the lock says that none is at work."""
    for leftover in root.glob(f"{_SCRATCH_PREFIX}*"):
        shutil.rmtree(leftover)


@contextmanager
def _exclusive(lock: Path, progress: Progress) -> Iterator[None]:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds the control plane")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
