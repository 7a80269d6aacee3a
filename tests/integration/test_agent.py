"""An agent and its registries: it comes, stays and goes, and none of them can end it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from support.agent_process import PERIOD, SURE, TIMEOUT, AgentProcess, Scene, where
from support.engine import HEALTH, FakeEngine
from support.operator_process import OperatorProcess
from support.waiting import eventually, stays


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as made:
        yield made


def reason(server: OperatorProcess) -> str:
    """Why the one instance is in its phase."""
    (instance,) = server.instances().values()
    found: str = instance["reason"]
    return found


def listed(server: OperatorProcess, engine: FakeEngine) -> bool:
    return server.selects() is not None and reason(server) == "HeartbeatReceived"


def says(agent: AgentProcess, text: str) -> None:
    """Wait until the agent has logged it, which it does once the registry has answered."""
    eventually(lambda: text in agent.log())


def complaints(agent: AgentProcess, url: str) -> list[str]:
    """What it has warned of about a registry, in this order."""
    warnings = (line.partition(" WARNING ")[2] for line in agent.log().splitlines())
    return [warning for warning in warnings if f"registry {url}" in warning]


def check_said_once(told: list[str]) -> None:
    """Check that nothing is said again before something else was: what is slow fails in turns."""
    assert told == [said for said, _again in groupby(told)]


def says_goodbye(server: OperatorProcess) -> None:
    """Wait until the registry has taken in the goodbye: an agent that ends waits only so long."""
    eventually(lambda: reason(server) == "Deregistered")


def asks(engine: FakeEngine, times: int) -> None:
    """Wait until the engine was asked that often from now on."""
    before = engine.requests[HEALTH]
    eventually(lambda: engine.requests[HEALTH] >= before + times, times * (PERIOD + TIMEOUT))


def test_what_the_registry_is_told_of_it(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine("org/m", {"id": "lora", "parent": "org/m"})
    flags = [
        "--model=m", "--alias=alias", "--weight=0.5", "--label=tier=gold", "--base-path=/v1",
        "--namespace=models", "--heartbeat-timeout=7",
    ]  # fmt: skip
    engine.models = [*engine.models, "m"]
    scene.agent(engine, server, flags=flags)
    eventually(lambda: server.selects("alias"))
    (instance,) = server.instances(selector="tier=gold").values()
    assert (instance["namespace"], instance["model"]) == ("models", "m")
    assert instance["aliases"] == ["alias", "lora", "org/m"]
    assert instance["address"] == f"{engine.url}/v1"
    assert instance["weight"] == 0.5
    assert engine.bodies[0]["model"] == "m"
    why = server.get(f"/api/v1/instances/models/{instance['name']}/why").json()
    assert why["evidence"]["heartbeatTimeoutSeconds"] == 7


def test_an_agent_that_is_killed_expires_and_not_before(scene: Scene) -> None:
    server, engine = scene.registry("--heartbeat-timeout=2"), scene.engine()
    agent = scene.agent(engine, server)
    eventually(lambda: listed(server, engine))
    agent.kill()
    killed = time.monotonic()
    (instance,) = server.instances().values()
    before_that = instance["heartbeatAgeSeconds"]
    eventually(lambda: reason(server) == "HeartbeatExpired", 2)
    assert time.monotonic() - killed + before_that >= 2 - 0.1
    scene.agent(engine, server)
    eventually(lambda: listed(server, engine))


def test_a_signal_drains_before_it_says_goodbye(scene: Scene) -> None:
    server, engine, drain_seconds = scene.registry(), scene.engine(), 8
    agent = scene.agent(engine, server, flags=[f"--drain-seconds={drain_seconds}"])
    eventually(lambda: listed(server, engine))
    signalled = time.monotonic()
    agent.signal()
    eventually(lambda: reason(server) == "DrainRequested", 1)
    assert server.selects() is None
    asks(engine, 2)
    assert reason(server) == "DrainRequested"
    assert agent.process.wait(5 * drain_seconds) == 0
    assert time.monotonic() - signalled >= drain_seconds
    says_goodbye(server)


def test_an_engine_that_has_ended_is_not_waited_for(scene: Scene) -> None:
    """As a native sidecar: the engine ends first, and a drain would only hold up the pod."""
    server, engine = scene.registry(), scene.engine()
    agent = scene.agent(engine, server, flags=["--drain-seconds=300"])
    eventually(lambda: listed(server, engine))
    scene.stop(engine)
    eventually(lambda: reason(server) == "WorkerNotReady", SURE)
    assert agent.stop(within=2) == 0
    says_goodbye(server)


def test_an_engine_that_ends_during_the_drain_ends_it(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine()
    agent = scene.agent(engine, server, flags=["--drain-seconds=300"])
    eventually(lambda: listed(server, engine))
    agent.signal()
    eventually(lambda: reason(server) == "DrainRequested")
    asks(engine, 2)
    assert agent.process.poll() is None
    scene.stop(engine)
    assert agent.process.wait(5 * (PERIOD + TIMEOUT)) == 0
    says_goodbye(server)


def test_a_second_signal_makes_haste(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine()
    agent = scene.agent(engine, server, flags=["--drain-seconds=300"])
    eventually(lambda: listed(server, engine))
    agent.signal()
    eventually(lambda: reason(server) == "DrainRequested")
    agent.signal()
    assert agent.process.wait(5 * 1) == 0
    says_goodbye(server)


def test_a_signal_ends_it_in_time_while_a_registry_hangs(scene: Scene) -> None:
    engine = scene.engine()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        agent = scene.agent(engine, f"http://127.0.0.1:{mute.getsockname()[1]}")
        eventually(lambda: "no answer in time" in agent.log())
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 5 * (2 * TIMEOUT)


def test_a_registry_goes_and_comes_back(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine()
    agent = scene.agent(engine, server)
    eventually(lambda: listed(server, engine))
    port, url = server.http.base_url.port, where(server)
    server.stop()
    eventually(lambda: complaints(agent, url))
    asks(engine, 6)
    check_said_once(complaints(agent, url))
    back = scene.registry(f"--port={port}")
    eventually(lambda: listed(back, engine), within=10)
    says(agent, "it answers again")


def test_a_registry_that_has_forgotten_it_is_told_again(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine()
    agent = scene.agent(engine, server)
    eventually(lambda: listed(server, engine))
    (instance,) = server.instances().values()
    server.deregister(instance["name"])
    eventually(lambda: listed(server, engine), SURE)
    assert "it knows this worker no more" in agent.log()


def test_each_registry_is_told_whatever_the_others_do(scene: Scene) -> None:
    first, second, engine = scene.registry(), scene.registry(), scene.engine()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hanging = f"http://127.0.0.1:{mute.getsockname()[1]}"
        unknown = "http://registry.invalid"
        agent = scene.agent(engine, hanging, first, unknown, second)
        eventually(lambda: listed(first, engine) and listed(second, engine), SURE)
        first.kill()
        engine.fail(HEALTH)
        eventually(lambda: reason(second) == "WorkerNotReady", SURE)
        engine.heal()
        eventually(lambda: listed(second, engine), SURE)
    assert "registry http://registry.invalid: its host name is not resolved" in agent.log()


def test_a_wrong_token_is_said_once_and_tried_again(scene: Scene, tmp_path: Path) -> None:
    tokens, token = tmp_path / "tokens", tmp_path / "sent"
    tokens.write_text("right\n", encoding="utf-8")
    server, engine = scene.registry(f"--access-token-file={tokens}"), scene.engine()
    server.http.headers["Authorization"] = "Bearer right"
    agent = scene.agent(engine, server, flags=[f"--token-file={token}"])
    eventually(lambda: "No such file" in agent.log())
    token.write_text("mistaken", encoding="utf-8")
    eventually(lambda: "HTTP 401" in agent.log(), within=5)
    token.write_text("right", encoding="utf-8")
    eventually(lambda: listed(server, engine), within=10)
    check_said_once(complaints(agent, where(server)))
    assert "mistaken" not in agent.log()


def test_an_engine_that_wants_a_key(scene: Scene, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sesame", encoding="utf-8")
    server, engine = scene.registry(), scene.engine()
    scene.agent(engine, server, flags=[f"--engine-token-file={key}"])
    eventually(lambda: listed(server, engine))
    assert engine.authorization == "Bearer sesame"


def test_a_url_with_a_name_means_all_its_addresses(scene: Scene) -> None:
    """What does not answer at one of them does not keep it from the others."""
    server, engine = scene.registry(), scene.engine()
    port = server.http.base_url.port
    agent = scene.agent(engine, f"http://localhost:{port}")
    eventually(lambda: listed(server, engine))
    says(agent, f"registry http://localhost:{port} at 127.0.0.1: registered m")


def test_wrong_flags_end_it_with_one_line(scene: Scene) -> None:
    server = scene.registry()
    command = [sys.executable, "-m", "modelinstance", "agent", f"--registry={where(server)}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("modelinstance: --host is missing: write the address")
    assert done.stderr.count("\n") == 1


def test_it_says_nothing_new_while_all_is_well(scene: Scene) -> None:
    server, engine = scene.registry(), scene.engine()
    patient = ["--timeout=5", "--completion-timeout=5"]
    agent = scene.agent(engine, server, flags=["--completion-interval=0.2", *patient])
    says(agent, "registered m")
    eventually(lambda: listed(server, engine))
    log = agent.log()
    stays(lambda: agent.log() == log, 5 * PERIOD)
