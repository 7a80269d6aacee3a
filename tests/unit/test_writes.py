"""What follows from how status writes went, on a mirror with a clock that tests set."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.statuses import StatusWrite
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.outbox import JITTER, MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS
from modelinstance.registry.mirror.pacing import BURST_SECONDS, MAX_PAUSE_SECONDS, WriteResult
from modelinstance.registry.mirror.writes import StatusWrites
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, key, lose_sight, observed, spec, status_of, sync
from unit.clock import FakeClock

RATE = 100.0
SETTLED = set(WriteResult) - {WriteResult.WRITTEN, WriteResult.CONFLICT}


@pytest.fixture
def writes(mirror: Mirror) -> StatusWrites:
    return StatusWrites(mirror, RATE)


def shown(count: int) -> list[Observed]:
    return [observed(f"i-{n}", n + 1, spec=spec(port=n + 1)) for n in range(count)]


def fill(mirror: Mirror, count: int) -> list[Observed]:
    objects = shown(count)
    sync(mirror, *objects, version=count)
    return objects


def one(writes: StatusWrites) -> StatusWrite:
    (write,) = writes.plan(20).writes
    return write


def next_write(writes: StatusWrites, mirror: Mirror, clock: FakeClock) -> tuple[StatusWrite, float]:
    """The write that is planned next, and after how many seconds, to a tenth."""
    for tenth in range(2000):
        if planned := writes.plan(1).writes:
            return planned[0], tenth / 10
        lose_sight(mirror, clock, 0.1)
    raise AssertionError("never")


def test_the_rate_bounds_a_burst_and_says_when_it_goes_on(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    fill(mirror, 300)
    first = writes.plan(1000)
    assert len(first.writes) == RATE * BURST_SECONDS
    assert first.wait == pytest.approx(1 / RATE)
    assert not first.paused
    total = len(first.writes)
    for _ in range(20):
        lose_sight(mirror, clock, 0.05)
        total += len(writes.plan(1000).writes)
    assert total == pytest.approx(RATE * (1 + BURST_SECONDS), abs=2)


def test_a_full_window_and_an_empty_outbox_wait_for_no_rate(
    writes: StatusWrites, mirror: Mirror
) -> None:
    fill(mirror, 5)
    assert [write.key.name for write in writes.plan(2).writes] == ["i-0", "i-1"]
    assert writes.plan(0).wait is None
    plan = writes.plan(20)
    assert (len(plan.writes), plan.wait) == (3, None)


@pytest.mark.parametrize("result", sorted(SETTLED))
def test_nothing_is_lost_whatever_came_of_it(
    result: WriteResult, writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    (one_,) = fill(mirror, 1)
    for _ in range(5):
        write = one(writes)
        writes.ended(write.key, result, retry_after=1.0)
        lose_sight(mirror, clock, 100.0)
    write = one(writes)
    answer = replace(one_, version=50, reported=status_of(write))
    writes.ended(write.key, WriteResult.WRITTEN, answer)
    assert len(mirror.outbox) == 0


def test_the_writer_is_held_up_by_what_concerns_all(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    fill(mirror, 5)
    (first,) = writes.plan(1).writes
    writes.ended(first.key, WriteResult.THROTTLED, retry_after=3.0)
    plan = writes.plan(20)
    assert (plan.writes, plan.wait, plan.paused) == ([], None, True)
    _, wait = next_write(writes, mirror, clock)
    assert 3.0 <= wait <= 3.0 * (1 + JITTER) + 0.1


def test_an_api_server_that_comes_back_is_asked_by_one_write_first(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    objects = {it.key: it for it in fill(mirror, 50)}
    writes.ended(one_of(writes), WriteResult.UNAVAILABLE)
    lose_sight(mirror, clock, 10.0)
    (probe,) = writes.plan(20).writes
    assert writes.plan(20).writes == []
    answer = replace(objects[probe.key], version=100, reported=status_of(probe))
    writes.ended(probe.key, WriteResult.WRITTEN, answer)
    assert len(writes.plan(20).writes) > 1


def one_of(writes: StatusWrites) -> InstanceKey:
    (write,) = writes.plan(1).writes
    return write.key


def test_after_an_outage_nothing_waits_longer_than_the_pause(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    """Though the one that is there was tried often."""
    fill(mirror, 1)
    write = one(writes)
    for _ in range(20):
        writes.ended(write.key, WriteResult.UNAVAILABLE)
        write, wait = next_write(writes, mirror, clock)
        assert wait <= MAX_PAUSE_SECONDS * (1 + JITTER) + 0.1


def test_one_object_that_breaks_the_api_server_is_tried_ever_less_often(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    objects = {it.key: it for it in fill(mirror, 200)}
    tried, version = 0, 1000
    for _ in range(1200):
        for write in writes.plan(5).writes:
            if write.key.name == "i-0":
                tried += 1
                writes.ended(write.key, WriteResult.UNAVAILABLE)
                continue
            version += 1
            answer = replace(objects[write.key], version=version, reported=status_of(write))
            writes.ended(write.key, WriteResult.WRITTEN, answer)
        lose_sight(mirror, clock, 0.1)
    assert len(mirror.outbox) == 1, "all others are done"
    assert tried < 120 / MAX_PAUSE_SECONDS + 6


def test_a_refused_status_waits_for_a_change_and_beats_are_none(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    (it,) = fill(mirror, 1)
    mirror.changed(replace(it, version=2, heartbeat="t1"), run=1)
    write = one(writes)
    writes.ended(write.key, WriteResult.INVALID)
    for number in range(2, 50):
        lose_sight(mirror, clock, 1.0)
        mirror.changed(replace(it, version=1 + number, heartbeat=f"t{number}"), run=1)
        assert writes.plan(20).writes == []
    mirror.changed(replace(it, version=99, generation=2, spec=spec(port=1, weight=7)), run=1)
    assert one(writes).generation == 2


def test_a_refused_status_is_tried_again_after_the_longest_time(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    fill(mirror, 1)
    writes.ended(one(writes).key, WriteResult.INVALID)
    _, wait = next_write(writes, mirror, clock)
    assert MAX_BACKOFF_SECONDS <= wait <= MAX_BACKOFF_SECONDS * (1 + JITTER) + 0.1


def test_what_conflicts_again_and_again_does_not_go_in_circles(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    (it,) = fill(mirror, 1)
    tries, version = 0, 10
    for _ in range(100):
        for write in writes.plan(20).writes:
            tries, version = tries + 1, version + 1
            shown = replace(it, version=version)
            writes.ended(write.key, WriteResult.CONFLICT, shown)
        lose_sight(mirror, clock, 0.1)
    assert 3 < tries < 10


def test_a_conflict_is_decided_again_at_once(writes: StatusWrites, mirror: Mirror) -> None:
    (it,) = fill(mirror, 1)
    writes.ended(one(writes).key, WriteResult.CONFLICT, replace(it, version=9, heartbeat="t1"))
    assert one(writes).version == 9


def test_a_status_that_does_not_stay_does_not_go_in_circles(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    """Somebody else writes it as well, or the API server drops a part of it."""
    (it,) = fill(mirror, 1)
    tries, version = 0, 10
    for _ in range(100):
        for write in writes.plan(20).writes:
            tries, version = tries + 1, version + 1
            said = replace(status_of(write), incarnation=None)
            answer = replace(it, version=version, reported=said)
            writes.ended(write.key, WriteResult.WRITTEN, answer)
        lose_sight(mirror, clock, 0.1)
    assert 3 < tries < 10


def test_a_refusal_is_tried_again_soon_and_then_slowly(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    fill(mirror, 1)
    write, waits = one(writes), []
    for _ in range(10):
        writes.ended(write.key, WriteResult.FORBIDDEN)
        write, wait = next_write(writes, mirror, clock)
        waits.append(wait)
    assert waits[0] <= MIN_BACKOFF_SECONDS * (1 + JITTER) + 0.1
    assert waits[-1] >= MAX_BACKOFF_SECONDS


@given(
    outcomes=st.lists(st.sampled_from(sorted(WriteResult)), max_size=200),
    seed=st.integers(0, 1000),
)
def test_in_the_end_each_status_is_what_was_decided(outcomes: list[WriteResult], seed: int) -> None:
    clock = FakeClock()
    mirror = Mirror(Records(TIMEOUT, clock=clock, random=Random(seed)))
    writes = StatusWrites(mirror, RATE)
    objects = {it.key: it for it in fill(mirror, 8)}
    version = 100
    script = iter(outcomes)
    for _ in range(4000):
        for write in writes.plan(3).writes:
            result = next(script, WriteResult.WRITTEN)
            version += 1
            answer = None
            if result is WriteResult.WRITTEN:
                answer = replace(objects[write.key], version=version, reported=status_of(write))
                objects[write.key] = answer
            elif result is WriteResult.CONFLICT:
                answer = replace(objects[write.key], version=version)
            writes.ended(write.key, result, answer, 1.0)
        if not len(mirror.outbox):
            break
        lose_sight(mirror, clock, 0.5)
    assert all(it.reported is not None for it in objects.values())
    assert len(mirror.outbox) == 0
    assert key("i-0") in objects


def test_a_few_that_always_fail_hold_up_no_other(
    writes: StatusWrites, mirror: Mirror, clock: FakeClock
) -> None:
    """An object may be so large that the API server cannot store its status: that is a 500."""
    objects = {each.key: each for each in fill(mirror, 50)}
    bad = set(objects)
    version, waits = 100, []
    for number in range(60):
        version += 1
        good = observed(f"good-{number}", version, spec=spec(port=1000 + number))
        mirror.changed(good, run=1)
        since = 0.0
        while good.key in mirror.outbox._pending:
            for write in writes.plan(20).writes:
                if write.key in bad:
                    writes.ended(write.key, WriteResult.UNAVAILABLE)
                else:
                    version += 1
                    answer = replace(good, version=version, reported=status_of(write))
                    writes.ended(write.key, WriteResult.WRITTEN, answer)
            lose_sight(mirror, clock, 0.25)
            since += 0.25
        waits.append(since)
        lose_sight(mirror, clock, 3.0)
    assert sorted(waits)[len(waits) // 2] <= 0.5
    assert max(waits[30:]) <= 1.0
