"""The operator asks instances that opt in, and decides on what comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any, Self

import pytest
import yaml

from modelinstance.registry.intake.probing import MAX_AT_ONCE, MAX_DOUBTFUL_AT_ONCE
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

HOST = "127.0.0.1"
LOOPBACK = "--allowed-network=127.0.0.0/8"
QUICK = {"periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 2}
"""The engine is in this process: two pauses of it in a row are to be no failure."""


HANGING_UP = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)


class Engine:
    """Answers to each path with a status that can be set, and for 0 only once it is let ``go``.

    ``open`` is how many connections are open.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.requests: Counter[str] = Counter()
        self.connections = self.open = 0
        self.go = asyncio.Event()
        self._served: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(*HANGING_UP):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1]
                self.requests[path] += 1
                status = self.statuses.get(path, 404)
                if status or await self._is_let(reader):
                    status = status or 200
                    where = f"Location: http://{HOST}:{self.port}/elsewhere\r\n"
                    writer.write(
                        f"HTTP/1.1 {status} X\r\n{where}Content-Length: 0\r\n\r\n".encode()
                    )
                await reader.read()
        finally:
            self.open -= 1
            self._served.discard(task)
            writer.close()

    async def _is_let(self, reader: asyncio.StreamReader) -> bool:
        """Wait until it is let go, or the client hangs up."""
        tasks = [asyncio.create_task(self.go.wait()), asyncio.create_task(reader.read())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.go.is_set()

    def spec(self, path: str = "/health", **probe: Any) -> dict[str, Any]:
        """The spec of an instance that is at this engine, and needs no heartbeats."""
        return {
            "host": HOST, "port": self.port, "heartbeat": {"required": False},
            "probe": {"path": path, **QUICK, **probe},
        }  # fmt: skip


@pytest.fixture
def engine(background: BackgroundLoop) -> Engine:
    """An engine whose /health is good."""
    made = background.enter(Engine())
    made.statuses["/health"] = 200
    return made


def says(cluster: Cluster, name: str = "a") -> tuple[str | None, str]:
    """Phase and reason as they are written."""
    return cluster.phase(name), cluster.condition(name)["reason"]


def comes_to_fail(cluster: Cluster, name: str = "a") -> None:
    """Wait until the probe has failed."""
    eventually(lambda: says(cluster, name) == ("Unhealthy", "ProbeFailed"))


def asked_once_more(engine: Engine) -> None:
    """Wait until there is one more request."""
    before = engine.requests["/health"]
    eventually(lambda: engine.requests["/health"] > before)


def describe(cluster: Cluster, name: str = "a") -> str:
    """What ``kubectl describe`` shows, in one line."""
    return " ".join(cluster.kubectl("describe", "mi", name).split())


def test_an_instance_follows_what_it_answers(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    operator = start_operator(cluster, LOOPBACK)
    engine.statuses["/health"] = 0
    cluster.create("a", **engine.spec(failureThreshold=10, timeoutSeconds=60))
    eventually(lambda: says(cluster) == ("Starting", "AwaitingFirstProbe"))
    assert operator.selects() is None
    cluster.patch("a", {"spec": {"probe": {"failureThreshold": 2, "timeoutSeconds": 3}}})

    engine.statuses["/health"] = 200
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    assert operator.selects() == "a"
    cluster.kubectl("wait", "--for=condition=Ready", "mi/a", "--timeout=30s")

    engine.statuses["/health"] = 503
    comes_to_fail(cluster)
    assert operator.selects() is None
    assert f"The probe fails: GET http://{HOST}:{engine.port}/health: HTTP 503" in describe(cluster)

    engine.statuses["/health"] = 200
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    engine.statuses["/health"] = 0
    comes_to_fail(cluster)
    assert "/health: no answer within 3 s" in describe(cluster)
    assert operator.metric("probes_total", result="success") >= 2
    assert operator.metric("probes_total", result="failure") >= 4
    assert operator.metric("probes_total", result="forbidden") == 0


def test_a_probe_counts_beside_heartbeats(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    start_operator(cluster, LOOPBACK)
    cluster.create("a", **{**engine.spec(), "heartbeat": {"required": True}})
    eventually(lambda: says(cluster) == ("Starting", "AwaitingFirstHeartbeat"))
    cluster.beat("a")
    eventually(lambda: says(cluster) == ("Healthy", "HeartbeatReceived"))
    engine.statuses["/health"] = 500
    comes_to_fail(cluster)


def test_only_whoever_asks_for_it_is_asked(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    start_operator(cluster, LOOPBACK)
    cluster.create("silent", host=HOST, port=engine.port, heartbeat={"required": False})
    cluster.create("disabled", **{**engine.spec("/disabled"), "rotation": "Disabled"})
    cluster.create("a", modelName="other", **engine.spec())
    eventually(lambda: engine.requests["/health"] >= 3)
    assert set(engine.requests) == {"/health"}
    assert "probe" not in cluster.get("silent")["spec"], "there is no default"
    cluster.patch("disabled", {"spec": {"rotation": "Active"}})
    eventually(lambda: engine.requests["/disabled"])


@pytest.mark.parametrize(
    ("host", "what"),
    [
        (HOST, "127.0.0.1 is a loopback address; --allowed-network=127.0.0.1/32 would allow it"),
        ("localhost", "localhost is at a forbidden address: "),
    ],
)
def test_a_closed_address_is_never_connected_to_and_describe_says_why(
    host: str, what: str, cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", **{**engine.spec(), "host": host})
    comes_to_fail(cluster)
    shown = describe(cluster)
    assert "/health was not asked: " in shown
    assert what in shown
    eventually(lambda: operator.metric("probes_total", result="forbidden") >= 2)
    assert engine.connections == 0


def test_the_api_server_is_never_asked_whatever_is_allowed(
    cluster: Cluster, start_operator: Start
) -> None:
    start_operator(cluster, LOOPBACK)
    for name, host in (("a", HOST), ("b", "localhost")):
        cluster.create(
            name, host=host, port=int(cluster.plane.url.rpartition(":")[2]), scheme="https",
            heartbeat={"required": False}, probe={"path": "/version", **QUICK},
        )  # fmt: skip
    for name in ("a", "b"):
        comes_to_fail(cluster, name)
        assert "is the API server, which is never asked" in describe(cluster, name)


def test_an_api_server_that_never_answered_the_operator_is_known_by_the_endpoints(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    for name, port in (("server", 6443), ("other", 6444)):
        cluster.create(
            name, host="192.0.2.2", port=port,
            heartbeat={"required": False}, probe={"path": "/version", **QUICK},
        )  # fmt: skip
    for name in ("server", "other"):
        comes_to_fail(cluster, name)
    assert "is the API server, which is never asked" in describe(cluster, "server")
    assert "is the API server" not in describe(cluster, "other")
    assert "the addresses of all API servers" not in operator.log()


def test_a_redirect_is_a_failure_that_says_so(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    start_operator(cluster, LOOPBACK)
    engine.statuses["/health"] = 302
    engine.statuses["/elsewhere"] = 200
    cluster.create("a", **engine.spec())
    comes_to_fail(cluster)
    assert "HTTP 302, and redirects are not followed" in describe(cluster)
    assert engine.requests["/elsewhere"] == 0


def test_an_edit_of_the_path_counts_from_then_on(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    operator = start_operator(cluster, LOOPBACK)
    engine.statuses["/v2"] = 200
    cluster.create("a", **engine.spec())
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    cluster.patch("a", {"spec": {"probe": {"path": "/v2"}}})
    eventually(lambda: engine.requests["/v2"] >= 2)
    before = engine.requests["/health"]
    assert operator.phase("a") == "Healthy"
    cluster.patch("a", {"spec": {"probe": {"path": "/v3"}}})
    comes_to_fail(cluster)
    assert engine.requests["/health"] == before, "the old path is asked no more"
    cluster.patch("a", {"spec": {"probe": None}})
    eventually(lambda: says(cluster) == ("Healthy", "HeartbeatNotRequired"))


@pytest.mark.parametrize("end", [OperatorProcess.stop, OperatorProcess.kill])
def test_a_restart_with_a_passing_probe_writes_nothing_and_leaves_no_gap(
    end: Any, cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    first = start_operator(cluster, LOOPBACK)
    cluster.create("a", **engine.spec())
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    before = cluster.get("a")
    end(first)
    mark, asked = cluster.audit_mark(), engine.requests["/health"]
    second = start_operator(cluster, LOOPBACK)
    assert second.phase("a") == "Healthy", "from its first answer on"
    eventually(lambda: engine.requests["/health"] >= asked + 3)
    assert second.phase("a") == "Healthy"
    assert cluster.get("a") == before
    assert not [entry for entry in cluster.writes(mark) if entry.name == "a"]


def test_a_restart_finds_out_what_failed_meanwhile(
    cluster: Cluster, start_operator: Start, engine: Engine
) -> None:
    first = start_operator(cluster, LOOPBACK)
    cluster.create("a", **engine.spec())
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    assert first.stop() == 0
    engine.statuses["/health"] = 500
    start_operator(cluster, LOOPBACK)
    comes_to_fail(cluster)


def test_an_operator_that_was_stopped_for_a_while_blames_nobody(
    cluster: Cluster, start_operator: Start, engine: Engine, background: BackgroundLoop
) -> None:
    """The answer comes in time, to a process that is not there to see it."""
    operator = start_operator(cluster, LOOPBACK)
    cluster.create("a", **engine.spec(failureThreshold=1, timeoutSeconds=3))
    eventually(lambda: says(cluster) == ("Healthy", "ProbeSucceeded"))
    before = cluster.get("a")
    failures = operator.metric("probes_total", result="failure")
    engine.statuses["/health"] = 0
    for _ in range(2):
        background.call(engine.go.clear)
        eventually(lambda: engine.open)
        operator.process.send_signal(signal.SIGSTOP)
        background.call(engine.go.set)
        stays(lambda: operator.process.poll() is None, 4.5)
        operator.process.send_signal(signal.SIGCONT)
        asked_once_more(engine)
        assert operator.metric("probes_total", result="failure") == failures
    assert operator.phase("a") == "Healthy"
    assert cluster.get("a") == before


def test_no_more_are_asked_at_a_time_than_the_bound_and_those_that_hang_hold_up_none(
    cluster: Cluster, start_operator: Start, engine: Engine, background: BackgroundLoop
) -> None:
    """Half of the bound is for those of which nothing good is known."""
    operator = start_operator(cluster, LOOPBACK)
    names = [f"hang{index}" for index in range(2 * MAX_DOUBTFUL_AT_ONCE)]
    cluster.create("a", modelName="good", **engine.spec())
    eventually(lambda: operator.phase("a") == "Healthy")
    for name in names:
        engine.statuses[f"/{name}"] = 0
        cluster.create(name, modelName=name, **engine.spec(f"/{name}", timeoutSeconds=60))
    eventually(lambda: engine.open >= MAX_DOUBTFUL_AT_ONCE)
    asked = engine.requests["/health"]
    stays(lambda: engine.open <= MAX_DOUBTFUL_AT_ONCE + 1, 3)
    assert MAX_DOUBTFUL_AT_ONCE + 1 < MAX_AT_ONCE
    eventually(lambda: engine.requests["/health"] >= asked + 3, within=1)
    assert operator.phase("a") == "Healthy"

    background.call(engine.go.set)
    eventually(lambda: len(operator.instances(healthy=True)) == 1 + len(names), within=5)


# -- what is written wrong -----------------------------------------------------------------------

ACCEPTED: list[dict[str, Any]] = [
    {}, {"path": "/"}, {"path": "/health?deep=1&a=%20"}, {"path": "/a//b/~x"},
    {"path": "/" + "a" * 1023}, {"periodSeconds": 1}, {"periodSeconds": 3600},
    {"timeoutSeconds": 1}, {"timeoutSeconds": 60}, {"successThreshold": 10},
    {"failureThreshold": 10},
]  # fmt: skip
PATH = "a probe's path must begin with '/' and must hold no space"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"path": ""}, PATH), ({"path": "health"}, PATH), ({"path": "http://a/"}, PATH),
    ({"path": "/a b"}, PATH), ({"path": "/a#b"}, PATH), ({"path": "/a\n"}, PATH),
    ({"path": "/a\r\nX: y"}, PATH), ({"path": "/\x00"}, PATH), ({"path": "/ä"}, PATH),
    ({"path": "/" + "a" * 1024}, "spec.probe.path: Too long"),
    ({"periodSeconds": 0}, "spec.probe.periodSeconds in body should be greater than or equal"),
    ({"periodSeconds": 3601}, "should be less than or equal to 3600"),
    ({"timeoutSeconds": 0}, "spec.probe.timeoutSeconds in body should be greater"),
    ({"timeoutSeconds": 61}, "should be less than or equal to 60"),
    ({"successThreshold": 0}, "spec.probe.successThreshold in body should be greater"),
    ({"failureThreshold": 11}, "should be less than or equal to 10"),
    ({"port": 80}, 'unknown field "spec.probe.port"'),
]  # fmt: skip


def test_what_is_right_is_accepted_and_filled_in(cluster: Cluster) -> None:
    for probe in ACCEPTED:
        manifest = cluster.manifest("a", probe=probe)
        assert "created" in cluster.apply(manifest, "--dry-run=server"), probe
    assert cluster.create("a", probe={})["spec"]["probe"] == {
        "path": "/health", "periodSeconds": 10, "timeoutSeconds": 2, "successThreshold": 1,
        "failureThreshold": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("probe", "sentence"), REFUSED, ids=lambda case: repr(case)[:40])
def test_a_bad_probe_is_refused_at_kubectl_apply(
    probe: dict[str, Any], sentence: str, cluster: Cluster
) -> None:
    manifest = yaml.safe_dump(cluster.manifest("a", probe=probe))
    done = cluster.plane.kubectl(
        "apply", "--dry-run=server", "-f", "-", input=manifest, check=False
    )
    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' is not a network in CIDR notation: write 10.0.0.0/8"),
        ("fd00::1/8", "write fd00::/8"),
        ("10.0.0.0/33", "write for example 10.0.0.0/8 or fd00::/8"),
        ("everything", "write for example 10.0.0.0/8 or fd00::/8"),
        ("10.0.0.0/8,11.0.0.0/8", "write for example 10.0.0.0/8 or fd00::/8"),
    ],
)
@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_bad_network_stops_the_start_with_one_line(way: str, value: str, hint: str) -> None:
    flags = [f"--allowed-network={value}"] if way == "flag" else []
    variables = {} if flags else {"MODELINSTANCE_ALLOWED_NETWORK": f"fd00::/8 {value}"}
    ended = subprocess.run(
        [sys.executable, "-m", "modelinstance", "run", "--port=0", *flags],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "'--allowed-network'" in ended.stderr
    assert hint in ended.stderr
