"""`python -m controlplane`."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from controlplane import Binaries
from controlplane.binaries import binaries_dir
from controlplane.pins import Pins, host_platform


def run(environ: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane", *args],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_path_builds_nothing(tool_environ: Mapping[str, str]) -> None:
    done = run(tool_environ, "path")
    key = Pins.read().key(*host_platform())
    assert done.stdout.strip().endswith(f"/modelinstance-operator/controlplane/{key}")
    assert not Path(done.stdout.strip()).exists()


def test_an_error_is_told_in_one_line(tool_environ: Mapping[str, str], tmp_path: Path) -> None:
    done = run({**tool_environ, "KUBEBUILDER_ASSETS": str(tmp_path)}, "build")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"controlplane: KUBEBUILDER_ASSETS is {tmp_path}")


def test_build_tells_where_a_finished_build_is(binaries: Binaries) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "tools")}
    done = run(environ, "build")
    assert done.stdout.strip() == str(binaries_dir()) == str(binaries.etcd.parent)


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
        assert process.stdout is not None
        name, _, kubeconfig = process.stdout.readline().strip().partition("=")
        assert name == "export KUBECONFIG"
        get = [str(binaries.kubectl), "get", "namespaces", "-o", "name"]
        got = subprocess.run(
            get, env={**environ, "KUBECONFIG": kubeconfig}, capture_output=True, check=True
        )
        assert b"namespace/default" in got.stdout
        process.send_signal(how)
    assert process.returncode == 0
