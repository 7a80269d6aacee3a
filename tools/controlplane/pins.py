"""What `go/go.mod` pins, and the name under which a build of it is cached.

Reads the two pinned files and nothing else; runs no program.
"""

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MODULE_DIR = Path(__file__).resolve().parent / "go"

PACKAGES = (
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kubectl",
    "go.etcd.io/etcd/server/v3",
)

_GOARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
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
    """The versions that `go.mod` asks for, without a leading `v`, and a digest of all it pins."""

    go: GoVersion
    kubernetes: str
    etcd: str
    digest: str

    @classmethod
    def read(cls, module_dir: Path = MODULE_DIR) -> Self:
        """Read `go.mod` and `go.sum` in `module_dir`."""
        mod = (module_dir / "go.mod").read_text(encoding="utf-8")
        go = GoVersion.parse(_one(r"^go (\S+)$", mod))
        if go is None:
            raise ValueError(f"{module_dir / 'go.mod'}: unreadable version in its go line")
        digest = hashlib.sha256()
        for content in (mod.encode(), (module_dir / "go.sum").read_bytes()):
            digest.update(hashlib.sha256(content).digest())
        return cls(
            go=go,
            kubernetes=_one(r"^\s*k8s\.io/kubernetes v(\S+)", mod),
            etcd=_one(r"^\s*go\.etcd\.io/etcd/server/v3 v(\S+)", mod),
            digest=digest.hexdigest(),
        )

    def key(self, goos: str, goarch: str) -> str:
        """The cache folder's name: it changes with every pin, the build flags and the platform."""
        seed = "\n".join([self.digest, *self.build_flags(), *PACKAGES])
        short = hashlib.sha256(seed.encode()).hexdigest()[:12]
        return f"kubernetes-{self.kubernetes}-etcd-{self.etcd}-{goos}-{goarch}-{short}"

    def build_flags(self) -> list[str]:
        """Flags of `go build`; the stamp makes the programs tell their real version."""
        major, minor, *_ = self.kubernetes.split(".")
        stamps = {
            "k8s.io/component-base/version.gitVersion": f"v{self.kubernetes}",
            "k8s.io/component-base/version.gitMajor": major,
            "k8s.io/component-base/version.gitMinor": minor,
            "k8s.io/client-go/pkg/version.gitVersion": f"v{self.kubernetes}",
        }
        ldflags = " ".join(["-s", "-w", *(f"-X {name}={to}" for name, to in stamps.items())])
        return ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={ldflags}"]


def host_platform() -> tuple[str, str]:
    """This machine as Go names it: (GOOS, GOARCH)."""
    machine = platform.machine().lower()
    return sys.platform, _GOARCH.get(machine, machine)


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"go.mod has no line that matches {pattern!r}")
    return found.group(1)
