"""A real API server for who asks for it, and the operator with exactly the rights that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import binaries
from support.background import BackgroundLoop
from support.cluster import OPERATOR, Cluster
from support.kubelet import Kubelet
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The control plane of all tests that leave it running."""
    made = Cluster(binaries.ensure(), tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The shared control plane with nothing in it, and nothing left after the test.

    The InstanceRegistry stays where the module's `operator` is to be spared the loss.
    """
    yield shared_cluster
    shared_cluster.clear(registry="operator" not in request.fixturenames)


@pytest.fixture(scope="module")
def module_operator(
    shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """See `operator`."""
    kubeconfig = shared_cluster.plane.token_kubeconfig(OPERATOR)
    started = OperatorProcess(kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    try:
        started.wait_ready()
        yield started
    finally:
        status = started.stop()
        shared_cluster.clear()
    assert status == 0, started.log()


@pytest.fixture
def operator(cluster: Cluster, module_operator: OperatorProcess) -> OperatorProcess:
    """An operator on the shared control plane with no instances, for tests that leave it be.

    It is the same one for all tests of a module, which must start no other.
    """
    eventually(lambda: not module_operator.instances() and cluster.registry())
    return module_operator


@pytest.fixture
def kubelet(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubelet]:
    """What says how pods are; none is left in the end, and the module's `operator` knows it.

    Else it might make a pod's instance anew as that is deleted, in the midst of the next test.
    """
    follows = "operator" in request.fixturenames
    operator = request.getfixturevalue("operator") if follows else None
    made = Kubelet(cluster)
    yield made
    made.clear()
    if operator is not None:
        eventually(lambda: operator.metric("pods") == 0)


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
        kubeconfig: Path | None = None, **options: Any,
    ) -> OperatorProcess:  # fmt: skip
        kubeconfig = kubeconfig or cluster.plane.token_kubeconfig(OPERATOR, server=server)
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
