"""Instances come and go by the thousand: of those that are gone nothing is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.cluster import API, Cluster
from support.faulty_operator import FAULTS, with_census
from support.operator_process import Start
from support.replay import Proof, replay
from support.waiting import eventually

MANY, ENOUGH_TO_SEE = 100_000, 10_000
"""How many come and go; without the mechanism it takes fewer to see that they are kept."""
MOST_MB = 8.0
"""By how much more memory may be taken in the end."""
MOST_BLOCKS = 1000
"""By how many more blocks it may be after the last tenth, when all that has a bound is full."""
ON_THE_API_SERVER, A_FEW = 1000, 200
"""The same on the API server, twice."""


@pytest.mark.timeout(600)
@replay(without="leaving-of-owners")
def test_a_hundred_thousand_come_and_go_in_a_registry(proof: Proof) -> None:
    """By events, LISTs, HTTP, pods and probes; silent, drained, deregistered, in conflict."""
    number = MANY if proof.left_out is None else ENOUGH_TO_SEE
    without = {"FAULTS_LEFT_OUT": proof.left_out} if proof.left_out else {}
    done = subprocess.run(
        [sys.executable, "-m", "support.churn", str(number)],
        env={**os.environ, **FAULTS, **without},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert told["came"] == number
    with proof:
        assert not told["kept"]
        assert told["megabytes"][-1] - told["megabytes"][0] < MOST_MB
        assert told["blocks"][-1] - told["blocks"][-2] < MOST_BLOCKS


@pytest.mark.timeout(600)
@replay(without="leaving-of-owners")
def test_thousands_come_and_go_on_the_api_server(
    cluster: Cluster, start_operator: Start, proof: Proof, tmp_path: Path
) -> None:
    number = ON_THE_API_SERVER if proof.left_out is None else A_FEW
    told = tmp_path / "census"
    operator = start_operator(cluster, "--resync-interval=2", **with_census(told))
    eventually(cluster.registry)

    def census() -> dict[str, Any]:
        told.write_text("", encoding="utf-8")
        return json.loads(eventually(lambda: told.read_text(encoding="utf-8"), within=5))  # type: ignore[no-any-return]

    def come_and_go(name: str) -> None:
        with ThreadPoolExecutor(16) as people:
            list(people.map(lambda n: create(cluster, f"{name}-{n}", n), range(number)))
        eventually(lambda: len(operator.instances(healthy=True)) == number, within=10)
        eventually(lambda: set(cluster.phases().values()) == {"Healthy"}, within=10)
        cluster.request("DELETE", f"{API}/namespaces/default/modelinstances", timeout=100)
        eventually(lambda: not operator.instances(), within=10)

    come_and_go("before")
    before = census()
    come_and_go("then")
    with proof:

        def nothing_left() -> dict[str, Any]:
            found = census()
            assert not found["objects"].get("Record")
            assert not found["objects"].get("Tracked")
            return found

        after = eventually(nothing_left)
        print(before, after)
        assert after["megabytes"] - before["megabytes"] < MOST_MB


def create(cluster: Cluster, name: str, number: int) -> None:
    """An instance that is of a pod, and has beaten."""
    body = cluster.manifest(name, beat="1", modelName=f"model-{number % 50}")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": f"uid-{name}"}
    body["metadata"]["ownerReferences"] = [owner]
    response = cluster.request("POST", f"{API}/namespaces/default/modelinstances", json=body)
    assert response.status_code == 201, response.text
