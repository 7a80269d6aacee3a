"""Our own process was late or stopped: what it could not hear is not others' silence."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support.cluster import Cluster
from support.faulty_operator import with_blocking
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 5
AWAY_SECONDS = 1.5 * TIMEOUT_SECONDS

Pause = Callable[[OperatorProcess, Path], None]


def is_silent(operator: OperatorProcess) -> bool:
    """Whether it does not answer now."""
    try:
        httpx.get(f"{operator.http.base_url}/livez", timeout=0.2)
    except httpx.TimeoutException:
        return True
    return False


def block(operator: OperatorProcess, trigger: Path) -> None:
    """The loop of its registry does something else."""
    trigger.write_text(str(AWAY_SECONDS), encoding="utf-8")
    eventually(lambda: is_silent(operator))
    eventually(lambda: not is_silent(operator), within=AWAY_SECONDS)


def stop(operator: OperatorProcess, trigger: Path) -> None:
    """The process is stopped, and goes on."""
    operator.process.send_signal(signal.SIGSTOP)
    try:
        stays(lambda: is_silent(operator), AWAY_SECONDS)
    finally:
        operator.process.send_signal(signal.SIGCONT)
    eventually(lambda: not is_silent(operator))


@pytest.mark.parametrize("pause", [block, stop], ids=["loop-blocked", "process-stopped"])
@replay(without="attended-time")
def test_nobody_is_blamed_for_what_this_process_could_not_hear(
    cluster: Cluster, start_operator: Start, proof: Proof, tmp_path: Path, pause: Pause
) -> None:
    trigger = tmp_path / "block"
    operator = start_operator(cluster, **with_blocking(trigger))
    for name in ("annotates", "posts"):
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    eventually(lambda: len(operator.instances()) == 2)
    posts = operator.instances()["default/posts"]["incarnation"]
    operator.beat(posts)
    with Workers(cluster, "annotates"):
        eventually(lambda: set(cluster.phases().values()) == {"Healthy"})
        mark = cluster.audit_mark()
        operator.beat(posts)
        pause(operator, trigger)
        with proof:
            stays(lambda: operator.metric("expiries_total") == 0, 0.3)
            operator.beat(posts)
            stays(lambda: len(operator.instances(healthy=True)) == 2, 0.5 * TIMEOUT_SECONDS)
            for name in ("annotates", "posts"):
                assert not cluster.writes_on(name, mark)
