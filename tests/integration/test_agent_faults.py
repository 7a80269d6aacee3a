"""What may happen to an engine, and that the registry knows it in time and says why.

The engine is a real server whose behaviour is switched; the agent and the registry are processes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.agent_process import PERIOD, SURE, TIMEOUT, AgentProcess, Scene, sure_of
from support.engine import CHAT, COMPLETIONS, HEALTH, METRICS, MODELS, FakeEngine
from support.operator_process import OperatorProcess
from support.waiting import eventually, stays

OFTEN = ("--completion-interval=0.5",)
ALL = (HEALTH, MODELS, METRICS, COMPLETIONS, CHAT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The registry of all tests here; engines are told apart by their ports."""
    started = OperatorProcess(None, tmp_path_factory.mktemp("registry") / "registry.log")
    try:
        started.wait_ready()
        yield started
    finally:
        status = started.stop()
    assert status == 0, started.log()


@pytest.fixture
def scene(server: OperatorProcess, tmp_path: Path) -> Iterator[Scene]:
    """Begins when none of an earlier test is there: a goodbye may be lost on a slow machine."""
    eventually(lambda: server.selects() is None, within=10)
    with Scene(tmp_path) as made:
        yield made


def has(server: OperatorProcess, engine: FakeEngine) -> bool:
    """Whether anything is listed at the engine's address."""
    return any(instance["port"] == engine.port for instance in server.instances().values())


def of(server: OperatorProcess, engine: FakeEngine, model: str = "m") -> dict[str, Any]:
    """The instance of a model at the engine's address; raises LookupError if there is none."""
    for instance in server.instances(model=model).values():
        if instance["port"] == engine.port and instance["model"] == model:
            return instance
    raise LookupError(f"{model} at {engine.port}")


def healthy(server: OperatorProcess, engine: FakeEngine, model: str = "m") -> bool:
    return str(of(server, engine, model)["phase"]) == "Healthy"


def logs(agent: AgentProcess, text: str) -> None:
    """Wait until the agent says so."""
    eventually(lambda: text in agent.log())


def asks(engine: FakeEngine, route: str, times: int = 1) -> None:
    """Wait until the engine was asked that often from now on."""
    before = engine.requests[route]
    eventually(lambda: engine.requests[route] >= before + times, times * (PERIOD + TIMEOUT))


def is_told(server: OperatorProcess, engine: FakeEngine, trouble: str) -> None:
    """Wait until the registry knows that the engine cannot answer, for this reason."""

    def told() -> bool:
        instance = of(server, engine)
        assert instance["message"] in sure_of(trouble), instance
        return instance["reason"] == "WorkerNotReady" and server.selects() is None

    eventually(told, SURE)


