"""The pinned Go module of helm, kubeconform and helm-unittest."""

from collections.abc import Mapping
from pathlib import Path

from gobuild import Module, Pins

_HELM = "helm.sh/helm/v4"
_KUBECONFORM = "github.com/yannh/kubeconform"
_HELM_UNITTEST = "github.com/helm-unittest/helm-unittest"


def _stamps(pins: Pins) -> Mapping[str, str]:
    """Real versions, and for both renderers the Kubernetes version of the client in the module.

    Without a cluster helm takes the version of the client that it was built with. helm-unittest
    renders with helm 3, which has to be told: it would take 1.20, older than the chart allows.
    `main` is the main package of each program, and only kubeconform's has such a variable.
    """
    _, minor, _ = pins.version("k8s.io/client-go").split(".")
    return {
        f"{_HELM}/internal/version.version": f"v{pins.version(_HELM)}",
        "main.version": f"v{pins.version(_KUBECONFORM)}",
        f"{_HELM_UNITTEST}/internal/build.version": pins.version(_HELM_UNITTEST),
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": "1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
    }


MODULE = Module(
    directory=Path(__file__).resolve().parent / "go",
    cache="charttools",
    programs={
        f"{_HELM}/cmd/helm": "helm",
        f"{_KUBECONFORM}/cmd/kubeconform": "kubeconform",
        f"{_HELM_UNITTEST}/cmd/helm-unittest": "helm-unittest",
    },
    versions={"helm": _HELM, "kubeconform": _KUBECONFORM, "helm-unittest": _HELM_UNITTEST},
    stamps=_stamps,
    takes="some 2 minutes on two cores",
)
