"""The API server is away: who beats through it cannot be heard, and is not blamed for that."""

from __future__ import annotations

import time

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.truth import equals_truth
from support.waiting import PATIENCE, eventually, stays
from support.workers import Workers

RESYNC_SECONDS = 2


def answers_from_memory(operator: OperatorProcess, until_age: float) -> bool:
    """Check that everything stays as it is until the view is that old, and that it says so."""
    deadline = time.monotonic() + PATIENCE * until_age
    age = 0.0
    while age < until_age:
        assert time.monotonic() < deadline
        assert operator.selects() == "a"
        readiness = operator.get("/readyz")
        assert readiness.status_code == 200
        age = readiness.json()["view"]["ageSeconds"]
        time.sleep(0.1)
    assert operator.readyz()["view"]["stale"] is True
    assert operator.get("/api/v1/instances").headers["Modelinstance-View-Stale"] == "true"
    return True


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(4, 6.0), (2, 10.0)], ids=["seconds", "five-timeouts"]
)
@replay(without="time-of-the-view")
def test_nobody_expires_while_the_api_server_is_away_and_nothing_is_written_afterwards(
    own_cluster: Cluster, start_operator: Start, proof: Proof, timeout: int, seconds: float
) -> None:
    cluster = own_cluster
    operator = start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}")
    cluster.create("a", timeout=timeout)
    with Workers(cluster, "a"):
        eventually(lambda: operator.selects() == "a")
        eventually(lambda: equals_truth(cluster, operator))
        before, mark = cluster.get("a")["status"], cluster.audit_mark()
        cluster.plane.kill_apiserver()
        with proof:
            assert answers_from_memory(operator, seconds)
            cluster.plane.start_apiserver()
            eventually(lambda: not operator.readyz()["view"]["stale"], within=RESYNC_SECONDS)
            stays(lambda: operator.selects() == "a", 1.5 * timeout)
            assert operator.metric("expiries_total") == 0
            assert cluster.get("a")["status"] == before
            assert not cluster.writes_on("a", mark)
