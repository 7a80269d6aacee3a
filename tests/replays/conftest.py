"""What replays share beside the fixtures of all tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from support.operator_process import Start
from support.replay import Proof


@pytest.fixture
def left_out(request: pytest.FixtureRequest) -> str | None:
    """The mechanism that the operator is without, if any: see `replay`."""
    name: str | None = request.param
    return name


@pytest.fixture
def proof(left_out: str | None) -> Proof:
    """What the scenario ends with."""
    return Proof(left_out)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let no scenario pass that has not come to its proof."""
    result = yield
    proof = pyfuncitem.funcargs["proof"]
    assert isinstance(proof, Proof)
    assert proof.entered, "a replay ends with its proof"
    return result


@pytest.fixture
def start_operator(start_operator: Start, proof: Proof) -> Start:
    """Starts operators, in the one run without the mechanism."""
    return proof.starting(start_operator)
