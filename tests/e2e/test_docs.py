"""What README.md and docs/install.md tell to type, typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import ROOT, RealCluster, Release
from support.waiting import eventually

NAMESPACES = ("modelinstance-system", "models", "team-a", "team-b")
"""Those that the pages name."""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "E2E_IMAGE" in os.environ, reason="E2E_IMAGE is set, and the pages name an image"
    ),
]


@pytest.fixture
def checkout(cluster: RealCluster, tmp_path: Path) -> Iterator[Path]:
    """The files that the pages speak of, in a cluster that has nothing of them yet."""
    there = cluster.kubectl("get", "namespaces", "-o", "name").split()
    assert not {f"namespace/{name}" for name in NAMESPACES} & set(there)
    for name in ("Helm-chart", "crds", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with cluster.clean(*NAMESPACES):
        yield tmp_path
    cluster.await_nothing_left()


def blocks(page: str, section: str = "") -> list[str]:
    """The shell blocks of a page, or of what follows a line of it up to the next heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if section:
        assert text.count(section) == 1
        text = re.split(r"^## ", text[text.index(section) :], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert found
    return found


def typed(cluster: RealCluster, checkout: Path, script: list[str]) -> str:
    """Run blocks as one script that ends with the first failure; returns what it printed."""
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "\n".join(script)],
        cwd=checkout,
        env=cluster.tools,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def shown(told: str) -> dict[str, str]:
    """The phases in what ``kubectl get modelinstances`` printed, where there are any yet."""
    found = re.findall(r"^(\S+-(?:0|1|embedder)) +\S+ +http\S+ +([A-Z]\S+) ", told, re.MULTILINE)
    return dict(found)


def test_the_page_on_installing(cluster: RealCluster, checkout: Path) -> None:
    told = typed(cluster, checkout, blocks("docs/install.md"))
    assert re.search(r"^vicuna-0 +vicuna +http://10.0.0.5:8000 +Healthy", told, re.MULTILINE)
    assert '"name":"vicuna-0"' in told
    assert told.count("Phase:          Succeeded") == 2
    assert not cluster.installed_crds(), "the page ends with everything gone"
    assert not any(f"namespace/{name}" in cluster.kubectl("get", "namespaces", "-o", "name")
                   for name in NAMESPACES)  # fmt: skip


def test_the_notes(cluster: RealCluster, checkout: Path) -> None:
    release = Release(cluster, cluster.add_namespace("home"))
    release.install()
    notes = cluster.helm("get", "notes", release.name, "-n", release.namespace)
    _, _, rest = notes.partition("and look:\n")
    commands, _, _ = rest.partition("\nTry the whole of it:")
    told = typed(cluster, checkout, [commands.replace("Ask as a router would:\n", "")])
    assert re.search(r"^vicuna-0 +vicuna +http://10.0.0.5:8000 +Healthy", told, re.MULTILINE)
    assert '"name":"vicuna-0"' in told


def test_the_readme(cluster: RealCluster, checkout: Path) -> None:
    told = typed(cluster, checkout, blocks("README.md", "In a cluster whose"))
    phases = {
        "external-embedder": "Healthy",
        "llama-0": "Starting",
        "vicuna-0": "Healthy",
        "vicuna-1": "Starting",
    }
    assert shown(told)["vicuna-0"] == "Healthy", "it was waited for"
    eventually(lambda: shown(cluster.kubectl("get", "modelinstances")) == phases)
    assert '"name":"vicuna-0"' in told
