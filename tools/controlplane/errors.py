"""Everything that this package raises on purpose.

ControlPlaneError
├── AssetsError      KUBEBUILDER_ASSETS names a directory that lacks a program
├── ToolchainError   no fitting Go, and none could be installed
├── BuildError       go could not build the programs
├── StartError       etcd or kube-apiserver did not become ready
└── KubectlError     kubectl ended with an error
"""


class ControlPlaneError(Exception):
    """The root of the tree; its message is meant to be shown to a person as it is."""


class AssetsError(ControlPlaneError):
    """KUBEBUILDER_ASSETS is set, and what it names cannot be used."""


class ToolchainError(ControlPlaneError):
    """There is no Go that can build the control plane."""


class BuildError(ControlPlaneError):
    """`go build` failed; the message ends with the tail of its output."""


class StartError(ControlPlaneError):
    """A server did not become ready; `tail` is the end of what it logged since its start."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(f"{message}\n{tail}" if tail else message)
        self.tail = tail


class KubectlError(ControlPlaneError):
    """kubectl ended with `returncode`; `stderr` is what it said."""

    def __init__(self, args: tuple[str, ...], returncode: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(args)} ended with {returncode}: {stderr.strip()}")
        self.returncode = returncode
        self.stderr = stderr
