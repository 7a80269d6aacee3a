"""LiteLLM's proxy as examples/litellm.yaml sets it up, kept by `modelinstance export`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from routers.processes import LiteLLM, Process, modelinstance
from support.background import BackgroundLoop
from support.engine import CHAT, FakeEngine
from support.operator_process import OperatorProcess
from support.waiting import eventually

FOLLOWS_SECONDS = 3
LOADERS = 4

Seen = Counter[tuple[int, str]]
"""How often each status came from each engine."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[OperatorProcess]:
    server = OperatorProcess(None, tmp_path / "registry.log")
    server.wait_ready()
    yield server
    server.stop()


@pytest.fixture
def export(tmp_path: Path, registry: OperatorProcess) -> Iterator[Process]:
    """It keeps ``models.yaml``."""
    started = modelinstance(
        tmp_path / "export.log", "export", f"--registry={registry.http.base_url}",
        "--format=litellm", f"--watch={tmp_path / 'models.yaml'}",
    )  # fmt: skip
    yield started
    assert started.stop() == 0, started.log()


@pytest.fixture
def litellm(tmp_path: Path, export: Process) -> Iterator[LiteLLM]:
    models = tmp_path / "models.yaml"
    eventually(models.exists, within=FOLLOWS_SECONDS + 3)
    proxy = LiteLLM(tmp_path, models)
    yield proxy
    proxy.close()


@contextmanager
def load(litellm: LiteLLM, model: str) -> Iterator[Seen]:
    """Some callers who never pause for long; what they see, every answer and error of it."""
    enough, seen, lock = threading.Event(), Seen(), threading.Lock()

    def call() -> None:
        while not enough.wait(0.02):
            response = litellm.ask(model)
            with lock:
                seen[response.status_code, response.json().get("system_fingerprint", "")] += 1

    with ThreadPoolExecutor(LOADERS) as pool:
        callers = [pool.submit(call) for _ in range(LOADERS)]
        try:
            yield seen
        finally:
            enough.set()
        for caller in callers:
            caller.result(30)


def has(litellm: LiteLLM, *engines: FakeEngine) -> Callable[[], bool]:
    """Whether these are what it sends requests to."""
    return lambda: litellm.workers() == {engine.url for engine in engines}


def test_instances_come_drain_and_go_under_load_and_no_request_fails(
    tmp_path: Path,
    registry: OperatorProcess,
    export: Process,
    litellm: LiteLLM,
    background: BackgroundLoop,
) -> None:
    a, b = (background.enter(FakeEngine(name, ("m", "lora"))) for name in ("a", "b"))
    names: dict[str, str] = {}

    def register(engine: FakeEngine) -> None:
        names[engine.name] = registry.register(
            host=engine.host, port=engine.port, aliases=["lora"], heartbeat={"required": False}
        )["name"]

    assert litellm.ask("m").status_code == 400, "LiteLLM knows no model yet"
    register(a)
    eventually(has(litellm, a), within=FOLLOWS_SECONDS)
    with load(litellm, "m") as seen:
        eventually(lambda: seen[200, "a"] > 20)
        register(b)
        eventually(has(litellm, a, b), within=FOLLOWS_SECONDS)
        eventually(lambda: seen[200, "b"] > 20)
        assert litellm.ask("lora").status_code == 200

        registry.drain(names["a"])
        eventually(has(litellm, b), within=FOLLOWS_SECONDS)
        began, others = a.requests[CHAT], seen[200, "b"]
        eventually(lambda: seen[200, "b"] > others + 40)
        assert a.requests[CHAT] <= began + LOADERS, "none but those on their way as it went out"
        others = seen[200, "a"]
        registry.undrain(names["a"])
        eventually(lambda: seen[200, "a"] > others + 20, within=FOLLOWS_SECONDS)

        a.hang(CHAT)  # what is sent there now runs still when it is out
        before = a.requests[CHAT]
        eventually(lambda: a.requests[CHAT] > before)
        registry.drain(names["a"])
        eventually(has(litellm, b), within=FOLLOWS_SECONDS)
        running, finished = a.requests[CHAT] - before, seen[200, "a"]
        a.heal()
        eventually(lambda: seen[200, "a"] >= finished + running)
        registry.undrain(names["a"])
        eventually(has(litellm, a, b), within=FOLLOWS_SECONDS)
        registry.deregister(names["b"])
        eventually(has(litellm, a), within=FOLLOWS_SECONDS)

        assert export.stop() == 0, export.log()
        (tmp_path / "models.yaml").write_text("model_list: [", encoding="utf-8")
        eventually(lambda: litellm.says("models.yaml cannot be followed now"))
        assert has(litellm, a)(), "it keeps what it knew last"
        others = seen[200, "a"]
        eventually(lambda: seen[200, "a"] > others + 20)
    assert {status for status, _ in seen} == {200}, seen
