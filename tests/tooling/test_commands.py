"""`python -m controlplane` and `python -m charttools`."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from charttools import ChartTools, tools_dir
from charttools.module import MODULE as CHART_TOOLS
from controlplane import Binaries
from controlplane.binaries import binaries_dir
from controlplane.module import MODULE as CONTROL_PLANE
from gobuild import Module
from gobuild.module import host_platform
from support.waiting import eventually
from tooling.fake_go import FakeGo


def run(environ: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", [CONTROL_PLANE, CHART_TOOLS], ids=lambda module: module.cache)
def test_path_builds_nothing(tool_environ: Mapping[str, str], module: Module) -> None:
    done = run(tool_environ, module.cache, "path")
    key = module.key(*host_platform())
    assert done.stdout.strip().endswith(f"/modelinstance-operator/{module.cache}/{key}")
    assert not Path(done.stdout.strip()).exists()


def test_an_error_is_told_in_one_line(tool_environ: Mapping[str, str], tmp_path: Path) -> None:
    done = run({**tool_environ, "KUBEBUILDER_ASSETS": str(tmp_path)}, "controlplane", "build")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"controlplane: KUBEBUILDER_ASSETS is {tmp_path}")


@pytest.mark.parametrize("name", ["controlplane", "charttools"])
def test_a_failed_build_is_told_by_the_command(
    name: str, tool_environ: Mapping[str, str], make_fake_go: Callable[[str], FakeGo]
) -> None:
    fake = make_fake_go("1.26.8")
    fake.finish("broken")
    path = f"{fake.bin}{os.pathsep}{tool_environ['PATH']}"
    done = run({**tool_environ, "PATH": path}, name, "build")
    assert (done.returncode, done.stdout) == (1, "")
    *progress, ended, output = done.stderr.splitlines()
    assert ended == f"{name}: go build ended with 1:"
    assert output == "main.go:1: does not compile"
    assert progress
    assert all(line.startswith(f"{name}: ") for line in progress)


def test_build_tells_where_a_finished_build_is(binaries: Binaries, chart_tools: ChartTools) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "tools")}
    done = run(environ, "controlplane", "build")
    assert done.stdout.strip() == str(binaries_dir()) == str(binaries.etcd.parent)
    done = run(environ, "charttools", "build")
    assert done.stdout.strip() == str(tools_dir()) == str(chart_tools.helm.parent)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_up_runs_until_interrupted(
    binaries: Binaries, tmp_path: Path, tool_environ: Mapping[str, str], how: signal.Signals
) -> None:
    environ = {**tool_environ, "KUBEBUILDER_ASSETS": str(binaries.etcd.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "controlplane", "up", "--dir", tmp_path / "data"],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            name, _, kubeconfig = process.stdout.readline().strip().partition("=")
            assert name == "export KUBECONFIG"
            get = [str(binaries.kubectl), "get", "namespaces", "-o", "name"]
            user = {**environ, "KUBECONFIG": kubeconfig}

            def names() -> bytes:
                return subprocess.run(get, env=user, capture_output=True, check=False).stdout

            eventually(lambda: b"namespace/default" in names())
            process.send_signal(how)
            assert process.wait(60) == 0
        finally:
            process.kill()  # if it has not ended
