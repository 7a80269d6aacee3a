"""The operator is told to stop, whatever state it is in; or it stands still for a while."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

from modelinstance.cluster.supervisor import JOIN_SECONDS
from support.background import BackgroundLoop
from support.cluster import HEARTBEAT, Cluster
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.truth import equals_truth
from support.waiting import eventually, stays
from support.workers import INTERVAL, Workers

STOP_SECONDS = 5


def ends_well(operator: OperatorProcess, number: int = signal.SIGTERM) -> None:
    """Check that a signal ends it in time, with status 0 and without a complaint."""
    began = time.monotonic()
    operator.process.send_signal(number)
    assert operator.process.wait(5 * STOP_SECONDS) == 0, operator.log()
    assert time.monotonic() - began < JOIN_SECONDS, "kopf ended when it was told to"
    assert "Traceback" not in operator.log()
    operator.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_when_all_is_well(
    number: int, cluster: Cluster, start_operator: Start
) -> None:
    cluster.create("a", beat="1")
    operator = start_operator(cluster)
    eventually(lambda: cluster.phase("a") == "Healthy")
    ends_well(operator, number)
    assert cluster.phase("a") == "Healthy", "a stop changes no status"


@pytest.mark.parametrize("word", ["deregister", "drain", "undrain"])
def test_what_it_acknowledged_just_before_it_was_told_to_stop_is_not_lost(
    word: str, cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    name = operator.register()["name"]
    eventually(lambda: cluster.phase(name) == "Healthy")
    if word == "undrain":
        operator.drain(name)
        eventually(lambda: cluster.phase(name) == "Draining")
    getattr(operator, word)(name)
    ends_well(operator)
    selected = start_operator(cluster).selects()
    assert selected == (name if word == "undrain" else None)


def test_it_ends_before_it_has_watched_anything(cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(cluster, ready=False)
    eventually(lambda: "serving on" in operator.log(), within=5)
    ends_well(operator)


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_it_ends_without_its_api_server(
    fault: str, own_cluster: Cluster, start_operator: Start
) -> None:
    cluster = own_cluster
    cluster.create("a", beat="1", timeout=2)
    operator = start_operator(cluster, "--resync-interval=1")
    eventually(lambda: cluster.phase("a") is not None)
    if fault == "killed":
        cluster.plane.kill_apiserver()
    else:
        cluster.plane.pause_apiserver()
    eventually(lambda: operator.readyz()["view"]["stale"])
    ends_well(operator)
    cluster.plane.resume_apiserver()


def test_it_ends_while_it_waits_for_crds(own_cluster: Cluster, start_operator: Start) -> None:
    own_cluster.kubectl("delete", "crd", "--all")
    operator = start_operator(own_cluster, ready=False)
    eventually(lambda: "waiting to watch" in operator.log(), within=5)
    eventually(lambda: "are the CRDs of" in operator.readyz()["reason"])
    ends_well(operator)


@pytest.fixture
def writing(
    cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> Iterator[OperatorProcess]:
    """An operator whose status writes are under way, and will not be answered."""

    def writes(method: str, path: str, query: Mapping[str, str]) -> bool:
        return method == "PATCH" and path.endswith("/status") and "/modelinstances/" in path

    line = Line(cluster, background)
    hold = line.hold(writes)
    for number in range(30):
        cluster.create(f"i{number}", beat="1")
    operator = start_operator(cluster, server=line.url)
    eventually(hold.reached.is_set)
    assert operator.metric("status_writes_pending") == 30
    yield operator
    line.clear()


def test_it_ends_while_statuses_are_written(writing: OperatorProcess) -> None:
    ends_well(writing)


@contextmanager
def keep_alive(operator: OperatorProcess) -> Iterator[None]:
    """A client that keeps its connection for the next request."""
    with httpx.Client(base_url=operator.http.base_url) as client:
        assert client.get("/livez").status_code == 200
        yield


@contextmanager
def half_a_request(operator: OperatorProcess) -> Iterator[None]:
    """A client that does not come to the end of its request."""
    address = operator.http.base_url
    with socket.create_connection((address.host, address.port or 0)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        yield


@pytest.mark.parametrize("client", [keep_alive, half_a_request])
def test_it_ends_though_a_client_stays_connected(
    client: Callable[[OperatorProcess], object], cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    with client(operator):  # type: ignore[attr-defined]
        ends_well(operator)


def test_it_is_not_ready_while_it_stops(
    writing: OperatorProcess, cluster: Cluster, start_operator: Start
) -> None:
    """A stop that takes a moment shows what every stop says, until the socket is closed.

    The client is connected before: to make one may take longer than the stop. So may a client that
    has to wait for the machine: then there is another stop to look at.
    """
    stops = [statuses_of_a_stop(writing)]
    while 503 not in stops[-1]:
        assert len(stops) < 5, stops
        stops.append(statuses_of_a_stop(start_operator(cluster)))


def statuses_of_a_stop(operator: OperatorProcess) -> list[int]:
    """What /readyz answers from right before a SIGTERM until there is no answer."""
    statuses = [operator.get("/readyz").status_code]
    operator.process.send_signal(signal.SIGTERM)
    try:
        while True:
            answer = operator.get("/readyz")
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert answer.json()["reason"] == "stopping"
    except httpx.TransportError:
        pass
    assert statuses == sorted(statuses), "200 before, 503 after"
    assert operator.stop() == 0
    return statuses


def test_time_that_the_process_stood_still_is_nobodys_silence(
    cluster: Cluster, start_operator: Start
) -> None:
    timeout = 4
    operator = start_operator(cluster, "--resync-interval=2")
    for name in ("beats", "falls-silent"):
        cluster.create(name, timeout=timeout)

    def beats() -> int:
        return int(cluster.get("beats")["metadata"]["annotations"][HEARTBEAT].split("-")[1])

    with Workers(cluster, "beats"):
        with Workers(cluster, "falls-silent"):
            eventually(lambda: len(operator.instances(healthy=True)) == 2)
            operator.process.send_signal(signal.SIGSTOP)
        try:
            enough = beats() + 2 * timeout / INTERVAL
            eventually(lambda: beats() > enough, within=3 * timeout)
        finally:
            operator.process.send_signal(signal.SIGCONT)
        assert operator.phase("falls-silent") == "Healthy", "it gets a moment to be heard"
        stays(lambda: operator.phase("beats") == "Healthy", timeout)
        eventually(lambda: operator.phase("falls-silent") == "Unhealthy", within=timeout)
        assert operator.metric("expiries_total") == 1
        eventually(lambda: equals_truth(cluster, operator))
