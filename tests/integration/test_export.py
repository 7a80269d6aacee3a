"""`modelinstance export` beside a registry that changes, goes away and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.ports import free_port
from routers.processes import ROUTERS, Process, modelinstance
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

FOLLOWS_SECONDS = 2
HOLD_SECONDS = 6
Export = Callable[..., Process]
CHECK = """\
import json, sys
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
body = json.load(sys.stdin)
resources = body.pop("resources")
DiscoveryResponse.from_dict(body)
for resource in resources:
    assert resource.pop("@type") == body["type_url"]
    print(json.dumps(ClusterLoadAssignment.from_dict(resource).to_dict()))
"""
"""Reads a file as Envoy's messages, which refuse fields that they do not have."""


class Site:
    """A registry at a port that stays, and exports of it into one folder."""

    registry: OperatorProcess

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._starts = 0
        self._exports: list[Process] = []
        self.file = folder / "file"

    def start(self) -> None:
        """Start the registry, knowing nothing."""
        self._starts += 1
        log = self._folder / f"registry-{self._starts}.log"
        self.registry = OperatorProcess(None, log, f"--port={self.port}")
        self.registry.wait_ready()

    def register(self, port: int, status: int = 201, **body: Any) -> str:
        """Register an instance of model m, to be taken at its word; returns its name."""
        answer = self.registry.register(
            status, host="127.0.0.1", port=port, heartbeat={"required": False}, **body
        )
        name: str = answer["name"]
        return name

    def export(self, form: str = "json", *flags: str) -> Process:
        """The export under test."""
        export = modelinstance(
            self._folder / f"export-{len(self._exports)}.log", "export", f"--format={form}",
            f"--watch={self.file}", f"--registry=http://127.0.0.1:{self.port}",
            f"--hold={HOLD_SECONDS}", *flags,
        )  # fmt: skip
        self._exports.append(export)
        return export

    def ports(self) -> list[int]:
        """The ports of the instances in the file."""
        items = json.loads(self.file.read_text("utf-8"))["instances"]
        return sorted(int(item["address"].rpartition(":")[2]) for item in items)

    def close(self) -> None:
        """End everything; an export has to end well."""
        for export in self._exports:
            assert export.stop() == 0, export.log()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.start()
    yield made
    made.close()
    made.registry.stop()


def test_the_file_follows_and_is_always_whole(site: Site) -> None:
    export = site.export()
    eventually(site.file.exists, within=FOLLOWS_SECONDS + 3)
    assert site.ports() == []
    site.file.chmod(0o600)
    enough, torn = threading.Event(), list[str]()

    def read() -> None:
        while not enough.is_set():
            text = site.file.read_text("utf-8")
            try:
                json.loads(text)
            except ValueError:
                torn.append(text)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        names = [site.register(port) for port in range(1, 21)]
        eventually(lambda: site.ports() == [*range(1, 21)], within=FOLLOWS_SECONDS)
        site.registry.drain(names[0])
        eventually(lambda: site.ports() == [*range(2, 21)], within=FOLLOWS_SECONDS)
    finally:
        enough.set()
        reader.join()
    assert not torn
    assert site.file.stat().st_mode & 0o777 == 0o600
    eventually(lambda: export.log().endswith(": 19 instances\n"))
    before = site.file.stat().st_ino, export.log()
    site.register(2, 200, load={"running": 3})
    site.register(30, weight=0)
    stays(lambda: (site.file.stat().st_ino, export.log()) == before, 1)


def test_what_is_there_stays_while_nothing_better_is_known(site: Site) -> None:
    site.registry.stop()
    good = '{"instances": [{"address": "http://the.last.known.good:7"}]}'
    site.file.write_text(good, "utf-8")
    export = site.export()
    eventually(lambda: export.says("the registry is lost"), within=5)
    assert site.file.read_text("utf-8") == good
    site.start()
    site.register(1)
    site.register(2)
    eventually(lambda: site.ports() == [1, 2], within=10)
    site.registry.kill()
    eventually(lambda: export.says("the registry is lost", times=2), within=2)
    assert site.ports() == [1, 2]
    site.start()
    eventually(lambda: export.says("is back", times=2), within=10)
    site.register(2)
    stays(lambda: site.ports() == [1, 2], HOLD_SECONDS / 6)
    eventually(lambda: site.ports() == [2], within=HOLD_SECONDS + FOLLOWS_SECONDS)


def test_what_went_while_an_operator_was_away_is_out_once_it_is_back(
    cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    for name, model, port in (("a", "old", 1), ("b", "other", 2)):
        heartbeat = {"required": False}
        cluster.create(name, modelName=model, host="10.0.0.5", port=port, heartbeat=heartbeat)
    first = start_operator(cluster, f"--port={site.port}")
    export = site.export("json", "--hold=3600", "--model=old")
    eventually(lambda: site.file.exists() and site.ports() == [1], within=10)
    first.kill()
    eventually(lambda: export.says("the registry is lost"), within=5)
    cluster.delete("a")
    cluster.create("c", modelName="new", host="10.0.0.5", port=1, heartbeat={"required": False})
    start_operator(cluster, f"--port={site.port}")
    eventually(lambda: site.ports() == [], within=20)
    site.close()


def test_once_ends_when_the_file_is_written(site: Site, tmp_path: Path) -> None:
    site.register(1)
    assert site.export("json", "--once").process.wait(30) == 0
    assert site.ports() == [1]
    failing = modelinstance(
        tmp_path / "failing.log", "export", "--format=json", "--once",
        f"--watch={tmp_path / 'no' / 'file'}", f"--registry={site.registry.http.base_url}",
    )  # fmt: skip
    assert failing.process.wait(30) == 1
    assert failing.log().splitlines()[-1].startswith(f"modelinstance: --watch={tmp_path}/no/file: ")


def test_a_file_that_cannot_be_written_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.file = tmp_path / "later" / "file"
    export = site.export()
    eventually(lambda: export.says("cannot be written, it is tried again"), within=5)
    site.file.parent.mkdir()
    eventually(site.file.exists, within=6)


def test_envoy_understands_its_file(site: Site) -> None:
    site.register(1, weight=2)
    site.register(2)
    site.registry.register(host="engine.example", port=3, heartbeat={"required": False})
    export = site.export("envoy-file", "--model=m")
    eventually(site.file.exists, within=FOLLOWS_SECONDS + 3)
    read = subprocess.run(
        [ROUTERS / "python", "-c", CHECK], input=site.file.read_text("utf-8"), text=True,
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assignment = json.loads(read.stdout)
    (locality,) = assignment["endpoints"]
    assert assignment["clusterName"] == "m"
    assert [
        (each["endpoint"]["address"]["socketAddress"], each["loadBalancingWeight"])
        for each in locality["lbEndpoints"]
    ] == [
        ({"address": "127.0.0.1", "portValue": 1}, 200),
        ({"address": "127.0.0.1", "portValue": 2}, 100),
    ]
    assert export.says("is left out: Envoy resolves no name here, like engine.example")


def test_the_command_loads_nothing_of_the_operator() -> None:
    code = (
        "import sys; import modelinstance.commands.feed, modelinstance.commands.export;"
        "print([name for name in ('kopf', 'kubernetes_asyncio', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
