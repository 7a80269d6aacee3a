"""Checks of the chain of health."""

from __future__ import annotations

from modelinstance.registry.health import chain
from support.left_out.table import leaves_out, let_do, nothing


@leaves_out("deletion-check")
def _() -> None:
    let_do(chain.check_deletion, nothing)


@leaves_out("termination-check")
def _() -> None:
    let_do(chain.check_termination, nothing)


@leaves_out("readiness-check")
def _() -> None:
    let_do(chain.check_readiness, nothing)


@leaves_out("probe-check")
def _() -> None:
    let_do(chain.check_probe, nothing)


@leaves_out("registration-check")
def _() -> None:
    let_do(chain.check_registration, nothing)


@leaves_out("rotation-check")
def _() -> None:
    let_do(chain.check_rotation, nothing)
