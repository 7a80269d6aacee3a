"""Where etcd, kube-apiserver and kubectl come from.

`KUBEBUILDER_ASSETS` names a directory that has them, or else they are built once from the pinned
Go module and kept in the user's cache.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gobuild
from controlplane.errors import AssetsError
from controlplane.module import MODULE
from gobuild import Progress, to_stderr

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"

print_to_stderr = to_stderr("controlplane")


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


def ensure(progress: Progress = print_to_stderr) -> Binaries:
    """The programs, built first if need be; processes that call this at once build only once."""
    if assets := os.environ.get(ASSETS_VARIABLE):
        return _from_assets(Path(assets))
    return Binaries.within(gobuild.ensure(MODULE, progress))


def binaries_dir() -> Path:
    """The directory that `ensure` takes the programs from, whether it exists or not."""
    if assets := os.environ.get(ASSETS_VARIABLE):
        return Path(assets)
    return gobuild.location(MODULE)


def _from_assets(directory: Path) -> Binaries:
    if missing := MODULE.missing(directory):
        raise AssetsError(
            f"{ASSETS_VARIABLE} is {directory}, which has no executable {', '.join(missing)}; "
            f"put it there, or unset {ASSETS_VARIABLE} to build from the pinned module"
        )
    return Binaries.within(directory)
