"""The pinned Go module of etcd, kube-apiserver and kubectl."""

from collections.abc import Mapping
from pathlib import Path

from gobuild import Module, Pins

_KUBERNETES = "k8s.io/kubernetes"
_ETCD = "go.etcd.io/etcd/server/v3"


def _stamps(pins: Pins) -> Mapping[str, str]:
    version = pins.version(_KUBERNETES)
    major, minor, *_ = version.split(".")
    return {
        "k8s.io/component-base/version.gitVersion": f"v{version}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{version}",
    }


MODULE = Module(
    directory=Path(__file__).resolve().parent / "go",
    cache="controlplane",
    programs={
        f"{_KUBERNETES}/cmd/kube-apiserver": "kube-apiserver",
        f"{_KUBERNETES}/cmd/kubectl": "kubectl",
        _ETCD: "etcd",
    },
    versions={"kubernetes": _KUBERNETES, "etcd": _ETCD},
    stamps=_stamps,
    takes="some 4 minutes on two cores",
)
