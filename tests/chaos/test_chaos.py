"""Chaos: applies, edits, deletions, heartbeats and silences at random, while everything breaks.

``CHAOS_SEED`` and ``CHAOS_SECONDS`` in the environment choose another schedule, and a longer one.
"""

from __future__ import annotations

import os

import pytest

from chaos.running import run
from chaos.schedule import make_schedule
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import Start

SEED = int(os.environ.get("CHAOS_SEED", "5579"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "120"))
REST_SECONDS = 180
"""What starting, recovering and converging may take beside."""


@pytest.mark.timeout(2 * SECONDS + REST_SECONDS)
def test_nothing_is_given_out_that_must_not_be_and_all_converges(
    own_cluster: Cluster, background: BackgroundLoop, start_operator: Start
) -> None:
    outcome = run(make_schedule(SEED, SECONDS), own_cluster, background, start_operator)
    print(outcome)
    assert not outcome.violations, f"{outcome}\n" + "\n".join(outcome.violations)
