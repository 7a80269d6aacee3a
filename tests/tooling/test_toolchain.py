"""Which Go is taken."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charttools.module import MODULE as CHART_TOOLS
from controlplane.module import MODULE as CONTROL_PLANE
from gobuild import Module, ToolchainError, toolchain
from gobuild.pins import GoVersion
from tooling.fake_go import FakeGo

NEEDED = GoVersion(1, 26, 0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pinned wheel is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "modelinstance-operator" / "go"


@pytest.fixture
def wheel(cache: Path, make_fake_go: Callable[[str], FakeGo]) -> Path:
    """The Go of the pinned wheel, installed already."""
    home = cache / toolchain.pinned_wheel_version() / "go"
    home.mkdir(parents=True)
    (home / "bin").symlink_to(make_fake_go("1.26.6").bin)
    return home / "bin" / "go"


@pytest.mark.parametrize("version", ["1.26.0", "1.26.8", "1.27.1"])
def test_a_new_enough_go_on_path_is_taken(
    version: str,
    cache: Path,
    make_fake_go: Callable[[str], FakeGo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = make_fake_go(version)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    said: list[str] = []
    go = toolchain.find_go(NEEDED, said.append)
    assert (go.program, str(go.version)) == (fake.bin / "go", version)
    assert go.environ["GOTOOLCHAIN"] == "local"
    assert said == []
    assert not cache.exists()


@pytest.mark.parametrize("version", ["1.25.9", "1.26rc1", "unheard-of"])
def test_an_older_go_gives_way_to_the_wheel(
    version: str,
    wheel: Path,
    make_fake_go: Callable[[str], FakeGo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = make_fake_go(version)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    monkeypatch.setenv("GOROOT", "/somewhere/else")
    said: list[str] = []
    go = toolchain.find_go(NEEDED, said.append)
    assert go.program == wheel
    assert "GOROOT" not in go.environ
    assert str(fake.bin / "go") in said[0]
    assert "1.26.0 is needed" in said[0]


def test_no_go_on_path_means_the_wheel(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    go = toolchain.find_go(NEEDED, lambda _: None)
    assert go.program == wheel


def test_the_wheel_is_installed_once(
    cache: Path,
    tmp_path: Path,
    make_fake_go: Callable[[str], FakeGo],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_fake_go("1.26.6").bin
    installer = tmp_path / "installer"
    installer.write_text(
        f"""#!/bin/sh
for word; do case "$word" in --target=*) target=${{word#--target=}} ;; esac; done
/bin/mkdir -p "$target/go" && /bin/ln -s {source} "$target/go/bin"
""",
        encoding="utf-8",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "_installer", lambda _: ["/bin/sh", str(installer)])
    said: list[str] = []
    programs = [toolchain.find_go(NEEDED, said.append).program for _ in range(2)]
    assert programs == [cache / toolchain.pinned_wheel_version() / "go" / "bin" / "go"] * 2
    assert len([line for line in said if line.startswith("installing Go")]) == 1


def test_a_failed_install_tells_what_the_installer_said(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        toolchain, "_installer", lambda _: ["/bin/sh", "-c", "echo no such wheel; exit 1"]
    )
    with pytest.raises(ToolchainError, match="no such wheel"):
        toolchain.find_go(NEEDED, lambda _: None)
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("module", [CONTROL_PLANE, CHART_TOOLS], ids=lambda module: module.cache)
def test_the_pinned_wheel_is_new_enough(module: Module) -> None:
    wheel = GoVersion.parse(toolchain.pinned_wheel_version())
    assert wheel is not None
    assert wheel >= module.pins().go
