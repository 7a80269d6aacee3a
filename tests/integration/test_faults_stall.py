"""The line falls silent: nothing is forwarded, and nothing is closed."""

from __future__ import annotations

import pytest

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.proxy import HOST, TcpProxy
from support.truth import equals_truth
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 4
RESYNC_SECONDS = 2
LIST_TIMEOUT_SECONDS = 10
"""After so long without an answer the operator takes a new connection."""


@pytest.fixture
def line(cluster: Cluster, background: BackgroundLoop) -> TcpProxy:
    return background.enter(TcpProxy(HOST, cluster.plane.port))


@pytest.fixture
def operator(cluster: Cluster, line: TcpProxy, start_operator: Start) -> OperatorProcess:
    """An operator on that line."""
    return start_operator(cluster, f"--resync-interval={RESYNC_SECONDS}", server=line.url)


def create_workers(cluster: Cluster, operator: OperatorProcess) -> None:
    for name in ("beats", "falls-silent"):
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    with Workers(cluster, "beats", "falls-silent"):
        eventually(lambda: len(operator.instances(healthy=True)) == 2)
        eventually(lambda: equals_truth(cluster, operator))


def test_nobody_expires_because_of_a_silent_line_and_it_heals_once_it_speaks_again(
    cluster: Cluster, operator: OperatorProcess, line: TcpProxy, background: BackgroundLoop
) -> None:
    with Workers(cluster, "beats"):
        create_workers(cluster, operator)
        background.call(line.stall)

        def grows_old() -> bool:
            answer = operator.get("/readyz")
            age = answer.json()["view"]["ageSeconds"]
            stale_after = 1.5 * RESYNC_SECONDS
            if age > stale_after + 0.1:
                reason = "answering from memory: nothing proves the view current"
                assert answer.json()["reason"] == reason
                assert answer.json()["view"]["stale"] is True
            assert answer.status_code == 200
            assert operator.selects("m") in {"beats", "falls-silent"}
            return bool(age > 1.5 * TIMEOUT_SECONDS)

        eventually(grows_old, within=1.5 * TIMEOUT_SECONDS)
        assert operator.metric("expiries_total") == 0
        background.call(line.resume)
        stays(lambda: operator.phase("beats") == "Healthy", 1.5 * TIMEOUT_SECONDS)
        eventually(lambda: operator.phase("falls-silent") == "Unhealthy", within=TIMEOUT_SECONDS)
        eventually(lambda: equals_truth(cluster, operator), within=RESYNC_SECONDS)
        assert operator.metric("expiries_total") == 1
        eventually(lambda: operator.readyz()["reason"] == "the view is current")


def test_connections_that_stay_silent_are_given_up_for_new_ones(
    cluster: Cluster, operator: OperatorProcess, line: TcpProxy, background: BackgroundLoop
) -> None:
    """Nothing but LISTs finds out that the watch hangs; it is started again on a new connection."""
    with Workers(cluster, "beats"):
        create_workers(cluster, operator)
        background.call(line.stall_open)
        eventually(lambda: "no answer within" in operator.readyz()["reason"], LIST_TIMEOUT_SECONDS)
        assert operator.get("/readyz").status_code == 200
        assert operator.metric("expiries_total") == 0
        eventually(lambda: operator.readyz()["reason"] == "the view is current")
        stays(lambda: operator.phase("beats") == "Healthy", TIMEOUT_SECONDS)
        eventually(lambda: operator.metric("watch_restarts_total") == 1, within=3 * RESYNC_SECONDS)
        eventually(lambda: operator.phase("falls-silent") == "Unhealthy", within=TIMEOUT_SECONDS)
        eventually(lambda: equals_truth(cluster, operator), within=3)
        assert operator.metric("expiries_total") == 1
    assert line.open_connections > 0, "the silent ones are not closed by the line"
