"""A real control plane for the tests that do not break it, the real tools of the chart, and a
made-up Go for the builder's tests.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import charttools
import controlplane
from charttools import ChartTools
from controlplane import Binaries, ControlPlane
from tooling.fake_go import FakeGo
from tooling.processes import Exit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_fake_go(tmp_path: Path) -> Iterator[Callable[[str], FakeGo]]:
    """Make a fake Go of some version."""
    made: list[FakeGo] = []

    def make(version: str) -> FakeGo:
        made.append(FakeGo(tmp_path / f"go-{len(made)}", version))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def tool_environ(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which the commands of the tools work on a cache of the test's own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "XDG_CACHE_HOME": str(tmp_path)}
    environ.pop("KUBEBUILDER_ASSETS", None)
    return environ


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The real programs."""
    return controlplane.ensure()


@pytest.fixture(scope="session")
def chart_tools() -> ChartTools:
    """The real programs."""
    return charttools.ensure()


@pytest.fixture(scope="session")
def plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for all tests that leave it running as they found it."""
    with ControlPlane(binaries, tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
def exit_of() -> Callable[[int], Exit]:
    """Begin to watch a running process; ask the result whether it has ended."""
    return Exit
