"""A schedule comes from its seed alone, and holds everything that the chaos test is about."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.schedule import ALONE, BEFORE, BEHIND, CALM_SECONDS, Blow, Kind, Verb, make_schedule

TESTS = Path(__file__).resolve().parents[1]
LONG = 2000.0


def test_the_same_seed_makes_the_same_schedule_in_every_process() -> None:
    script = "from chaos.schedule import make_schedule; print(repr(make_schedule(3, 60)))"
    made = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": seed},
            check=True, capture_output=True, text=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }  # fmt: skip
    assert made == {repr(make_schedule(3, 60))}


def test_another_seed_makes_another_schedule() -> None:
    assert make_schedule(1, 60).steps != make_schedule(2, 60).steps
    assert make_schedule(1, 60).faults != make_schedule(2, 60).faults


@pytest.mark.parametrize("seed", range(5))
def test_everything_happens_in_the_long_run(seed: int) -> None:
    schedule = make_schedule(seed, LONG)
    assert {step.verb for step in schedule.steps} == set(Verb)
    assert {fault.blow for fault in schedule.faults} == set(Blow)
    assert {step.worker for step in schedule.steps} == set(schedule.workers)
    assert len({step.number for step in schedule.steps}) == len(schedule.steps)
    assert all(0 <= step.at < LONG for step in schedule.steps)


@pytest.mark.parametrize("seed", range(5))
def test_faults_of_a_lane_follow_one_another_and_leave_time_to_recover(seed: int) -> None:
    faults = make_schedule(seed, LONG).faults
    assert set(BEHIND).isdisjoint(BEFORE)
    assert {*BEHIND, *BEFORE, *ALONE} == set(Blow)
    for earlier, later in itertools.pairwise(faults):
        if (earlier.blow in BEHIND) is (later.blow in BEHIND):
            assert later.at >= earlier.at + earlier.lasts + CALM_SECONDS[0]
    starts = [fault.at for fault in faults]
    assert max(starts[n + 2] - starts[n] for n in range(len(starts) - 2)) < 60, "they keep coming"
    assert any(a.at + a.lasts > b.at for a, b in itertools.pairwise(faults))


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_that_registers_is_told_nothing_that_makes_another_object_of_it(seed: int) -> None:
    for step in make_schedule(seed, LONG).steps:
        if step.worker.kind is Kind.REGISTERING:
            assert step.verb not in {Verb.MOVE, Verb.RECREATE, Verb.CREATE, Verb.CREATE_HELD}
        else:
            assert step.verb is not Verb.REGISTER
