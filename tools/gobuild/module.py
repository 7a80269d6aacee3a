"""What there is to know about a pinned module, and the name under which its build is cached."""

import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gobuild.pins import Pins

_GOARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_MAJOR_VERSION = re.compile(r"v\d+")


@dataclass(frozen=True)
class Module:
    """A Go module that is kept for the programs that its requirements bring."""

    directory: Path
    """Where its go.mod and go.sum are."""

    cache: str
    """The folder of its builds in the user's cache."""

    programs: Mapping[str, str]
    """What to call the program that each package becomes, by package."""

    versions: Mapping[str, str]
    """The modules whose versions tell a person what a build holds, by the name to show."""

    stamps: Callable[[Pins], Mapping[str, str]]
    """Go's string variables to set, so that the programs tell their real version."""

    takes: str
    """How long a build takes, for those who wait for it."""

    def pins(self) -> Pins:
        """What its go.mod and go.sum pin now."""
        return Pins.read(self.directory)

    def shown_versions(self) -> dict[str, str]:
        """The versions that tell a person what a build holds, by the name to show."""
        pins = self.pins()
        return {name: pins.version(module) for name, module in self.versions.items()}

    def key(self, goos: str, goarch: str) -> str:
        """The cache folder's name: it changes with every pin, the build flags and the platform."""
        seed = "\n".join([self.pins().digest, *self.build_flags(), *self.programs])
        short = hashlib.sha256(seed.encode()).hexdigest()[:12]
        shown = "-".join(f"{name}-{version}" for name, version in self.shown_versions().items())
        return f"{shown}-{goos}-{goarch}-{short}"

    def build_flags(self) -> list[str]:
        """Flags of `go build`; the pinned files are never changed."""
        stamps = (f"-X {name}={to}" for name, to in self.stamps(self.pins()).items())
        ldflags = " ".join(["-s", "-w", *stamps])
        return ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={ldflags}"]

    def missing(self, directory: Path) -> list[str]:
        """Those of the programs that `directory` has no executable file for."""
        paths = [directory / name for name in self.programs.values()]
        return [path.name for path in paths if not (path.is_file() and os.access(path, os.X_OK))]


def default_name(package: str) -> str:
    """What `go build` calls a package's program: the last part of its path that is no version."""
    *_, before, last = PurePosixPath(package).parts
    return before if _MAJOR_VERSION.fullmatch(last) else last


def host_platform() -> tuple[str, str]:
    """This machine as Go names it: (GOOS, GOARCH)."""
    machine = platform.machine().lower()
    return sys.platform, _GOARCH.get(machine, machine)
