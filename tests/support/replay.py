"""Replays: what users of other registries reported, each told twice.

As it is, the scenario holds. With its one mechanism left out of the operator's process it has to
fail, where it says that it would: else it proves nothing.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from support.faulty_operator import with_left_out
from support.operator_process import OperatorProcess, Start


def replay(*, without: str) -> pytest.MarkDecorator:
    """Run a scenario as it is, and without the mechanism of that name in `support.left_out`.

    The scenario takes the fixture `proof`, and ends with ``with proof:``.
    """
    return pytest.mark.parametrize(
        "left_out", [None, without], ids=["as-is", f"without-{without}"], indirect=True
    )


class Proof:
    """What must hold, and must not where the mechanism is left out; it comes last in a scenario.

    There an AssertionError in it is what has to come, from an operator that lives and answers. What
    goes wrong before it, or in any other way, is a failure of the test in either run.
    """

    def __init__(self, left_out: str | None) -> None:
        self.left_out = left_out
        self.entered = False
        self._operators: list[OperatorProcess] = []

    def starting(self, start_operator: Start) -> Start:
        """The same, for operators without the mechanism."""

        def start(*arguments: Any, **options: Any) -> OperatorProcess:
            if self.left_out is not None:
                options = with_left_out(self.left_out, options)
            operator = start_operator(*arguments, **options)
            self._operators.append(operator)
            return operator

        return start

    def __enter__(self) -> Self:
        self.entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self.left_out is None or (kind is not None and not issubclass(kind, AssertionError)):
            return False
        if error is None:
            pytest.fail(f"it holds without {self.left_out} as well: it proves nothing")
        for operator in self._operators:
            self._check_answers(operator)
        where = traceback.extract_tb(trace)[0]
        print(f"without {self.left_out}, line {where.lineno}: {where.line}: {error}")
        return True

    @staticmethod
    def _check_answers(operator: OperatorProcess) -> None:
        if operator.ended_by_test:
            return
        if operator.process.poll() is not None:
            pytest.fail(f"the operator has ended, so this says nothing:\n{operator.log()}")
        try:
            alive = operator.get("/livez").status_code == 200
        except httpx.TransportError:
            alive = False
        if not alive:
            pytest.fail(f"the operator does not answer, so this says nothing:\n{operator.log()}")
