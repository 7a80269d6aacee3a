"""Builds happen once, and only complete ones count; real processes with a made-up Go."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from controlplane import binaries as under_test
from controlplane.binaries import Binaries, binaries_dir, ensure
from controlplane.errors import AssetsError
from controlplane.pins import MODULE_DIR
from tooling.fake_go import FakeGo
from tooling.processes import Exit

NAMES = ["etcd", "kube-apiserver", "kubectl"]


@contextlib.contextmanager
def builder(environ: Mapping[str, str], fake: FakeGo) -> Iterator[subprocess.Popen[str]]:
    """`python -m controlplane build` at work."""
    path = f"{fake.bin}{os.pathsep}{environ['PATH']}"
    with subprocess.Popen(
        [sys.executable, "-m", "controlplane", "build"],
        env={**environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def await_line(process: subprocess.Popen[str], words: str) -> None:
    """Read the process's progress up to a line with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"it never said {words!r}")


@pytest.fixture
def fake_go(make_fake_go: Callable[[str], FakeGo]) -> FakeGo:
    return make_fake_go("1.26.8")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "modelinstance-operator" / "controlplane"


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    for name in NAMES:
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def finished(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if not path.name.startswith(".")]


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.name.startswith(".tmp-")]


def test_a_build_is_cached_and_told_of(
    tool_environ: Mapping[str, str], fake_go: FakeGo, cache: Path
) -> None:
    before = {path: path.read_bytes() for path in MODULE_DIR.iterdir()}
    with builder(tool_environ, fake_go) as process:
        fake_go.await_build()
        fake_go.finish()
        out, err = process.communicate()
    assert process.returncode == 0, err
    (directory,) = finished(cache)
    assert out.strip() == str(directory)
    assert sorted(path.name for path in directory.iterdir()) == NAMES
    assert leftovers(cache) == []
    for words in (str(fake_go.bin / "go"), "4 minutes", f"cached in {directory}"):
        assert words in err
    assert {path: path.read_bytes() for path in MODULE_DIR.iterdir()} == before

    with builder(tool_environ, fake_go) as process:
        assert process.communicate() == (out, "")
    assert fake_go.no_build_begun()


def test_builders_at_once_build_once(
    tool_environ: Mapping[str, str], fake_go: FakeGo, cache: Path
) -> None:
    with builder(tool_environ, fake_go) as first:
        fake_go.await_build()
        with builder(tool_environ, fake_go) as second:
            await_line(second, "waiting for another process")
            assert finished(cache) == []
            fake_go.finish()
            assert second.communicate()[0] == first.communicate()[0]
            assert (first.returncode, second.returncode) == (0, 0)
    assert fake_go.no_build_begun()


def test_a_killed_build_is_no_build(
    tool_environ: Mapping[str, str],
    fake_go: FakeGo,
    cache: Path,
    exit_of: Callable[[int], Exit],
) -> None:
    with builder(tool_environ, fake_go) as process:
        go = exit_of(fake_go.await_build())
        process.send_signal(signal.SIGKILL)
    assert go.wait(), "go outlived its builder"
    assert finished(cache) == []
    assert len(leftovers(cache)) == 1

    with builder(tool_environ, fake_go) as process:
        fake_go.await_build()
        assert len(leftovers(cache)) == 1, "the killed build's folder is still there"
        fake_go.finish()
        process.communicate()
    assert process.returncode == 0
    assert leftovers(cache) == []
    assert len(finished(cache)) == 1


def test_a_failed_build_tells_what_go_said(
    tool_environ: Mapping[str, str], fake_go: FakeGo, cache: Path
) -> None:
    with builder(tool_environ, fake_go) as process:
        fake_go.await_build()
        fake_go.finish("broken")
        _, err = process.communicate()
    assert process.returncode == 1
    assert "main.go:1: does not compile" in err
    assert "Traceback" not in err
    assert finished(cache) == leftovers(cache) == []


def test_a_cached_build_that_lost_a_program_is_built_again(
    tool_environ: Mapping[str, str], fake_go: FakeGo, cache: Path
) -> None:
    for _ in range(2):
        with builder(tool_environ, fake_go) as process:
            fake_go.await_build()
            fake_go.finish()
            process.communicate()
        (directory,) = finished(cache)
        assert Binaries.within(directory).missing() == []
        (directory / "etcd").unlink()


def test_assets_are_taken_as_they_are(assets: Path) -> None:
    assert ensure(pytest.fail) == Binaries.within(assets)
    assert binaries_dir() == assets


@pytest.mark.parametrize("name", NAMES)
def test_missing_assets_are_named(assets: Path, name: str) -> None:
    (assets / name).unlink()
    with pytest.raises(AssetsError) as caught:
        ensure(pytest.fail)
    assert f"KUBEBUILDER_ASSETS is {assets}, which has no executable {name};" in str(caught.value)


def test_an_asset_that_cannot_be_run_is_missing(assets: Path) -> None:
    (assets / "etcd").chmod(0o644)
    with pytest.raises(AssetsError, match="no executable etcd;"):
        ensure(pytest.fail)


def test_the_cache_is_in_the_home_without_a_cache_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = under_test.cache_root()
    assert root == tmp_path / ".cache" / "modelinstance-operator" / "controlplane"
