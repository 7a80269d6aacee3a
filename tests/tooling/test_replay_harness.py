"""What a replay without its mechanism passes for, and what not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faulty_operator import with_left_out
from support.operator_process import OperatorProcess
from support.replay import Proof

WITHOUT = "deletion-check"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """A registry that answers."""
    made = OperatorProcess(None, tmp_path_factory.mktemp("server") / "log")
    made.wait_ready()
    yield made
    made.stop()


def proof_on(server: OperatorProcess, left_out: str | None = WITHOUT) -> Proof:
    """A proof of a scenario that has started that server."""

    def start(**options: Any) -> OperatorProcess:
        assert options == ({} if left_out is None else with_left_out(left_out, {}))
        return server

    proof = Proof(left_out)
    assert proof.starting(start)() is server
    return proof


def test_what_fails_without_the_mechanism_has_to(server: OperatorProcess) -> None:
    with proof_on(server):
        raise AssertionError("as it has to")


def test_as_it_is_a_failure_is_one(server: OperatorProcess) -> None:
    with pytest.raises(AssertionError, match="broken"), proof_on(server, None):
        raise AssertionError("broken")


def test_what_holds_without_the_mechanism_as_well_proves_nothing(server: OperatorProcess) -> None:
    with pytest.raises(pytest.fail.Exception, match="proves nothing"), proof_on(server):
        pass


def test_any_other_error_is_one_in_either_run(server: OperatorProcess) -> None:
    with pytest.raises(LookupError), proof_on(server):
        raise LookupError("default/a")


def test_an_operator_that_has_ended_by_itself_fails_for_the_wrong_reason(tmp_path: Path) -> None:
    server = OperatorProcess(None, tmp_path / "log")
    server.stop()
    with proof_on(server):
        raise AssertionError("the scenario itself has ended it")
    server.ended_by_test = False
    with pytest.raises(pytest.fail.Exception, match="has ended"), proof_on(server):
        raise AssertionError("nobody answers")
