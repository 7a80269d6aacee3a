"""The registry without a cluster, as a process: ``modelinstance serve``."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from modelinstance.cli import main
from support.operator_process import OperatorProcess
from support.waiting import eventually

STOP_SECONDS = 5
PERIOD_SECONDS = 5
"""How often the agent beats, unless told otherwise."""
PATIENT = {"timeoutSeconds": 60}
"""The heartbeat of a worker that is not to fall silent."""
Serve = Callable[..., OperatorProcess]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts ``modelinstance serve`` with flags; each has to stop well."""
    started: list[OperatorProcess] = []

    def start(*flags: str) -> OperatorProcess:
        server = OperatorProcess(None, tmp_path / f"serve-{len(started)}.log", *flags)
        started.append(server)
        server.wait_ready()
        return server

    yield start
    for server in started:
        assert server.stop() == 0, server.log()


def test_a_worker_registers_beats_falls_silent_and_returns(serve: Serve) -> None:
    server = serve("--heartbeat-timeout=1")
    answer = server.register(
        aliases=["b"], labels={"tier": "gold"}, load={"running": 2}, heartbeat=PATIENT
    )
    name, incarnation = answer["name"], answer["incarnation"]
    assert (answer["namespace"], answer["stored"]) == ("default", True)
    assert server.selects("m") == server.selects("b") == name
    assert server.instances(selector="tier=gold")
    assert server.register(200)["heartbeatTimeoutSeconds"] == 1
    eventually(lambda: server.phase(name) == "Unhealthy", within=1)
    assert server.get("/api/v1/select", model="m").status_code == 503

    def returns_by_a_beat() -> bool:
        assert server.beat(incarnation) == {"incarnation": incarnation, "result": "accepted"}
        return bool(server.selects("m") == name)

    eventually(returns_by_a_beat)
    again = server.register(200, weight=2, heartbeat=PATIENT)
    assert (again["incarnation"], again["weight"], again["aliases"]) == (incarnation, 2, [])
    server.deregister(name)
    server.beat(incarnation, 410)
    assert server.selects("m") is None
    assert server.register(200, heartbeat=PATIENT)["incarnation"] == incarnation
    assert server.drain(name)["reason"] == "DrainRequested"
    assert server.undrain(name)["phase"] == "Healthy"
    assert server.readyz()["view"] == {
        "synced": True, "ageSeconds": 0.0, "stale": False, "failure": None,
    }  # fmt: skip


def test_what_stays_dead_is_removed_and_is_unknown_from_then_on(serve: Serve) -> None:
    server = serve("--heartbeat-timeout=1", "--remove-after=1", "--default-namespace=home")
    silent, gone = server.register(port=1), server.register(port=2, heartbeat=PATIENT)
    trusted = server.register(port=3, heartbeat={"required": False})
    server.deregister(gone["name"], "home")
    eventually(lambda: server.instances().keys() == {f"home/{trusted['name']}"}, within=3)
    assert server.metric("removals_total") == 2
    server.beat(silent["incarnation"], 404)
    server.beat(gone["incarnation"], 404)
    returned = server.register(port=1)
    assert returned["incarnation"] != silent["incarnation"]


def test_a_restart_forgets_and_who_is_unknown_registers_again(serve: Serve) -> None:
    first = serve()
    incarnation = first.register()["incarnation"]
    assert first.stop() == 0
    second = serve()
    second.beat(incarnation, 404)
    assert not second.instances()
    assert second.register()["incarnation"] != incarnation


@contextmanager
def a_watch(server: OperatorProcess) -> Iterator[None]:
    """Somebody watches."""
    with (
        httpx.Client(base_url=server.http.base_url) as client,
        client.stream("GET", "/api/v1/watch") as stream,
    ):
        assert next(stream.iter_lines()) == "event: ADDED"
        yield