def test_an_engine_is_listed_when_it_truly_answers(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    scene.stop(engine)
    agent = scene.agent(engine, server)
    logs(agent, "engine: GET /health: connection refused")
    for route, status in ((HEALTH, 503), (MODELS, 500), (COMPLETIONS, 500)):
        engine.fail(route, status)
        engine.faults = {route: engine.faults[route]}
        if route == HEALTH:
            scene.restart(engine)
        logs(agent, f"{route}: HTTP {status}")
        assert not has(server, engine)
    engine.heal()
    eventually(lambda: healthy(server, engine), SURE)
    assert server.selects("m")


Fault = Callable[[Scene, FakeEngine], None]
FAULTS: dict[str, tuple[Fault, str]] = {
    "error": (
        lambda scene, engine: engine.fail(HEALTH, 500),
        "GET /health: HTTP 500",
    ),
    "redirect": (
        lambda scene, engine: engine.fail(HEALTH, 302),
        "GET /health: HTTP 302",
    ),
    "hang": (
        lambda scene, engine: engine.hang(),
        "GET /health: no answer within 1 s",
    ),
    "gone": (
        lambda scene, engine: scene.stop(engine),
        "GET /health: connection refused",
    ),
    "completions fail": (
        lambda scene, engine: engine.fail(COMPLETIONS, 500),
        "POST /v1/completions: HTTP 500",
    ),
    "completions hang": (
        lambda scene, engine: engine.hang(COMPLETIONS),
        "POST /v1/completions: no answer within 1 s",
    ),
    "completions are empty": (
        lambda scene, engine: engine.fail(COMPLETIONS, 200, "{}"),
        "POST /v1/completions: an answer without a completion",
    ),
    "no models": (
        lambda scene, engine: setattr(engine, "models", ()),
        "GET /v1/models: it names no model",
    ),
    "odd models": (
        lambda scene, engine: engine.fail(MODELS, 200, "<html>"),
        "GET /v1/models: an answer that is not JSON",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_cannot_answer_is_known_in_time(
    fault: str, server: OperatorProcess, scene: Scene
) -> None:
    engine = scene.engine()
    scene.agent(engine, server, flags=OFTEN)
    eventually(lambda: healthy(server, engine))
    before = of(server, engine)["incarnation"]
    switch, why = FAULTS[fault]
    switch(scene, engine)
    is_told(server, engine, why)
    if fault == "gone":
        scene.restart(engine)
    engine.heal()
    engine.models = ("m",)
    eventually(lambda: healthy(server, engine) and server.selects(), SURE)
    assert of(server, engine)["incarnation"] == before, "it was there all the time"


def test_a_port_that_takes_connections_and_never_answers(
    server: OperatorProcess, scene: Scene
) -> None:
    engine = scene.engine()
    scene.agent(engine, server)
    eventually(lambda: healthy(server, engine))
    scene.stop(engine)
    with socket.create_server((engine.host, engine.port)):
        is_told(server, engine, "GET /health: no answer within 1 s")


def test_a_short_failure_is_not_told(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    agent = scene.agent(engine, server, flags=["--failure-threshold=20"])
    eventually(lambda: healthy(server, engine))
    engine.fail(HEALTH)
    logs(agent, "GET /health: HTTP 500")
    before = engine.requests[COMPLETIONS]
    engine.heal()
    eventually(lambda: engine.requests[COMPLETIONS] > before, SURE)  # at once, to be sure
    assert healthy(server, engine)
    assert "it cannot answer" not in agent.log()


def test_an_engine_that_fails_after_its_recovery_was_never_back(
    server: OperatorProcess, scene: Scene
) -> None:
    """Its health route answers again before it can: it is not picked in between."""
    engine = scene.engine()
    scene.agent(engine, server)
    eventually(lambda: healthy(server, engine))
    engine.fail(HEALTH)
    is_told(server, engine, "GET /health: HTTP 500")
    engine.hang(COMPLETIONS)
    del engine.faults[HEALTH]
    seen: list[str] = []

    def told_otherwise() -> bool:
        instance = of(server, engine)
        seen.append(instance["reason"])
        return "/v1/completions: no answer" in instance["message"]

    eventually(told_otherwise, SURE)
    assert set(seen) == {"WorkerNotReady"}


def test_a_saturated_engine_is_not_dead(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    agent = scene.agent(engine, server, flags=OFTEN)
    eventually(lambda: healthy(server, engine))
    engine.hang(COMPLETIONS)
    engine.grows = 100
    engine.load = {"waiting": 50, "running": 8, "kv_cache": 0.99}
    asks(engine, COMPLETIONS, 5)
    assert "it cannot answer" not in agent.log()
    assert "it is busy: POST /v1/completions: no answer within 1 s" in agent.log()
    load = {"running": 8, "waiting": 50, "kvCache": 0.99, "extra": {}}
    eventually(lambda: of(server, engine)["load"] == load)
    assert of(server, engine)["phase"] == "Healthy"
    engine.grows = 0
    is_told(server, engine, "POST /v1/completions: no answer within 1 s")


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp", "tgi"])
def test_the_load_of_every_kind_of_engine(kind: str, server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine(kind=kind)
    engine.load = {"running": 3, "waiting": 2, "kv_cache": 0.5}
    scene.agent(engine, server)
    expected: dict[str, Any] = {
        "running": 3,
        "waiting": 2,
        "kvCache": None if kind == "tgi" else 0.5,
        "extra": {},
    }
    eventually(lambda: healthy(server, engine) and of(server, engine)["load"] == expected)


def test_adapters_come_and_go(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    scene.agent(engine, server)
    eventually(lambda: healthy(server, engine))
    incarnation = of(server, engine)["incarnation"]
    engine.models = ("m", {"id": "lora", "parent": "m"})
    eventually(lambda: server.selects("lora"), SURE)
    assert of(server, engine)["incarnation"] == incarnation
    engine.models = ("m",)
    eventually(lambda: server.selects("lora") is None, SURE)
    assert healthy(server, engine)


def test_another_model_is_another_life(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    scene.agent(engine, server)
    eventually(lambda: healthy(server, engine))
    engine.hang(COMPLETIONS)
    engine.models = ("n",)
    eventually(lambda: of(server, engine, "m")["reason"] == "Deregistered", SURE)
    asks(engine, HEALTH, 3)
    assert not server.instances(model="n"), "it has completed nothing by that name"
    engine.heal()
    eventually(lambda: healthy(server, engine, "n"), SURE)
    assert (server.selects("m"), server.selects("n") is not None) == (None, True)


def test_an_engine_that_comes_back_at_another_port(server: OperatorProcess, scene: Scene) -> None:
    """Its agent is told the port: the old one says why it fails, a new one that it is there."""
    engine = scene.engine()
    scene.agent(engine, server)
    eventually(lambda: healthy(server, engine))
    moved = scene.engine()
    scene.stop(engine)
    scene.agent(moved, server)
    eventually(lambda: healthy(server, moved))
    eventually(lambda: of(server, engine)["reason"] == "WorkerNotReady", SURE)
    assert server.selects() == of(server, moved)["name"]


NONSENSE = ["", "null", "7", '{"data": [{"id": {}}]}', "<html>"]


def test_nothing_that_an_engine_answers_ends_the_agent(
    server: OperatorProcess, scene: Scene
) -> None:
    engine = scene.engine()
    agent = scene.agent(engine, server, flags=["--completion-interval=0.1", "--period=0.1"])
    eventually(lambda: healthy(server, engine))
    for route in ALL:
        for text in NONSENSE:
            engine.fail(route, 200, text)
            if route == CHAT:
                engine.missing = {COMPLETIONS}
            asks(engine, route, 2)
            assert agent.process.poll() is None, agent.log()
        if route != COMPLETIONS:  # lest it be well before chats fail: that would be a third fall
            engine.heal()
    eventually(lambda: healthy(server, engine), SURE)


def test_an_engine_without_metrics_or_completions(server: OperatorProcess, scene: Scene) -> None:
    engine = scene.engine()
    engine.missing = {METRICS, COMPLETIONS, CHAT}
    agent = scene.agent(engine, server, flags=["--completion-interval=0", "--timeout=5"])
    eventually(lambda: healthy(server, engine))
    assert of(server, engine)["load"] is None
    asks(engine, METRICS, 3)
    assert agent.log().count("as there are no metrics: GET /metrics: HTTP 404") == 1
    assert not engine.bodies


def test_it_asks_at_the_address_that_it_advertises(server: OperatorProcess, scene: Scene) -> None:
    """An engine that listens on one loopback address alone is not there for routers at another."""
    engine = scene.engine()
    agent: AgentProcess = scene.agent(engine, server, flags=["--host=127.0.0.2"])
    logs(agent, "engine: GET /health: connection refused")
    stays(lambda: not has(server, engine) and not engine.requests, SURE)
