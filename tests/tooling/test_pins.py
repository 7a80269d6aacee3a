"""What is pinned, and when a cached build still fits."""

import shutil
from pathlib import Path

import pytest

from controlplane import pins
from controlplane.pins import GoVersion, Pins
from controlplane.toolchain import pinned_wheel_version


@pytest.fixture
def module_dir(tmp_path: Path) -> Path:
    for name in ("go.mod", "go.sum"):
        shutil.copy(pins.MODULE_DIR / name, tmp_path / name)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_reads_the_versions() -> None:
    read = Pins.read()
    assert read.kubernetes.startswith("1.")
    assert read.etcd.startswith("3.")
    assert read.go >= GoVersion(1, 26, 0)


def test_the_key_names_versions_and_platform() -> None:
    read = Pins.read()
    key = read.key("linux", "arm64")
    assert key.startswith(f"kubernetes-{read.kubernetes}-etcd-{read.etcd}-linux-arm64-")


def test_the_key_is_stable(module_dir: Path) -> None:
    assert Pins.read(module_dir).key("linux", "amd64") == Pins.read().key("linux", "amd64")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("go.mod", "go 1.26.0", "go 1.26.1"),
        ("go.mod", "k8s.io/api v0.36.3", "k8s.io/api v0.36.4"),
        ("go.sum", "h1:", "h1:x"),
    ],
)
def test_the_key_changes_with_every_pin(module_dir: Path, name: str, old: str, new: str) -> None:
    before = Pins.read(module_dir).key("linux", "amd64")
    replace(module_dir / name, old, new)
    assert Pins.read(module_dir).key("linux", "amd64") != before


def test_the_key_changes_with_the_platform_and_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Pins.read()
    before = read.key("linux", "amd64")
    assert read.key("linux", "arm64") != before
    monkeypatch.setattr(Pins, "build_flags", lambda _: ["-race"])
    assert read.key("linux", "amd64") != before


def test_the_build_is_stamped_and_leaves_go_mod_alone() -> None:
    read = Pins.read()
    *flags, ldflags = read.build_flags()
    assert "-mod=readonly" in flags
    assert f"-X k8s.io/component-base/version.gitVersion=v{read.kubernetes}" in ldflags


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.26", GoVersion(1, 26, 0)),
        ("1.26.8", GoVersion(1, 26, 8)),
        ("go1.26.8", GoVersion(1, 26, 8)),
        ("go1.27rc1", GoVersion(1, 27, -1)),
        ("devel", None),
        ("go1.26.8-custom", None),
    ],
)
def test_reads_a_go_version(text: str, version: GoVersion | None) -> None:
    assert GoVersion.parse(text) == version


def test_go_versions_are_ordered_by_number() -> None:
    ascending = ["1.9.9", "1.26rc2", "1.26.0", "1.26.2", "1.26.10", "1.27rc1", "1.27", "2.0"]
    parsed = [GoVersion.parse(text) for text in ascending]
    assert None not in parsed
    assert sorted(version for version in parsed if version) == parsed


def test_the_pinned_wheel_is_new_enough_for_go_mod() -> None:
    wheel = GoVersion.parse(pinned_wheel_version())
    assert wheel is not None
    assert wheel >= Pins.read().go
