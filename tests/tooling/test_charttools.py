"""The real tools of the chart, as its tests find them."""

import subprocess
from dataclasses import astuple
from pathlib import Path

import pytest

from charttools import ChartTools
from charttools.module import MODULE

CHART = """\
apiVersion: v2
name: probe
version: 0.1.0
kubeVersion: "{constraint}"
"""

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: probe
data:
  kubernetes: {{ .Capabilities.KubeVersion.Version | quote }}
"""

SUITE = """\
suite: probe
templates: [probe.yaml]
tests:
  - it: knows a recent Kubernetes
    asserts:
      - equal: {{path: data.kubernetes, value: "{version}"}}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart that renders the version of Kubernetes that it is rendered for."""
    for folder in ("templates", "tests"):
        (tmp_path / folder).mkdir()
    write_constraint(tmp_path, ">=1.31.0-0")
    (tmp_path / "templates" / "probe.yaml").write_text(TEMPLATE, encoding="utf-8")
    return tmp_path


def write_constraint(chart: Path, constraint: str) -> None:
    (chart / "Chart.yaml").write_text(CHART.format(constraint=constraint), encoding="utf-8")


def kubernetes_version() -> str:
    """The Kubernetes whose client helm is built with, as charts see it."""
    _, minor, _ = MODULE.pins().version("k8s.io/client-go").split(".")
    return f"v1.{minor}.0"


def run(program: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *args], capture_output=True, text=True, check=False)


def test_each_is_in_the_same_directory_by_its_own_name(chart_tools: ChartTools) -> None:
    names = [path.name for path in astuple(chart_tools)]
    assert names == ["helm", "kubeconform", "helm-unittest"]
    assert sorted(names) == sorted(MODULE.programs.values())
    assert MODULE.missing(chart_tools.helm.parent) == []
    assert len({path.parent for path in astuple(chart_tools)}) == 1


def test_helm_and_kubeconform_tell_their_real_version(chart_tools: ChartTools) -> None:
    pins = MODULE.pins()
    told = run(chart_tools.helm, "version", "--template={{.Version}}").stdout
    assert told == f"v{pins.version('helm.sh/helm/v4')}"
    told = run(chart_tools.kubeconform, "-v").stdout.strip()
    assert told == f"v{pins.version('github.com/yannh/kubeconform')}"


def test_helm_renders_for_a_recent_kubernetes(chart_tools: ChartTools, chart: Path) -> None:
    rendered = run(chart_tools.helm, "template", str(chart))
    assert f'kubernetes: "{kubernetes_version()}"' in rendered.stdout, rendered.stderr
    write_constraint(chart, ">=1.99.0-0")
    refused = run(chart_tools.helm, "template", str(chart))
    assert refused.returncode != 0
    assert "incompatible with Kubernetes" in refused.stderr


def test_helm_unittest_renders_for_the_same(chart_tools: ChartTools, chart: Path) -> None:
    suite = chart / "tests" / "probe_test.yaml"
    suite.write_text(SUITE.format(version=kubernetes_version()), encoding="utf-8")
    passed = run(chart_tools.helm_unittest, str(chart))
    assert passed.returncode == 0, passed.stdout
    suite.write_text(SUITE.format(version="v1.20.0"), encoding="utf-8")
    failed = run(chart_tools.helm_unittest, str(chart))
    assert failed.returncode != 0
    assert kubernetes_version() in failed.stdout


def test_helm_unittest_knows_its_own_version(chart_tools: ChartTools, chart: Path) -> None:
    suite = SUITE.format(version=kubernetes_version())
    path = chart / "tests" / "probe_test.yaml"
    own = MODULE.pins().version("github.com/helm-unittest/helm-unittest")
    for minimum, skipped in ((own, False), ("99.0.0", True)):
        skip = f"skip: {{minimumVersion: {minimum}}}\n"
        path.write_text(suite.replace("tests:", f"{skip}tests:"), encoding="utf-8")
        assert ("1 skipped" in run(chart_tools.helm_unittest, str(chart)).stdout) == skipped
