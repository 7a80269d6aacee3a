from __future__ import annotations

from random import Random

import pytest

from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.outbox import (
    CHUNK,
    JITTER,
    MAX_BACKOFF_SECONDS,
    MIN_BACKOFF_SECONDS,
    Outbox,
)
from unit.builders import key
from unit.costs import calls_of

KEY, OTHER = key("one"), key("other")


@pytest.fixture
def outbox() -> Outbox:
    outbox = Outbox(Random(1))
    outbox.add(KEY)
    return outbox


def ready(outbox: Outbox, now: float) -> list[InstanceKey]:
    return list(outbox.ready(now))


def wait_of(outbox: Outbox, now: float, of: InstanceKey = KEY) -> float:
    """After how many seconds from then it is ready, to a hundredth."""
    return next(h / 100 for h in range(20_000) if of in ready(outbox, now + h / 100))


def test_a_key_waits_once_and_the_longest_waiting_comes_first(outbox: Outbox) -> None:
    outbox.add(OTHER)
    outbox.add(KEY)
    assert ready(outbox, 0.0) == [KEY, OTHER]
    assert len(outbox) == 2


def test_what_is_under_way_does_not_wait(outbox: Outbox) -> None:
    outbox.sent(KEY)
    assert ready(outbox, 0.0) == []
    outbox.add(KEY)
    assert ready(outbox, 1000.0) == []
    outbox.settle(KEY)
    assert ready(outbox, 0.0) == [KEY]


def test_what_came_anew_while_a_write_was_under_way_waits_for_its_end(outbox: Outbox) -> None:
    outbox.sent(KEY)
    outbox.discard(KEY)
    outbox.add(KEY)
    assert ready(outbox, 0.0) == []
    outbox.settle(KEY)
    assert ready(outbox, 0.0) == [KEY]


def test_what_was_discarded_does_not_wait(outbox: Outbox) -> None:
    outbox.discard(KEY)
    outbox.discard(KEY)
    assert ready(outbox, 0.0) == []
    assert len(outbox) == 0


def test_what_was_discarded_after_a_failure_starts_anew(outbox: Outbox) -> None:
    outbox.fail(KEY, 0.0)
    outbox.discard(KEY)
    outbox.add(KEY)
    assert ready(outbox, 0.0) == [KEY]
    outbox.sent(KEY)
    assert ready(outbox, 1000.0) == [], "nor does the past wake what is under way"


@pytest.mark.parametrize("held", range(3), ids=str)
def test_all_are_seen_whatever_becomes_of_those_in_hand(outbox: Outbox, held: int) -> None:
    outbox.discard(KEY)
    keys = [key(str(number)) for number in range(3 * CHUNK)]
    for each in keys:
        outbox.add(each)
    seen = []
    for each in outbox.ready(0.0):
        seen.append(each)
        if len(seen) % 3 > held:
            outbox.discard(each)
        elif len(seen) % 3 == 1:
            outbox.sent(each)
    assert seen == keys


def test_the_first_few_of_many_cost_what_they_cost_alone() -> None:
    costs = []
    for many in (100, 100_000):
        outbox = Outbox(Random(1))
        for number in range(many):
            outbox.add(key(str(number)))
        next(outbox.ready(0.0))
        costs.append(calls_of(lambda outbox=outbox: next(outbox.ready(0.0))))  # type: ignore[misc]
    assert costs[0] == costs[1]


def test_failures_are_tried_again_later_and_later(outbox: Outbox) -> None:
    now, delay = 0.0, MIN_BACKOFF_SECONDS
    for _ in range(10):
        outbox.sent(KEY)
        outbox.fail(KEY, now)
        wait = wait_of(outbox, now)
        assert delay <= wait <= delay * (1 + JITTER) + 0.01
        now, delay = now + wait, min(2 * delay, MAX_BACKOFF_SECONDS)
    assert delay == MAX_BACKOFF_SECONDS


def test_what_failed_together_does_not_come_together() -> None:
    outbox = Outbox(Random(1))
    keys = [key(str(number)) for number in range(200)]
    for each in keys:
        outbox.add(each)
        outbox.fail(each, 0.0)
    assert ready(outbox, MIN_BACKOFF_SECONDS - 0.01) == []
    arrivals = [
        len(ready(outbox, MIN_BACKOFF_SECONDS * (1 + JITTER * n / 10))) for n in range(1, 11)
    ]
    steps = [later - earlier for earlier, later in zip([0, *arrivals], arrivals, strict=False)]
    assert sum(steps) == len(keys)
    assert max(steps) < len(keys) / 4


