"""What is rendered with which values, and how programs are run on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "Helm-chart"
VALUES = {path.stem: path for path in sorted(Path(__file__).with_name("values").glob("*.yaml"))}
BASES = ("deploy", "deploy/namespaced", "crds", "deploy/samples")
OF_THE_CHART = ("defaults", *VALUES)
RENDERINGS = (*OF_THE_CHART, *BASES)
NAME = "modelinstance-operator"
NAMESPACE = "modelinstance-system"

Run = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[[str], str]


def run(
    program: Path, *arguments: str | Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """What a program says, on either stream, and its exit code."""
    return subprocess.run(
        [program, *arguments],
        input="" if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def settings(name: str) -> list[str]:
    """Helm's options for one of `OF_THE_CHART`."""
    files = [f"--values={VALUES[name]}"] if name in VALUES else []
    return [f"--namespace={NAMESPACE}", *files]


def documents(manifests: str) -> list[dict[str, Any]]:
    """The resources of a rendering."""
    return [each for each in yaml.safe_load_all(manifests) if each]