@contextmanager
def a_waiting_select(server: OperatorProcess) -> Iterator[None]:
    """Somebody waits for an instance of a model that has none."""
    server.deregister(server.register(model="gone")["name"])
    address = server.http.base_url
    with socket.create_connection((address.host, address.port or 0)) as connection:
        connection.sendall(b"GET /api/v1/select?model=gone&wait=60 HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(5):  # each turn of the server's loop brings it one step further
            assert server.get("/livez").status_code == 200, "what was sent before has arrived"
        yield
        assert connection.recv(100).startswith(b"HTTP/1.1 503 "), "it is told to come again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_time_whoever_watches_or_waits(number: int, serve: Serve) -> None:
    server = serve()
    server.register()
    with a_watch(server), a_waiting_select(server):
        server.process.send_signal(number)
        assert server.process.wait(5 * STOP_SECONDS) == 0, server.log()
    assert "Traceback" not in server.log()


def test_a_connection_outlives_the_pause_between_two_heartbeats(serve: Serve) -> None:
    server = serve()
    where = server.http.base_url
    with closing(HTTPConnection(where.host, where.port)) as connection:
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
        closed, _, _ = select.select([connection.sock], [], [], PERIOD_SECONDS + 1)
        assert not closed


def test_a_watch_tells_of_a_worker_from_its_coming_to_its_end(serve: Serve) -> None:
    server = serve("--heartbeat-timeout=1", "--remove-after=1")
    with ThreadPoolExecutor(1) as pool:

        def follow() -> list[str]:
            events: list[str] = []
            url = f"{server.http.base_url}/api/v1/watch?timeoutSeconds=60"
            with httpx.stream("GET", url, timeout=60) as stream:
                for text in stream.iter_lines():
                    if text.startswith("event: "):
                        events.append(text.removeprefix("event: "))
                    if events and events[0] == "SYNCED" and len(events) == 1 and not text:
                        server.register()
                    if events[-1:] == ["DELETED"]:
                        break
            return events

        assert pool.submit(follow).result(60) == ["SYNCED", "ADDED", "MODIFIED", "DELETED"]


def test_only_who_sends_a_token_of_the_file_is_let_in(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first\nsecond\n", encoding="utf-8")
    server = serve(f"--access-token-file={tokens}")
    for sent in (None, "Bearer third", "Bearer", "Basic first", "first"):
        headers = {} if sent is None else {"Authorization": sent}
        for method, path in (
            ("GET", "/api/v1/select?model=m"), ("POST", "/api/v1/instances"),
            ("POST", "/api/v1/heartbeats"), ("GET", "/api/v1/watch"), ("GET", "/metrics"),
            ("DELETE", "/api/v1/instances/default/a"),
        ):  # fmt: skip
            refused = server.http.request(method, path, headers=headers, json={})
            assert refused.status_code == 401, (method, path, sent)
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.json()["detail"].startswith("header.authorization: send 'Authorization:")
    assert server.get("/livez").status_code == server.get("/readyz").status_code == 200
    server.http.headers["Authorization"] = "bearer second"
    incarnation = server.register()["incarnation"]
    assert server.beat(incarnation)["result"] == "accepted"

    tokens.write_text("third\n", encoding="utf-8")
    eventually(lambda: server.get("/api/v1/models").status_code == 401, within=2)
    server.http.headers["Authorization"] = "Bearer third"
    server.beat(incarnation)
    tokens.unlink()
    eventually(lambda: server.get("/api/v1/models") and "the tokens stay" in server.log())
    assert server.beat(incarnation)["result"] == "accepted"
    assert "third" not in server.log()


SETTINGS: list[tuple[str, int, str]] = [
    ("--heartbeat-timeout=0", 2, r"'0' is not a whole number of seconds from 1 to 86400"),
    ("--remove-after=never", 2, r"'never' is not a whole number of seconds from 1 to 31536000"),
    ("--default-namespace=No_One", 2, r"'No_One' is not the name of a namespace: write lower"),
    ("--port=70000", 2, r"70000 is not in the range 0<=x<=65535"),
    ("--host=no such host", 1, r"cannot serve on --host=no such host .*; choose an address of"),
    ("--access-token-file=/no/file", 1, r"--access-token-file=/no/file: .*No such file"),
    ("--access-token-file={empty}", 1, r"--access-token-file=.*empty: .* holds no token: write"),
    ("--access-token-file=/", 1, r"--access-token-file=/: .*[Ii]s a directory"),
    ("--kubeconfig=/a", 2, r"[Nn]o such option.*--kubeconfig"),
]
"""A bad setting, the exit status, and what the one line has to say."""


def test_a_bad_setting_ends_it_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process, which is quicker; but one."""
    empty = tmp_path / "empty"
    empty.write_text("\n \n", encoding="utf-8")
    for flag, status, sentence in SETTINGS:
        arguments = ["modelinstance", "serve", "--port=0", flag.format(empty=empty)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        output, error = capfd.readouterr()
        assert (ended.value.code, output) == (status, ""), flag
        assert re.fullmatch(r"modelinstance: .*\n", error), error
        assert re.search(sentence, error), (flag, error)
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", error)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
def test_it_serves_both_families(serve: Serve) -> None:
    server = serve("--host=::")
    for host in ("127.0.0.1", "[::1]"):
        url = f"http://{host}:{server.http.base_url.port}/livez"
        assert httpx.get(url).status_code == 200, host
