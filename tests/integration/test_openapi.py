"""The OpenAPI document keeps its word: what it says is what a running operator does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster import ROOT, Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import PATIENCE, eventually

FUZZING_SECONDS = 100


@pytest.fixture
def fleet(cluster: Cluster, start_operator: Start, tmp_path: Path) -> OperatorProcess:
    """An operator that knows what schemathesis.toml names: a token, and instances.

    All but one of them are healthy.
    """
    tokens = tmp_path / "tokens"
    tokens.write_text("of-the-fuzzer", encoding="utf-8")
    operator = start_operator(cluster, f"--access-token-file={tokens}")
    operator.http.headers["Authorization"] = "Bearer of-the-fuzzer"
    said = {"heartbeat": {"required": False}}
    for name in ("a", "b"):
        cluster.create(name, **said)
        cluster.patch(name, {"metadata": {"labels": {"tier": "gold"}}})
    cluster.create("llama", modelName="meta-llama/Llama-3.1-8B", aliases=["chat"], **said)
    cluster.create("off", modelName="off", rotation="Disabled", **said)
    eventually(lambda: len(operator.instances()) == 4)
    eventually(lambda: len(operator.instances(selector="tier=gold")) == 2)
    return operator


def test_every_answer_is_one_that_the_document_describes(fleet: OperatorProcess) -> None:
    fuzzer = [
        sys.executable, "-m", "schemathesis.cli",
        f"--config-file={ROOT / 'tests/integration/schemathesis.toml'}", "--no-color",
        "run", f"{fleet.http.base_url}/openapi.json",
    ]  # fmt: skip
    done = subprocess.run(
        fuzzer,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FUZZING_SECONDS * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{fleet.log()}"
    for result in ("selected", "unavailable", "unknown"):
        assert fleet.metric("selections_total", result=result), "the fuzzer missed what is there"
