"""The image as it runs in the operator's pod."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from e2e.cluster import RealCluster, Release
from support.waiting import PATIENCE

START_SECONDS = 2
"""The stated bound for a container to serve; when it began is told in whole seconds."""

LOOK = """
import os, pathlib, shutil, sys
assert os.getuid() == 65532 and os.getgid() == 65532, (os.getuid(), os.getgid())
for place in ("/", "/tmp", "/app", os.path.dirname(os.__file__)):
    try:
        pathlib.Path(place, "written").touch()
    except OSError as error:
        assert error.errno in (13, 30), error
    else:
        sys.exit(f"{place} can be written to")
assert sys.prefix == "/app", sys.prefix
for name in ("pip", "setuptools", "hatchling"):
    assert not list(pathlib.Path("/app/lib").glob(f"python3*/site-packages/{name}")), name
for name in ("gcc", "cc", "make", "git"):
    assert not shutil.which(name), name
files = [path for path in pathlib.Path("/app").rglob("*") if path.is_file()]
size = sum(path.stat().st_size for path in files if not path.is_symlink())
assert size < 100_000_000, size
print("as it should be")
"""


@pytest.fixture(scope="module")
def release(cluster: RealCluster, image: str) -> Iterator[Release]:
    """The chart with its defaults."""
    with cluster.clean():
        release = Release(cluster, cluster.add_namespace("home"))
        release.install(*release.of_image(image))
        yield release


def test_it_runs_as_nobody_and_holds_nothing_to_write_or_build_with(release: Release) -> None:
    told = release.cluster.kubectl(
        "exec", release.pod(), "-n", release.namespace, "--", "python", "-c", LOOK
    )
    assert told.strip() == "as it should be"


def test_it_serves_soon(release: Release) -> None:
    pod = release.cluster.get("pod", release.pod(), release.namespace)
    (status,) = pod["status"]["containerStatuses"]
    assert status["restartCount"] == 0
    begun = datetime.fromisoformat(status["state"]["running"]["startedAt"])
    log = release.cluster.kubectl(
        "logs", pod["metadata"]["name"], "-n", release.namespace, "--timestamps"
    )
    (line,) = [line for line in log.splitlines() if "serving on" in line]
    served = datetime.fromisoformat(line.split()[0])
    assert (served - begun).total_seconds() < START_SECONDS * PATIENCE
