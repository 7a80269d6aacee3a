"""A real Kubernetes control plane (etcd and kube-apiserver) on loopback, for tests and for trying.

`ensure` finds or builds the programs, `ControlPlane` runs them. Nothing here is part of the
product: no module of the operator may import this package.
"""

from controlplane.binaries import Binaries, ensure
from controlplane.errors import (
    AssetsError,
    BuildError,
    KubectlError,
    StartError,
    ToolchainError,
    ToolError,
)
from controlplane.plane import ControlPlane

__all__ = [
    "AssetsError",
    "Binaries",
    "BuildError",
    "ControlPlane",
    "KubectlError",
    "StartError",
    "ToolError",
    "ToolchainError",
    "ensure",
]
