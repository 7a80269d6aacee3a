"""The chart and ``deploy/`` as they are rendered, and what says whether that is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import charttools
import controlplane
from chart import schemas
from chart.manifests import BASES, CHART, NAME, ROOT, Render, Run, run, settings
from charttools import ChartTools
from controlplane import Binaries, ControlPlane
from support.waiting import eventually


@pytest.fixture(scope="session")
def tools() -> ChartTools:
    """Helm, kubeconform and helm-unittest."""
    return charttools.ensure()


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The API server and kubectl."""
    return controlplane.ensure()


@pytest.fixture(scope="session")
def helm(tools: ChartTools) -> Run:
    """Runs helm."""
    return lambda *arguments, **options: run(tools.helm, *arguments, **options)


@pytest.fixture(scope="session")
def kustomize(binaries: Binaries) -> Callable[[Path], str]:
    """What ``kubectl kustomize`` makes of a directory."""

    def build(directory: Path) -> str:
        done = run(binaries.kubectl, "kustomize", directory)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return build


@pytest.fixture(scope="session")
def render(helm: Run, kustomize: Callable[[Path], str]) -> Render:
    """Each of `RENDERINGS` by its name."""

    @cache
    def rendered(name: str) -> str:
        if name in BASES:
            return kustomize(ROOT / name)
        done = helm("template", NAME, CHART, *settings(name))
        assert done.returncode == 0, done.stdout
        return done.stdout

    return rendered


@pytest.fixture(scope="session")
def plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that knows our kinds; nothing is made in it but what others need."""
    with ControlPlane(binaries, tmp_path_factory.mktemp("plane")) as running:
        running.kubectl("apply", "-k", str(ROOT / "crds"))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


@pytest.fixture(scope="session")
def schema_location(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schemas of all kinds."""
    ours = {"ModelInstance", "InstanceRegistry"}

    def openapi() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(plane.kubectl("get", "--raw", "/openapi/v2").stdout)
        assert ours <= {name.rpartition(".")[2] for name in told["definitions"]}
        return told

    directory = tmp_path_factory.mktemp("schemas")
    schemas.write(eventually(openapi, within=10), directory)
    return str(directory / schemas.LOCATION)
