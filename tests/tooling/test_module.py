"""Under which name a build is cached, and what it is made with."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from charttools.module import MODULE as CHART_TOOLS
from controlplane.module import MODULE as CONTROL_PLANE
from gobuild import Module, location
from gobuild.module import default_name

both = pytest.mark.parametrize(
    "original", [CONTROL_PLANE, CHART_TOOLS], ids=lambda module: module.cache
)


def copy(module: Module, directory: Path) -> Module:
    """The same module in another directory."""
    for name in ("go.mod", "go.sum"):
        shutil.copy(module.directory / name, directory / name)
    return replace(module, directory=directory)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_key_names_versions_and_platform() -> None:
    pins = CONTROL_PLANE.pins()
    kubernetes, etcd = pins.version("k8s.io/kubernetes"), pins.version("go.etcd.io/etcd/server/v3")
    assert (kubernetes[:2], etcd[:2]) == ("1.", "3.")
    key = CONTROL_PLANE.key("linux", "arm64")
    assert key.startswith(f"kubernetes-{kubernetes}-etcd-{etcd}-linux-arm64-")

    pins = CHART_TOOLS.pins()
    helm, conform = pins.version("helm.sh/helm/v4"), pins.version("github.com/yannh/kubeconform")
    assert helm.startswith("4.")
    key = CHART_TOOLS.key("linux", "amd64")
    assert key.startswith(f"helm-{helm}-kubeconform-{conform}-helm-unittest-")


@both
def test_the_key_is_stable(original: Module, tmp_path: Path) -> None:
    module = copy(original, tmp_path)
    assert module.key("linux", "amd64") == original.key("linux", "amd64")


@both
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("go.mod", "go 1.26.0", "go 1.26.1"),
        ("go.mod", "k8s.io/api v0.36.3", "k8s.io/api v0.36.4"),
        ("go.sum", "h1:", "h1:x"),
    ],
)
def test_the_key_changes_with_every_pin(
    original: Module, tmp_path: Path, name: str, old: str, new: str
) -> None:
    module = copy(original, tmp_path)
    before = module.key("linux", "amd64")
    edit(tmp_path / name, old, new)
    assert module.key("linux", "amd64") != before


@both
def test_the_key_changes_with_platform_flags_and_programs(original: Module) -> None:
    keys = {
        original.key("linux", "amd64"),
        original.key("linux", "arm64"),
        replace(original, stamps=lambda _: {"main.version": "9"}).key("linux", "amd64"),
        replace(original, programs={"example.com/a": "a"}).key("linux", "amd64"),
    }
    assert len(keys) == 4


def test_modules_of_the_same_pins_are_cached_apart() -> None:
    other = replace(CHART_TOOLS, cache="another")
    assert location(other).name == location(CHART_TOOLS).name
    assert location(other) != location(CHART_TOOLS)


def test_builds_are_cached_in_the_home_without_a_cache_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for module, folder in ((CONTROL_PLANE, "controlplane"), (CHART_TOOLS, "charttools")):
        root = tmp_path / ".cache" / "modelinstance-operator" / folder
        assert location(module).parent == root


@both
def test_the_build_leaves_go_mod_alone(original: Module) -> None:
    assert "-mod=readonly" in original.build_flags()


def test_the_build_is_stamped() -> None:
    *_, ldflags = CONTROL_PLANE.build_flags()
    kubernetes = CONTROL_PLANE.pins().version("k8s.io/kubernetes")
    assert f"-X k8s.io/component-base/version.gitVersion=v{kubernetes}" in ldflags
    *_, ldflags = CHART_TOOLS.build_flags()
    helm = CHART_TOOLS.pins().version("helm.sh/helm/v4")
    assert f"-X helm.sh/helm/v4/internal/version.version=v{helm}" in ldflags


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("helm.sh/helm/v4/cmd/helm", "helm"),
        ("go.etcd.io/etcd/server/v3", "server"),
        ("example.com/cmd/v", "v"),
        ("example.com/cmd/vet2", "vet2"),
    ],
)
def test_knows_what_go_calls_a_program(package: str, name: str) -> None:
    assert default_name(package) == name


@both
def test_a_package_that_go_mod_does_not_name_as_a_tool_is_not_built(original: Module) -> None:
    mod = original.pins().mod
    tools = mod.partition("tool (\n")[2].partition(")")[0].split()
    assert sorted(original.programs) == sorted(tools)


def test_missing_are_programs_that_cannot_be_run(tmp_path: Path) -> None:
    names = sorted(CHART_TOOLS.programs.values())
    assert (
        sorted(CHART_TOOLS.missing(tmp_path)) == names == ["helm", "helm-unittest", "kubeconform"]
    )
    for name in names:
        (tmp_path / name).touch(mode=0o755)
    assert CHART_TOOLS.missing(tmp_path) == []
    (tmp_path / "helm").chmod(0o644)
    (tmp_path / "kubeconform").unlink()
    (tmp_path / "kubeconform").mkdir()
    assert CHART_TOOLS.missing(tmp_path) == ["helm", "kubeconform"]
