"""``python -m rig``: runs the end-to-end tests in a cluster; its arguments go to pytest.

The cluster is that of ``KUBECONFIG``, whose nodes have, or can pull, the images that are named in
``CONTRIBUTING.md``. Without one, a whole node is started by ``onenode``, where that program is
there: named by ``ONENODE``, or in a folder ``shared`` beside the repository. The images are built
on it, and in the end it is taken down; ``KEEP=1`` leaves it up, and takes one that is up, as it is.
Without either, nothing is tested, and that is said.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import yaml

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests/e2e/fixtures"
REGISTRY = "docker.io/library"
"""What a container runtime adds to the name of an image that names none."""

LOCK = Path("/tmp/modelinstance-e2e.lock")  # noqa: S108 - it holds nothing
BASE = "localhost/python-base:3.11"
VERSION = yaml.safe_load((ROOT / "Helm-chart/Chart.yaml").read_text())["appVersion"]
PREVIOUS_VERSION = "0.1.0"
ROUTERS = "modelinstance-routers:test"
"""The image of the routers that tests use."""


def main(arguments: list[str]) -> int:
    """Run the tests; returns the exit status."""
    if cluster := os.environ.get("KUBECONFIG"):
        print(f"==> In the cluster of KUBECONFIG={cluster}", flush=True)
        return _run(_tests(arguments), {})
    program = Path(os.environ.get("ONENODE") or ROOT.parent / "shared/tools/onenode/onenode")
    if not os.access(program, os.X_OK):
        print(
            f"\nEND-TO-END TESTS SKIPPED: there is no cluster to run them in. Set KUBECONFIG, or "
            f"ONENODE to a program that starts a node ({program} is not there).\n",
            flush=True,
        )
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # there is one such node a machine
            return OneNode(program).test(arguments)
    except subprocess.CalledProcessError as error:
        print(f"rig: {' '.join(map(str, error.cmd))} ended with {error.returncode}")
        return 1
    except KeyboardInterrupt:
        return 130


class OneNode:
    """A node in a network namespace of its own."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._directory = Path("/tmp/modelinstance-e2e")  # noqa: S108 - it is removed in the end
        self._environ = {
            **os.environ,
            "ONENODE_DIR": str(self._directory),
            "ONENODE_NETNS": "modelinstance-e2e",
        }
        self._keep = bool(os.environ.get("KEEP"))

    def test(self, arguments: list[str]) -> int:
        """Run the tests on it; returns their exit status."""
        try:
            if self._keep and self._directory.is_dir():
                print("==> In the node that is up, with the images that it has", flush=True)
            else:
                self._start()
            environ = {
                **self._environ,
                "E2E_AUDIT_LOG": str(self._directory / "audit.log"),
                "E2E_ROUTERS_IMAGE": ROUTERS,
            }
            return _run([str(self._program), "run", *_tests(arguments)], environ)
        finally:
            if not self._keep:
                self._do("Taking the node down", "down")

    def _start(self) -> None:
        operator = f"{REGISTRY}/modelinstance-operator"
        now, before = f"{operator}:{VERSION}", f"{operator}:{PREVIOUS_VERSION}"
        self._do("Starting a node (built once, about 7 minutes)", "down")
        self._do("", "up")
        self._do("Making a base image (once, about a minute)", "base")
        self._do("Building the image", "image", now, ROOT, f"--build-arg=PYTHON_IMAGE={BASE}")
        self._do(
            "Building an image of the routers (two minutes)",
            "image", f"{REGISTRY}/{ROUTERS}", ROOT, f"--build-arg=PYTHON_IMAGE={BASE}",
            "-f", FIXTURES / "routers.Dockerfile",
        )  # fmt: skip
        self._do(
            "Building the image of the version before",
            "image", before, FIXTURES, f"--build-arg=IMAGE={now}",
        )  # fmt: skip

    def _do(self, what: str, *command: str | Path) -> None:
        if what:
            print(f"==> {what}", flush=True)
        subprocess.run([self._program, *command], env=self._environ, check=True)


def _tests(arguments: list[str]) -> list[str]:
    named = any(argument.startswith("tests/") for argument in arguments)
    return [sys.executable, "-m", "pytest", *([] if named else ["tests/e2e"]), *arguments]


def _run(command: list[str], environ: Mapping[str, str]) -> int:
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, check=False).returncode


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
