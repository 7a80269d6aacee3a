"""What is raised on purpose by this package and by those that it is made of.

ToolError
├── AssetsError      KUBEBUILDER_ASSETS names a directory that lacks a program
├── ToolchainError   no fitting Go, and none could be installed
├── BuildError       go could not build the programs
├── StartError       etcd or kube-apiserver did not become ready
└── KubectlError     kubectl ended with an error
"""

from gobuild.errors import BuildError, ToolchainError
from guarded.errors import StartError, ToolError

__all__ = [
    "AssetsError",
    "BuildError",
    "KubectlError",
    "StartError",
    "ToolError",
    "ToolchainError",
]


class AssetsError(ToolError):
    """KUBEBUILDER_ASSETS is set, and what it names cannot be used."""


class KubectlError(ToolError):
    """kubectl ended with `returncode`; `stderr` is what it said."""

    def __init__(self, args: tuple[str, ...], returncode: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(args)} ended with {returncode}: {stderr.strip()}")
        self.returncode = returncode
        self.stderr = stderr