def test_the_same_seed_gives_the_same_waits() -> None:
    waits = []
    for _ in range(2):
        outbox = Outbox(Random(7))
        outbox.add(KEY)
        outbox.fail(KEY, 0.0)
        waits.append(wait_of(outbox, 0.0))
    assert waits[0] == waits[1]


def test_a_wait_that_was_asked_for_is_not_cut_short(outbox: Outbox) -> None:
    outbox.fail(KEY, 0.0, 30.0)
    assert 30.0 <= wait_of(outbox, 0.0) <= 45.01


def test_a_backoff_can_be_bounded(outbox: Outbox) -> None:
    for _ in range(20):
        outbox.fail(KEY, 0.0, most=5.0)
    assert 5.0 <= wait_of(outbox, 0.0) <= 7.51


def test_failures_without_end_are_borne(outbox: Outbox) -> None:
    for _ in range(3000):
        outbox.fail(KEY, 0.0)
    assert ready(outbox, MAX_BACKOFF_SECONDS * (1 + JITTER)) == [KEY]


def test_a_success_ends_the_backoff(outbox: Outbox) -> None:
    for _ in range(5):
        outbox.fail(KEY, 0.0)
    outbox.settle(KEY)
    assert ready(outbox, 0.0) == [KEY]
    outbox.fail(KEY, 0.0)
    assert wait_of(outbox, 0.0) <= MIN_BACKOFF_SECONDS * (1 + JITTER) + 0.01


def test_a_new_change_does_not_end_the_backoff_of_a_failure(outbox: Outbox) -> None:
    outbox.fail(KEY, 0.0)
    outbox.add(KEY)
    outbox.changed(KEY)
    assert ready(outbox, MIN_BACKOFF_SECONDS - 0.01) == []


def test_what_was_refused_waits_for_the_longest_time_or_for_a_change(outbox: Outbox) -> None:
    outbox.sent(KEY)
    outbox.refuse(KEY, 0.0)
    outbox.add(KEY)
    assert ready(outbox, MAX_BACKOFF_SECONDS - 0.01) == []
    outbox.changed(KEY)
    assert ready(outbox, 0.0) == [KEY]
    outbox.refuse(KEY, 0.0)
    assert ready(outbox, MAX_BACKOFF_SECONDS * (1 + JITTER)) == [KEY]


def test_a_change_while_the_write_was_under_way_is_not_what_was_refused(outbox: Outbox) -> None:
    outbox.changed(KEY)
    outbox.sent(KEY)
    outbox.changed(KEY)
    outbox.refuse(KEY, 0.0)
    assert wait_of(outbox, 0.0) <= MIN_BACKOFF_SECONDS * (1 + JITTER) + 0.01
    outbox.sent(KEY)
    outbox.refuse(KEY, 0.0)
    assert ready(outbox, MAX_BACKOFF_SECONDS - 0.01) == [], "this one is"


def test_what_is_decided_again_comes_at_once_and_then_waits(outbox: Outbox) -> None:
    outbox.sent(KEY)
    outbox.repeat(KEY, 0.0)
    assert ready(outbox, 0.0) == [KEY]
    waits = []
    now = 0.0
    for _ in range(4):
        outbox.sent(KEY)
        outbox.repeat(KEY, now)
        waits.append(wait_of(outbox, now))
        now += waits[-1]
    assert waits[0] >= MIN_BACKOFF_SECONDS
    assert waits == sorted(waits)
    outbox.discard(KEY)
    outbox.add(KEY)
    outbox.sent(KEY)
    outbox.repeat(KEY, now)
    assert ready(outbox, now) == [KEY], "it was done in between"


def test_one_failure_holds_back_nobody_else(outbox: Outbox) -> None:
    outbox.add(OTHER)
    outbox.fail(KEY, 0.0)
    assert ready(outbox, 0.0) == [OTHER]


def test_the_end_of_what_is_unknown_does_nothing(outbox: Outbox) -> None:
    outbox.settle(OTHER)
    outbox.fail(OTHER, 0.0)
    outbox.refuse(OTHER, 0.0)
    outbox.repeat(OTHER, 0.0)
    outbox.changed(OTHER)
    assert ready(outbox, 1000.0) == [KEY]


def test_what_a_dead_writer_had_under_way_waits_again(outbox: Outbox) -> None:
    outbox.add(OTHER)
    for each in (KEY, OTHER):
        outbox.sent(each)
    outbox.discard(OTHER)
    outbox.abandon()
    assert ready(outbox, 0.0) == [KEY]
