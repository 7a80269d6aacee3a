"""Builds happen once, and only complete ones count; real processes with a made-up Go."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import gobuild
from charttools.module import MODULE as CHART_TOOLS
from controlplane.module import MODULE as CONTROL_PLANE
from gobuild import BuildError, Module
from gobuild.build import build
from gobuild.module import host_platform
from gobuild.toolchain import Go, find_go
from tooling.fake_go import FakeGo
from tooling.processes import Exit


@dataclass(frozen=True)
class Tool:
    """A command that builds the programs of a module into a cache of the test's own."""

    module: Module
    cache: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", self.module.cache, "build"]

    def finished(self) -> list[Path]:
        return [path for path in self.cache.iterdir() if not path.name.startswith(".")]

    def leftovers(self) -> list[Path]:
        return [path for path in self.cache.iterdir() if path.name.startswith(".tmp-")]


@contextlib.contextmanager
def builder(
    tool: Tool, environ: Mapping[str, str], fake: FakeGo
) -> Iterator[subprocess.Popen[str]]:
    """The command at work."""
    path = f"{fake.bin}{os.pathsep}{environ['PATH']}"
    with subprocess.Popen(
        tool.command,
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
def go(fake_go: FakeGo, monkeypatch: pytest.MonkeyPatch) -> Go:
    monkeypatch.setenv("PATH", str(fake_go.bin), prepend=os.pathsep)
    return find_go(CHART_TOOLS.pins().go, pytest.fail)


@pytest.fixture(params=[CONTROL_PLANE, CHART_TOOLS], ids=lambda module: module.cache)
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Tool:
    module: Module = request.param
    return Tool(module, tmp_path / "modelinstance-operator" / module.cache)


def test_a_build_is_cached_and_told_of(
    tool_environ: Mapping[str, str], fake_go: FakeGo, tool: Tool
) -> None:
    before = {path: path.read_bytes() for path in tool.module.directory.iterdir()}
    with builder(tool, tool_environ, fake_go) as process:
        fake_go.await_build()
        fake_go.finish()
        out, err = process.communicate()
    assert process.returncode == 0, err
    (directory,) = tool.finished()
    assert out.strip() == str(directory)
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        tool.module.programs.values()
    )
    assert directory == tool.cache / tool.module.key(*host_platform())
    assert tool.leftovers() == []
    for words in (str(fake_go.bin / "go"), tool.module.takes, f"cached in {directory}"):
        assert words in err
    assert {path: path.read_bytes() for path in tool.module.directory.iterdir()} == before

    with builder(tool, tool_environ, fake_go) as process:
        assert process.communicate() == (out, "")
    assert fake_go.no_build_begun()


def test_builders_at_once_build_once(
    tool_environ: Mapping[str, str], fake_go: FakeGo, tool: Tool
) -> None:
    with builder(tool, tool_environ, fake_go) as first:
        fake_go.await_build()
        with builder(tool, tool_environ, fake_go) as second:
            await_line(second, "waiting for another process")
            assert tool.finished() == []
            fake_go.finish()
            assert second.communicate()[0] == first.communicate()[0]
            assert (first.returncode, second.returncode) == (0, 0)
    assert fake_go.no_build_begun()


def test_a_killed_build_is_no_build(
    tool_environ: Mapping[str, str],
    fake_go: FakeGo,
    tool: Tool,
    exit_of: Callable[[int], Exit],
) -> None:
    with builder(tool, tool_environ, fake_go) as process:
        go = exit_of(fake_go.await_build())
        process.send_signal(signal.SIGKILL)
    assert go.wait(), "go outlived its builder"
    assert tool.finished() == []
    assert len(tool.leftovers()) == 1

    with builder(tool, tool_environ, fake_go) as process:
        fake_go.await_build()
        assert len(tool.leftovers()) == 1, "the killed build's folder is still there"
        fake_go.finish()
        process.communicate()
    assert process.returncode == 0
    assert tool.leftovers() == []
    assert len(tool.finished()) == 1


def test_a_failed_build_tells_what_go_said(
    tool_environ: Mapping[str, str], fake_go: FakeGo, tool: Tool
) -> None:
    with builder(tool, tool_environ, fake_go) as process:
        fake_go.await_build()
        fake_go.finish("broken")
        _, err = process.communicate()
    assert process.returncode == 1
    assert "main.go:1: does not compile" in err
    assert "Traceback" not in err
    assert tool.finished() == tool.leftovers() == []


def test_a_cached_build_that_lost_a_program_is_built_again(
    tool_environ: Mapping[str, str], fake_go: FakeGo, tool: Tool
) -> None:
    *_, name = tool.module.programs.values()
    for _ in range(2):
        with builder(tool, tool_environ, fake_go) as process:
            fake_go.await_build()
            fake_go.finish()
            process.communicate()
        (directory,) = tool.finished()
        assert tool.module.missing(directory) == []
        (directory / name).unlink()


def test_each_package_becomes_the_program_that_it_is_to_be(
    fake_go: FakeGo, go: Go, tmp_path: Path
) -> None:
    programs = {"example.com/b/server/v3": "store", "example.com/a/cmd/a": "a"}
    fake_go.finish()
    out = build(replace(CHART_TOOLS, programs=programs), go, tmp_path, lambda _: None)
    made = {path.name: path.read_text("ascii").split()[-1] for path in out.iterdir()}
    assert made == {"store": "example.com/b/server", "a": "example.com/a/cmd/a"}


def test_a_package_that_is_no_program_is_told(go: Go, fake_go: FakeGo, tmp_path: Path) -> None:
    fake_go.finish()
    module = replace(CHART_TOOLS, programs={"example.com/library": "library"})
    with pytest.raises(BuildError, match=r"example\.com/library is no program"):
        build(module, go, tmp_path, lambda _: None)


def test_a_build_for_one_module_is_none_for_the_other(
    fake_go: FakeGo, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for module in (CONTROL_PLANE, CHART_TOOLS):
        fake_go.finish()
        directory = gobuild.ensure(module, lambda _: None)
        assert fake_go.await_build()
        assert directory == gobuild.location(module)
        assert module.missing(directory) == []
    assert gobuild.location(CONTROL_PLANE) != gobuild.location(CHART_TOOLS)
    assert fake_go.no_build_begun()
