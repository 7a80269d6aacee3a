"""What a `go.mod` and its `go.sum` pin. Reads the two files and nothing else; runs no program."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_GO_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?((?:rc|beta)\d+)?")


@dataclass(frozen=True, order=True)
class GoVersion:
    """A Go release; a release candidate sorts below the release that it led to."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `1.26`, `1.26.8`, `go1.26.8` or `go1.27rc1`; None for anything else."""
        found = _GO_VERSION.fullmatch(text.removeprefix("go"))
        if found is None:
            return None
        major, minor, patch, candidate = found.groups()
        return cls(int(major), int(minor), -1 if candidate else int(patch or 0))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{max(self.patch, 0)}"


@dataclass(frozen=True)
class Pins:
    """The Go that `mod`, the text of a go.mod, asks for, and a digest of all that is pinned."""

    mod: str
    go: GoVersion
    digest: str

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read `go.mod` and `go.sum` in `directory`."""
        mod = (directory / "go.mod").read_text(encoding="utf-8")
        go = GoVersion.parse(_one(r"^go (\S+)$", mod))
        if go is None:
            raise ValueError(f"{directory / 'go.mod'}: unreadable version in its go line")
        digest = hashlib.sha256()
        for content in (mod.encode(), (directory / "go.sum").read_bytes()):
            digest.update(hashlib.sha256(content).digest())
        return cls(mod=mod, go=go, digest=digest.hexdigest())

    def version(self, module: str) -> str:
        """The version of a required module, without the leading `v`."""
        return _one(rf"^(?:require)?\s*{re.escape(module)} v(\S+)", self.mod)


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"go.mod has no line that matches {pattern!r}")
    return found.group(1)
