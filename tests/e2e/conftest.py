"""The cluster of ``KUBECONFIG``: every test installs the chart in it, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import charttools
from controlplane import binaries
from e2e.cluster import RealCluster
from rig import PREVIOUS_VERSION, VERSION


@pytest.fixture(scope="session")
def image() -> str:
    """The image under test, which the nodes have or can pull."""
    return os.environ.get("E2E_IMAGE") or f"modelinstance-operator:{VERSION}"


@pytest.fixture(scope="session")
def previous_image() -> str:
    """The image of the version before, likewise."""
    return os.environ.get("E2E_PREVIOUS_IMAGE") or f"modelinstance-operator:{PREVIOUS_VERSION}"


@pytest.fixture(scope="session")
def routers_image() -> str:
    """The image of ``tests/e2e/fixtures/routers.Dockerfile``, likewise."""
    named = os.environ.get("E2E_ROUTERS_IMAGE")
    if not named:
        pytest.skip("E2E_ROUTERS_IMAGE names no image of tests/e2e/fixtures/routers.Dockerfile")
    return named


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    """The cluster; in the end, nothing that the operator asked for was refused."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster; `make e2e` starts one where it can")
    log = os.environ.get("E2E_AUDIT_LOG")
    cluster = RealCluster(
        binaries.ensure().kubectl, charttools.ensure().helm, Path(log) if log else None
    )
    assert not cluster.installed_crds(), (
        "the cluster has the CRDs of modelinstance.dev, and these tests delete them: name another"
    )
    yield cluster
    if cluster.audit_log is not None:
        assert not cluster.refusals()
