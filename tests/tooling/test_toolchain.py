"""Which Go is taken."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import toolchain
from controlplane.errors import ToolchainError
from controlplane.pins import GoVersion
from tooling.fake_go import FakeGo

NEEDED = GoVersion(1, 26, 0)


@pytest.fixture
def wheel(tmp_path: Path, make_fake_go: Callable[[str], FakeGo]) -> Path:
    """A cache in which the pinned wheel is installed already."""
    home = tmp_path / f"go-{toolchain.pinned_wheel_version()}" / "go"
    home.mkdir(parents=True)
    (home / "bin").symlink_to(make_fake_go("1.26.6").bin)
    return home / "bin" / "go"


@pytest.mark.parametrize("version", ["1.26.0", "1.26.8", "1.27.1"])
def test_a_new_enough_go_on_path_is_taken(
    version: str,
    tmp_path: Path,
    make_fake_go: Callable[[str], FakeGo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = make_fake_go(version)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    said: list[str] = []
    go = toolchain.find_go(NEEDED, tmp_path, said.append)
    assert (go.program, str(go.version)) == (fake.bin / "go", version)
    assert go.environ["GOTOOLCHAIN"] == "local"
    assert said == []


@pytest.mark.parametrize("version", ["1.25.9", "1.26rc1", "unheard-of"])
def test_an_older_go_gives_way_to_the_wheel(
    version: str,
    tmp_path: Path,
    wheel: Path,
    make_fake_go: Callable[[str], FakeGo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = make_fake_go(version)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    monkeypatch.setenv("GOROOT", "/somewhere/else")
    said: list[str] = []
    go = toolchain.find_go(NEEDED, tmp_path, said.append)
    assert go.program == wheel
    assert "GOROOT" not in go.environ
    assert str(fake.bin / "go") in said[0]
    assert "1.26.0 is needed" in said[0]


def test_no_go_on_path_means_the_wheel(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    go = toolchain.find_go(NEEDED, tmp_path, lambda _: None)
    assert go.program == wheel


def test_a_failed_install_tells_what_the_installer_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        toolchain, "_installer", lambda _: ["/bin/sh", "-c", "echo no such wheel; exit 1"]
    )
    with pytest.raises(ToolchainError, match="no such wheel"):
        toolchain.find_go(NEEDED, tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []
