"""`modelinstance export --format litellm`, and LiteLLM's proxy started with the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from routers.processes import LiteLLM, modelinstance
from support.background import BackgroundLoop
from support.engine import FakeEngine
from support.operator_process import OperatorProcess
from support.waiting import eventually

FOLLOWS_SECONDS = 2
ENOUGH = 20
"""So many requests miss neither of two engines, but once in half a million times."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[OperatorProcess]:
    server = OperatorProcess(None, tmp_path / "registry.log")
    server.wait_ready()
    yield server
    server.stop()


def test_litellm_answers_from_what_the_file_held_at_its_start(
    tmp_path: Path, registry: OperatorProcess, background: BackgroundLoop
) -> None:
    a, b = (background.enter(FakeEngine(name, ("m", "lora"))) for name in ("a", "b"))
    names = {
        engine.name: registry.register(
            host=engine.host, port=engine.port, aliases=["lora"], heartbeat={"required": False}
        )["name"]
        for engine in (a, b)
    }
    base, config = tmp_path / "base.yaml", tmp_path / "config.yaml"
    base.write_text("router_settings: {num_retries: 0}\n", encoding="utf-8")
    export = modelinstance(
        tmp_path / "export.log", "export", f"--registry={registry.http.base_url}",
        "--format=litellm", f"--watch={config}", f"--base={base}",
    )  # fmt: skip
    eventually(config.exists, within=FOLLOWS_SECONDS + 3)
    assert yaml.safe_load(config.read_text("utf-8"))["router_settings"] == {"num_retries": 0}
    litellm = LiteLLM(tmp_path, config)
    try:
        assert litellm.is_current()
        assert fingerprints(litellm, "m") == {"a", "b"}
        assert fingerprints(litellm, "lora") == {"a", "b"}
        before = config.read_text("utf-8")
        registry.drain(names["a"])
        eventually(lambda: config.read_text("utf-8") != before, within=FOLLOWS_SECONDS)
        assert a.url not in config.read_text("utf-8")
        assert fingerprints(litellm, "m") == {"a", "b"}, "it does not follow the file"
        assert not litellm.is_current()
        litellm.kill()
        litellm.start()
        assert litellm.is_current()
        assert fingerprints(litellm, "m") == fingerprints(litellm, "lora") == {"b"}
    finally:
        litellm.close()
        assert export.stop() == 0, export.log()


def fingerprints(litellm: LiteLLM, model: str) -> set[str]:
    """Which engines answer."""
    responses = [litellm.ask(model) for _ in range(ENOUGH)]
    assert {response.status_code for response in responses} == {200}, responses[0].text
    return {response.json()["choices"][0]["message"]["content"].strip() for response in responses}
