"""A real API server for every test, and the operator with exactly the rights that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import binaries
from support.background import BackgroundLoop
from support.cluster import OPERATOR, Cluster
from support.operator_process import OperatorProcess, Start


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The control plane of all tests that leave it running."""
    made = Cluster(binaries.ensure(), tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The shared control plane with nothing in it, and nothing left after the test."""
    yield shared_cluster
    shared_cluster.clear()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane for one test, which may break it."""
    made = Cluster(binaries.ensure(), tmp_path / "cluster")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    """A loop for proxies."""
    with BackgroundLoop() as loop:
        yield loop


@pytest.fixture
def start_operator(tmp_path: Path) -> Iterator[Start]:
    """Starts operators; each that is still there in the end has to stop well."""
    started: list[OperatorProcess] = []

    def start(
        cluster: Cluster, *flags: str, server: str | None = None, ready: bool = True,
        **options: dict[str, str],
    ) -> OperatorProcess:  # fmt: skip
        kubeconfig = cluster.plane.token_kubeconfig(OPERATOR, server=server)
        log = tmp_path / f"operator-{len(started)}.log"
        operator = OperatorProcess(kubeconfig, log, *flags, **options)
        started.append(operator)
        if ready:
            operator.wait_ready()
        return operator

    yield start
    for operator in started:
        if operator.process.poll() is None:
            assert operator.stop() == 0, operator.log()
