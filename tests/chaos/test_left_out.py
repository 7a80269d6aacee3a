"""The chaos test fails where a mechanism is left out: each with a seed at which it is found."""

from __future__ import annotations

import pytest

from chaos.running import run
from chaos.schedule import make_schedule
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.faulty_operator import with_left_out
from support.operator_process import Start

SECONDS = 20.0


@pytest.mark.timeout(2 * SECONDS + 180)
@pytest.mark.parametrize(
    ("mechanism", "seed", "found"),
    [
        ("deletion-check", 2060, "deleted"),
        ("expiry", 1, "silent for"),
        ("rotation-check", 1, "out of rotation"),
        ("write-on-change", 1, "statuses were written"),
    ],
)
def test_a_mechanism_that_is_missing_is_found(
    mechanism: str,
    seed: int,
    found: str,
    own_cluster: Cluster,
    background: BackgroundLoop,
    start_operator: Start,
) -> None:
    outcome = run(
        make_schedule(seed, SECONDS), own_cluster, background, start_operator,
        **with_left_out(mechanism, {}),
    )  # fmt: skip
    print(outcome, *outcome.violations, sep="\n")
    assert any(found in violation for violation in outcome.violations), outcome.violations
