from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from modelinstance.registry.records import Records
from modelinstance.registry.selection import Pool
from unit.builders import put


class Point(Random):
    """Always gives the same number."""

    def __init__(self, point: float) -> None:
        super().__init__()
        self._point = point

    def random(self) -> float:
        return self._point


def pool_of(records: Records, weights: Sequence[float]) -> Pool:
    """A pool of ready instances with those weights; the names are their positions."""
    pool = Pool()
    for position, weight in enumerate(weights):
        record = put(records, str(position), port=8000 + position, weight=weight)
        records.beat(record)
        pool.add(record)
    return pool


def picks(pool: Pool, draws: int, random: Random) -> Counter[str]:
    picked = (pool.pick(random) for _ in range(draws))
    return Counter(record.key.name for record in picked if record is not None)


# Quantiles of the chi-square distribution at 0.9999, by degrees of freedom.
CHI_SQUARE = {1: 15.2, 2: 18.5, 3: 21.2, 9: 33.8}


@pytest.mark.parametrize(
    "weights", [[1, 1], [1, 2, 3, 4], [100, 1, 1], [0.5, 0.25, 0.25], [1] * 10]
)
def test_the_frequencies_fit_the_weights(records: Records, weights: list[float]) -> None:
    draws, total = 20_000, sum(weights)
    seen = picks(pool_of(records, weights), draws, Random(20260301))
    statistic = 0.0
    for position, weight in enumerate(weights):
        expected = draws * weight / total
        statistic += (seen[str(position)] - expected) ** 2 / expected
    assert statistic < CHI_SQUARE[len(weights) - 1]


def test_a_weight_of_zero_is_listed_and_never_picked(records: Records) -> None:
    pool = pool_of(records, [0, 1, 0])
    assert [record.key.name for record in pool] == ["0", "1", "2"]
    assert set(picks(pool, 200, Random(1))) == {"1"}


def test_with_weights_of_zero_alone_there_is_nothing_to_pick(records: Records) -> None:
    assert pool_of(records, [0, 0]).pick(Random(1)) is None


def test_an_empty_pool_has_nothing_to_pick() -> None:
    assert Pool().pick(Random(1)) is None


@pytest.mark.parametrize(("point", "name"), [(0.0, "0"), (0.4999, "0"), (0.5, "1"), (1.0, "1")])
def test_the_ends_of_the_range_pick_a_member(records: Records, point: float, name: str) -> None:
    picked = pool_of(records, [1, 1]).pick(Point(point))
    assert picked is not None
    assert picked.key.name == name


def test_only_the_ready_are_picked(records: Records) -> None:
    pool = pool_of(records, [1, 1])
    records.set_deregistered(next(iter(pool)), deregistered=True)
    pool.refresh()
    assert set(picks(pool, 100, Random(1))) == {"1"}


def test_a_member_that_left_is_not_picked(records: Records) -> None:
    pool = pool_of(records, [1, 1])
    pool.pick(Random(1))
    pool.discard(next(iter(pool)))
    assert len(pool) == 1
    assert set(picks(pool, 100, Random(1))) == {"1"}


def test_a_member_is_added_and_discarded_once(records: Records) -> None:
    pool = pool_of(records, [1])
    record = next(iter(pool))
    pool.add(record)
    assert len(pool) == 1
    pool.discard(record)
    pool.discard(record)
    assert len(pool) == 0


def test_a_pool_may_change_while_it_is_read(records: Records) -> None:
    pool = pool_of(records, [1, 1, 1])
    for record in pool:
        pool.discard(record)
    assert len(pool) == 0
