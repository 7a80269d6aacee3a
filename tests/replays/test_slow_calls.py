"""What the operator asks of others is answered late or never: routers must not notice."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping

import pytest

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually
from support.workers import Workers

TIMEOUT_SECONDS = 4
RESYNC = "--resync-interval=2"
HOST = "127.0.0.1"
MOST_SECONDS = 2.5
"""How long a select may take on a machine that pauses; what hangs here does for longer."""


def check_selects(operator: OperatorProcess, seconds: float, *names: str) -> None:
    """Select for some time: each is answered soon, and rightly."""
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        chosen = operator.selects()
        took = time.monotonic() - began
        assert took < MOST_SECONDS, f"a select took {took:.1f} s"
        assert chosen in names
        time.sleep(0.02)


def why(operator: OperatorProcess, name: str) -> str:
    """The reason for the phase of an instance."""
    reason: str = operator.instances()[f"default/{name}"]["reason"]
    return reason


def side_calls(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Match what is written, be it statuses, Events or gates, and what is asked of pods."""
    return method != "GET" or path.endswith("/pods")


@replay(without="writes-beside")
def test_writes_and_the_watch_of_pods_hang(
    cluster: Cluster, start_operator: Start, proof: Proof, background: BackgroundLoop
) -> None:
    line = Line(cluster, background)
    operator = start_operator(cluster, RESYNC, server=line.url)
    for name in ("beats", "falls-silent"):
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    with Workers(cluster, "beats"):
        with Workers(cluster, "falls-silent"):
            eventually(lambda: set(cluster.phases().values()) == {"Healthy"}, within=6)
            hang = line.hold(side_calls)
            line.cut()
            cluster.create("new", modelName="other")
            eventually(hang.reached.is_set)
        with proof:
            check_selects(operator, TIMEOUT_SECONDS / 2, "beats", "falls-silent")
            eventually(lambda: operator.phase("falls-silent") == "Unhealthy", TIMEOUT_SECONDS)
            check_selects(operator, 2 * TIMEOUT_SECONDS, "beats")
            assert cluster.phase("falls-silent") == "Healthy", "nothing can be written"
            line.clear()
            eventually(lambda: cluster.phase("falls-silent") == "Unhealthy", within=10)
            eventually(lambda: cluster.phase("new") == "Starting", within=10)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken, and nothing is ever answered."""
    with socket.create_server((HOST, 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@replay(without="probes-beside")
def test_what_is_probed_never_answers(
    cluster: Cluster, start_operator: Start, proof: Proof, silent_port: int
) -> None:
    probe = {"path": "/health", "periodSeconds": 1, "timeoutSeconds": 4, "failureThreshold": 2}
    operator = start_operator(cluster, RESYNC, "--allowed-network=127.0.0.0/8")
    for name in ("beats", "falls-silent"):
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    with Workers(cluster, "beats"):
        with Workers(cluster, "falls-silent"):
            eventually(lambda: len(operator.instances(healthy=True)) == 2)
            for number in range(8):
                cluster.create(
                    f"mute-{number}", modelName=f"mute-{number}", host=HOST, port=silent_port,
                    heartbeat={"required": False}, probe=probe,
                )  # fmt: skip
            with proof:
                check_selects(operator, 2 * TIMEOUT_SECONDS, "beats", "falls-silent")
                eventually(lambda: why(operator, "mute-0") == "ProbeFailed")
        if proof.left_out is not None:
            operator.kill()  # it would be as late to stop
            return
        eventually(lambda: operator.phase("falls-silent") == "Unhealthy", TIMEOUT_SECONDS)
        check_selects(operator, TIMEOUT_SECONDS, "beats")
