"""The chart as it is packed, its version, ``deploy/`` under an overlay, and the Dockerfile."""

from __future__ import annotations

import os
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml

from chart.manifests import BASES, CHART, NAME, NAMESPACE, ROOT, Run, documents, run
from charttools import ChartTools

OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: team-a
resources: [{base}]
"""


def version() -> str:
    """The project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def test_the_suites_of_the_chart_pass(tools: ChartTools) -> None:
    done = run(tools.helm_unittest, "--strict", CHART)
    assert done.returncode == 0, done.stdout


def test_the_package_holds_the_chart_without_its_suites(helm: Run, tmp_path: Path) -> None:
    done = helm("package", CHART, f"--destination={tmp_path}")
    assert done.returncode == 0, done.stdout
    with tarfile.open(tmp_path / f"{NAME}-{version()}.tgz") as package:
        packed = {name.removeprefix(f"{NAME}/") for name in package.getnames()}
    files = {str(path.relative_to(CHART)) for path in CHART.rglob("*") if path.is_file()}
    assert packed == {path for path in files if not path.startswith(("tests/", "."))}
    assert {"templates/tests/query.yaml", "files/query.py", "values.schema.json"} <= packed
    assert len([path for path in packed if path.startswith("templates/crds/")]) == 2


def test_a_packed_chart_renders_the_same(helm: Run, tmp_path: Path) -> None:
    helm("package", CHART, f"--destination={tmp_path}")
    packed = helm("template", "r", tmp_path / f"{NAME}-{version()}.tgz")
    assert packed.returncode == 0, packed.stdout
    assert packed.stdout == helm("template", "r", CHART).stdout


def test_chart_operator_and_image_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == version()
    deployments = sorted((ROOT / "deploy").glob("*/deployment.yaml"))
    assert deployments
    for path in deployments:
        (deployment,) = documents(path.read_text(encoding="utf-8"))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"{NAME}:{version()}", path


def test_an_overlay_moves_all_to_its_own_namespace(
    kustomize: Callable[[Path], str], tmp_path: Path
) -> None:
    base = os.path.relpath(ROOT / "deploy/namespaced", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(OVERLAY.format(base=base), encoding="utf-8")
    made = kustomize(tmp_path)
    assert NAMESPACE not in made
    resources = documents(made)
    assert {each["metadata"]["namespace"] for each in resources} == {"team-a"}
    (binding,) = (each for each in resources if each["kind"] == "RoleBinding")
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": "team-a"}
    assert binding["subjects"] == [subject]


def test_deploy_holds_nothing_of_helm(kustomize: Callable[[Path], str]) -> None:
    for base in BASES:
        made = kustomize(ROOT / base)
        assert "managed-by" not in made
        assert "helm.sh/chart" not in made
        assert "app.kubernetes.io/instance" not in made


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    done = run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout
    assert not done.stdout
