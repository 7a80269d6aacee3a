from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.health.record import Record
from modelinstance.registry.load import Load
from modelinstance.registry.records.records import Records
from modelinstance.registry.records.selection import (
    ANY,
    BOUND,
    SLACK,
    WINDOW_SECONDS,
    Admits,
    Policy,
    Pool,
    Wish,
)
from unit.builders import TIMEOUT, put
from unit.clock import FakeClock
from unit.costs import calls_of

NOW = 1000.0
SESSIONS = [f"session-{number}" for number in range(100)]
ROUND_ROBIN = Wish(Policy.ROUND_ROBIN)
LEAST_LOADED = Wish(Policy.LEAST_LOADED)
WISHES = [Wish(policy, key="session") for policy in Policy]

of_every_policy = pytest.mark.parametrize("wish", WISHES, ids=lambda wish: str(wish.policy))


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
    for position in range(len(weights)):
        join(records, pool, position, weights[position])
    return pool


def join(records: Records, pool: Pool, position: int, weight: float = 1.0) -> Record:
    """A ready instance of that weight comes, or changes its weight."""
    record = put(records, str(position), port=8000 + position, weight=weight)
    records.beat(record)
    pool.add(record)
    return record


def set_ready(records: Records, pool: Pool, position: int, *, ready: bool) -> None:
    records.set_deregistered(member(pool, position), deregistered=not ready)
    pool.refresh()


def member(pool: Pool, position: int) -> Record:
    return next(record for record in pool if record.key.name == str(position))


def only(*positions: int) -> Admits:
    """Admits those alone."""
    return lambda record: record.key.name in set(map(str, positions))


def sequence(
    pool: Pool, draws: int, random: Random | None = None, wish: Wish = ANY, now: float = NOW
) -> list[int]:
    """The positions of what is picked, one after the other, while no time passes."""
    random = random or Random(20260301)
    picked = (pool.pick(random, now, wish) for _ in range(draws))
    return [int(record.key.name) for record in picked if record is not None]


def picks(
    pool: Pool, draws: int, random: Random | None = None, wish: Wish = ANY, now: float = NOW
) -> Counter[int]:
    return Counter(sequence(pool, draws, random, wish, now))


def spread(seen: Counter[int], positions: Sequence[int]) -> int:
    """The difference between who was picked most and who was picked least."""
    counts = [seen[position] for position in positions]
    return max(counts) - min(counts)


# -- every policy ------------------------------------------------------------------------------


@of_every_policy
@pytest.mark.parametrize(
    ("weights", "admits"),
    [
        ([], None),
        ([0], None),
        ([0, 0], None),
        ([1, 1, 1], only()),
        ([0, 1], only(0)),
        ([1] * 40, only()),
    ],
    ids=["empty", "weight 0", "weights 0", "none admitted", "0 admitted", "none of many"],
)
def test_with_nothing_to_pick_there_is_nothing(
    records: Records, wish: Wish, weights: list[float], admits: Admits | None
) -> None:
    pool = pool_of(records, weights)
    assert all(pool.pick(Random(1), NOW, replace(wish, admits=admits)) is None for _ in range(5))


@of_every_policy
@pytest.mark.parametrize(
    ("weights", "admitted"),
    [
        ([1, 1, 1], {1}),
        ([1, 1, 1], {0, 2}),
        ([1000, 1, 1], {2}),
        ([1] * 200, {77}),
        ([0, 1, 0, 2], {0, 1, 2}),
    ],
)
def test_only_the_admitted_are_picked(
    records: Records, wish: Wish, weights: list[float], admitted: set[int]
) -> None:
    wish = replace(wish, admits=only(*admitted))
    seen = picks(pool_of(records, weights), 200, wish=wish)
    assert seen.total() == 200
    assert set(seen) == {position for position in admitted if weights[position]}


@of_every_policy
def test_a_weight_of_zero_is_listed_and_never_picked(records: Records, wish: Wish) -> None:
    pool = pool_of(records, [0, 1, 0])
    assert [record.key.name for record in pool] == ["0", "1", "2"]
    assert picks(pool, 200, wish=wish) == {1: 200}


@of_every_policy
def test_a_weight_of_zero_set_later_counts_at_the_next_pick(records: Records, wish: Wish) -> None:
    pool = pool_of(records, [1, 1])
    picks(pool, 20, wish=wish)
    join(records, pool, 0, weight=0)
    assert picks(pool, 200, wish=wish) == {1: 200}


@of_every_policy
def test_only_the_ready_are_picked(records: Records, wish: Wish) -> None:
    pool = pool_of(records, [1, 1])
    picks(pool, 20, wish=wish)
    set_ready(records, pool, 0, ready=False)
    assert picks(pool, 100, wish=wish) == {1: 100}
    set_ready(records, pool, 0, ready=True)
    assert picks(pool, 100, wish=wish)[0] > 20


@of_every_policy
def test_a_member_that_left_is_not_picked(records: Records, wish: Wish) -> None:
    pool = pool_of(records, [1, 1])
    picks(pool, 20, wish=wish)
    pool.discard(member(pool, 0))
    assert len(pool) == 1
    assert picks(pool, 100, wish=wish) == {1: 100}


@of_every_policy
def test_a_member_that_came_is_picked(records: Records, wish: Wish) -> None:
    pool = pool_of(records, [1])
    picks(pool, 20, wish=wish)
    join(records, pool, 1)
    assert set(picks(pool, 100, wish=wish)) == {0, 1}


@of_every_policy
def test_the_members_are_picked_as_the_policy_says_after_none_was_left(
    records: Records, wish: Wish
) -> None:
    pool = pool_of(records, [1, 1])
    picks(pool, 20, wish=wish)
    for position in (0, 1):
        set_ready(records, pool, position, ready=False)
    assert not picks(pool, 5, wish=wish)
    for position in (0, 1):
        set_ready(records, pool, position, ready=True)
    assert picks(pool, 100, wish=wish).total() == 100


@of_every_policy
def test_with_equal_weights_nobody_gets_much_more_than_others(records: Records, wish: Wish) -> None:
    seen = picks(pool_of(records, [1] * 4), 4000, wish=wish)
    assert set(seen) == set(range(4))
    assert max(seen.values()) <= BOUND * 1000 + SLACK + 1


@of_every_policy
@pytest.mark.parametrize("admits", [None, lambda record: record.key.name != "1"])
def test_a_pick_costs_hardly_more_from_a_thousand_instances(
    records: Records, wish: Wish, admits: Admits | None
) -> None:
    wishes = [replace(wish, admits=admits, key=session) for session in SESSIONS[:30]]

    def cost(count: int) -> int:
        """The most calls that any of some picks makes."""
        pool, random = pool_of(records, [1] * count), Random(1)
        pool.pick(random, NOW, wish)
        return max(calls_of(lambda each=each: pool.pick(random, NOW, each)) for each in wishes)  # type: ignore[misc]

    assert cost(1000) <= cost(1) + 3 * math.log2(1000)


def test_a_sticky_pick_among_few_of_many_does_not_look_at_the_many_again_and_again(
    records: Records,
) -> None:
    pool, few = pool_of(records, [1] * 1000), Wish(Policy.STICKY, "session", only(1, 2, 3))
    picks(pool, 100, wish=few)
    assert calls_of(lambda: pool.pick(Random(1), NOW, few)) < 40 * len(pool)


def test_a_member_is_added_and_discarded_once(records: Records) -> None:
    pool = pool_of(records, [1])
    record = member(pool, 0)
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


# -- weighted ----------------------------------------------------------------------------------

# Quantiles of the chi-square distribution at 0.9999, by degrees of freedom.
CHI_SQUARE = {1: 15.2, 2: 18.5, 3: 21.2, 9: 33.8}


@pytest.mark.parametrize(
    ("weights", "admitted"),
    [
        ([1, 1], [0, 1]),
        ([1, 2, 3, 4], [0, 1, 2, 3]),
        ([100, 1, 1], [0, 1, 2]),
        ([0.5, 0.25, 0.25], [0, 1, 2]),
        ([1] * 10, range(10)),
        ([1, 50, 3], [0, 2]),
        ([1000, 1, 2, 3], [1, 2, 3]),
    ],
)
def test_the_frequencies_fit_the_weights(
    records: Records, weights: list[float], admitted: Sequence[int]
) -> None:
    admits = only(*admitted) if len(admitted) < len(weights) else None
    seen = picks(pool_of(records, weights), 20_000, wish=Wish(admits=admits))
    assert fits(seen, {position: weights[position] for position in admitted})


@pytest.mark.parametrize("name", ["vicuna", "chat"])
def test_the_frequencies_fit_the_weights_of_now_by_every_name(records: Records, name: str) -> None:
    def show(position: int, weight: float) -> Record:
        record = put(
            records, str(position), port=8000 + position, weight=weight,
            aliases=frozenset({"chat"}),
        )  # fmt: skip
        records.beat(record)
        return record

    def seen() -> Counter[int]:
        return Counter(int(records.select(name).key.name) for _ in range(20_000))

    for position, weight in enumerate([1, 2, 3, 4]):
        show(position, weight)
    assert fits(seen(), {0: 1, 1: 2, 2: 3, 3: 4})
    show(0, 10)
    records.set_drained(show(3, 4), drained=True)
    show(4, 5)
    assert fits(seen(), {0: 10, 1: 2, 2: 3, 4: 5})


def fits(seen: Counter[int], weights: dict[int, float]) -> bool:
    """Whether nobody else was picked, and a chi-square test finds nothing odd about the rest."""
    expected = {
        position: seen.total() * weight / sum(weights.values())
        for position, weight in weights.items()
    }
    statistic = sum((seen[position] - due) ** 2 / due for position, due in expected.items())
    return set(seen) <= set(weights) and statistic < CHI_SQUARE[len(weights) - 1]


@pytest.mark.parametrize(("point", "name"), [(0.0, "0"), (0.4999, "0"), (0.5, "1"), (1.0, "1")])
def test_the_ends_of_the_range_pick_a_member(records: Records, point: float, name: str) -> None:
    picked = pool_of(records, [1, 1]).pick(Point(point), NOW)
    assert picked is not None
    assert picked.key.name == name


# -- round robin -------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "weight"), list(product([1, 2, 3, 7], [1, 0.01, 3])))
def test_turns_of_equal_weights_go_round_and_round(
    records: Records, count: int, weight: float
) -> None:
    pool = pool_of(records, [weight] * count)
    first_round = sequence(pool, count, wish=ROUND_ROBIN)
    assert sorted(first_round) == list(range(count))
    assert sequence(pool, 50 * count, wish=ROUND_ROBIN) == 50 * first_round


@pytest.mark.parametrize(
    "weights", [[1, 2, 3, 4], [100, 1, 1], [0.5, 0.25, 0.25], [1, 0.001], [7, 7, 5]]
)
def test_turns_fit_the_weights_at_every_moment(records: Records, weights: list[float]) -> None:
    seen: Counter[int] = Counter()
    turns = sequence(pool_of(records, weights), 1000, wish=ROUND_ROBIN)
    for number, position in enumerate(turns, start=1):
        seen[position] += 1
        for other, weight in enumerate(weights):
            assert abs(seen[other] - number * weight / sum(weights)) < 2


def come_new(records: Records, pool: Pool) -> None:
    join(records, pool, 3)


def go_and_come_again(records: Records, pool: Pool) -> None:
    record = join(records, pool, 3)
    picks(pool, 40, wish=ROUND_ROBIN)
    pool.discard(record)
    picks(pool, 3000, wish=ROUND_ROBIN)
    pool.add(record)


def become_ready_again(records: Records, pool: Pool) -> None:
    join(records, pool, 3)
    picks(pool, 40, wish=ROUND_ROBIN)
    set_ready(records, pool, 3, ready=False)
    picks(pool, 3000, wish=ROUND_ROBIN)
    set_ready(records, pool, 3, ready=True)


def get_a_weight_again(records: Records, pool: Pool) -> None:
    join(records, pool, 3)
    picks(pool, 40, wish=ROUND_ROBIN)
    join(records, pool, 3, weight=0)
    picks(pool, 3000, wish=ROUND_ROBIN)
    join(records, pool, 3)


def get_a_greater_weight(records: Records, pool: Pool) -> None:
    join(records, pool, 3, weight=0.0001)
    picks(pool, 40, wish=ROUND_ROBIN)
    join(records, pool, 3)


def be_admitted_again(records: Records, pool: Pool) -> None:
    join(records, pool, 3)
    picks(pool, 3000, wish=replace(ROUND_ROBIN, admits=only(0, 1, 2)))


def be_admitted_alone(records: Records, pool: Pool) -> None:
    join(records, pool, 3)
    picks(pool, 3000, wish=replace(ROUND_ROBIN, admits=only(3)))


@pytest.mark.parametrize(
    "come",
    [
        come_new,
        go_and_come_again,
        become_ready_again,
        get_a_weight_again,
        get_a_greater_weight,
        be_admitted_again,
        be_admitted_alone,
    ],
)
def test_who_takes_turns_again_is_neither_flooded_nor_starved(
    records: Records, come: Callable[[Records, Pool], None]
) -> None:
    pool = pool_of(records, [1, 1, 1])
    picks(pool, 1000, wish=ROUND_ROBIN)
    come(records, pool)
    turns = sequence(pool, 400, wish=ROUND_ROBIN)
    for rounds in (2, 10, 100):
        seen = Counter(turns[: 4 * rounds])
        assert spread(seen, range(4)) <= 3, f"after {rounds} rounds: {seen}"


def test_turns_of_those_who_are_admitted_fit_their_weights(records: Records) -> None:
    pool = pool_of(records, [5, 1, 2, 3])
    seen = picks(pool, 600, wish=replace(ROUND_ROBIN, admits=only(1, 2, 3)))
    assert all(abs(seen[position] - 100 * position) <= 2 for position in (1, 2, 3))


# -- least loaded ------------------------------------------------------------------------------


def report(pool: Pool, position: int, load: Load, *, at: float = NOW) -> None:
    """What `Records.set_load` does, for a pool that stands alone."""
    record = member(pool, position)
    record.load, record.loaded_at = load, at
    pool.reported(record)


@pytest.mark.parametrize(
    ("busy", "idle"),
    [
        (Load(running=50), Load()),
        (Load(waiting=50), Load()),
        (Load(running=30, waiting=30), Load(running=10)),
        (Load(running=60), Load(running=4, waiting=5)),
    ],
)
def test_the_one_that_reports_less_load_is_picked(records: Records, busy: Load, idle: Load) -> None:
    pool = pool_of(records, [1, 1])
    report(pool, 0, busy)
    report(pool, 1, idle)
    assert picks(pool, 40, wish=LEAST_LOADED) == {1: 40}


def test_the_most_loaded_of_many_is_never_picked(records: Records) -> None:
    pool = pool_of(records, [1] * 10)
    for position in range(10):
        report(pool, position, Load(running=100.0 * position))
    assert 9 not in picks(pool, 400, wish=LEAST_LOADED)


@pytest.mark.parametrize(
    ("weights", "loads"),
    [
        ([1, 1], [0, 0]),
        ([1, 1], [0, 30]),
        ([1, 3], [0, 0]),
        ([1, 3], [30, 0]),
        ([0.5, 0.25], [10, 1]),
    ],
)
def test_picks_since_the_report_even_out_the_load_for_each_unit_of_weight(
    records: Records, weights: list[float], loads: list[float]
) -> None:
    pool = pool_of(records, weights)
    for position, running in enumerate(loads):
        report(pool, position, Load(running=running))
    seen = picks(pool, 400, wish=LEAST_LOADED)
    for_a_unit = [(loads[at] + seen[at]) / weights[at] for at in (0, 1)]
    assert abs(for_a_unit[0] - for_a_unit[1]) <= 1 / min(weights)


def test_a_report_says_what_became_of_the_picks_before_it(records: Records) -> None:
    pool = pool_of(records, [1, 1])
    for position in (0, 1):
        report(pool, position, Load())
    picks(pool, 400, wish=LEAST_LOADED)
    report(pool, 0, Load(running=20))
    seen = picks(pool, 100, wish=LEAST_LOADED)
    assert seen == {0: 100}, "the other has some 200 picks that no report has taken off"
    report(pool, 1, Load(running=0))
    assert picks(pool, 100, wish=LEAST_LOADED) == {1: 100}


@pytest.mark.parametrize("weights", [[1, 1], [1, 3]])
def test_without_reports_the_recent_picks_count(records: Records, weights: list[float]) -> None:
    pool = pool_of(records, weights)
    picks(pool, 40, wish=replace(LEAST_LOADED, admits=only(0)))
    seen = picks(pool, 400, wish=LEAST_LOADED)
    assert abs((40 + seen[0]) / weights[0] - seen[1] / weights[1]) <= 1


def test_without_reports_picks_of_long_ago_do_not_count(records: Records) -> None:
    pool = pool_of(records, [1, 1])
    picks(pool, 40, wish=replace(LEAST_LOADED, admits=only(0)))
    assert spread(picks(pool, 40, wish=LEAST_LOADED, now=NOW + WINDOW_SECONDS), (0, 1)) <= 1


def test_the_better_of_two_keeps_many_much_more_even_than_chance(records: Records) -> None:
    """The most loaded is ahead by log2(ln n) and a little (Mitzenmacher 1996), not by sqrt(m/n)."""
    pool = pool_of(records, [1] * 50)
    assert spread(picks(pool, 5000), range(50)) > 20
    assert max(picks(pool, 5000, wish=LEAST_LOADED).values()) <= 100 + math.log2(math.log(50)) + 3


def test_a_newcomer_among_many_gets_at_most_the_better_of_two(records: Records) -> None:
    pool = pool_of(records, [1] * 9)
    picks(pool, 9000, wish=LEAST_LOADED)
    join(records, pool, 9)
    assert 150 <= picks(pool, 1000, wish=LEAST_LOADED)[9] <= 250  # 2 of 10, if it always wins


# -- sticky ------------------------------------------------------------------------------------


def homes(pool: Pool, admits: Admits | None = None) -> dict[str, int]:
    """Where each session goes while nobody is overloaded: each is picked in a window of its own."""
    found = {}
    for number, session in enumerate(SESSIONS):
        wish = Wish(Policy.STICKY, session, admits)
        [found[session]] = sequence(pool, 1, wish=wish, now=number * WINDOW_SECONDS)
    return found


def moved(before: dict[str, int], after: dict[str, int]) -> set[tuple[int, int]]:
    """From where to where sessions moved."""
    return {(before[session], after[session]) for session in SESSIONS} - {
        (position, position) for position in range(100)
    }


def test_a_session_stays(records: Records) -> None:
    pool = pool_of(records, [1] * 5)
    first = homes(pool)
    assert set(first.values()) == set(range(5))
    assert homes(pool) == first


def test_two_replicas_send_a_session_to_the_same_instance(records: Records) -> None:
    pool, other = pool_of(records, [1] * 5), Pool()
    for record in reversed(list(pool)):
        other.add(record)
    assert homes(pool) == homes(other)


def leave(records: Records, pool: Pool, position: int) -> Callable[[], object]:
    record = member(pool, position)
    pool.discard(record)
    return lambda: pool.add(record)


def become_unready(records: Records, pool: Pool, position: int) -> Callable[[], object]:
    set_ready(records, pool, position, ready=False)
    return lambda: set_ready(records, pool, position, ready=True)


def lose_weight(records: Records, pool: Pool, position: int) -> Callable[[], object]:
    join(records, pool, position, weight=0)
    return lambda: join(records, pool, position)


@pytest.mark.parametrize("go", [leave, become_unready, lose_weight])
@given(count=st.integers(2, 12), position=st.integers(0, 11))
def test_only_the_sessions_of_who_goes_move_and_they_come_back_with_it(
    go: Callable[[Records, Pool, int], Callable[[], object]], count: int, position: int
) -> None:
    records = Records(TIMEOUT, clock=FakeClock())
    pool, position = pool_of(records, [1] * count), position % count
    before = homes(pool)
    come_back = go(records, pool, position)
    after = homes(pool)
    assert {source for source, _ in moved(before, after)} <= {position}
    assert position not in after.values()
    come_back()
    assert homes(pool) == before


@given(st.integers(1, 12))
def test_a_newcomer_gets_sessions_and_no_others_move(count: int) -> None:
    records = Records(TIMEOUT, clock=FakeClock())
    pool = pool_of(records, [1] * count)
    before = homes(pool)
    join(records, pool, count)
    assert {target for _, target in moved(before, homes(pool))} <= {count}


def test_only_the_sessions_of_who_is_not_admitted_move(records: Records) -> None:
    pool = pool_of(records, [1] * 5)
    changes = moved(homes(pool), homes(pool, only(0, 1, 3, 4)))
    assert {source for source, _ in changes} == {2}


def most(picks: int, weight: float, total_weight: float) -> int:
    """The most picks of so many that a sticky instance of that weight may have got."""
    return math.ceil(BOUND * picks * weight / total_weight + SLACK)


@given(
    weights=st.lists(st.sampled_from([1, 0.1, 2, 10]), min_size=1, max_size=8),
    admitted=st.integers(1, 8),
    sessions=st.lists(st.sampled_from(SESSIONS[:4]), min_size=1, max_size=300),
)
def test_no_instance_gets_more_than_its_bound_whatever_the_keys(
    weights: list[float], admitted: int, sessions: list[str]
) -> None:
    records = Records(TIMEOUT, clock=FakeClock())
    pool, seen = pool_of(records, weights), Counter[int]()
    admits = only(*range(admitted)) if admitted < len(weights) else None
    for number, session in enumerate(sessions, start=1):
        [position] = sequence(pool, 1, wish=Wish(Policy.STICKY, session, admits))
        seen[position] += 1
        assert seen[position] <= most(number, weights[position], sum(weights[:admitted]))


@pytest.mark.parametrize("weights", [[1] * 2, [1] * 10, [1, 2, 3, 4]])
def test_one_key_that_everybody_sends_is_spread_within_the_bound(
    records: Records, weights: list[float]
) -> None:
    seen = picks(pool_of(records, weights), 2000, wish=Wish(Policy.STICKY, "the system prompt"))
    for position, count in seen.items():
        assert count <= most(2000, weights[position], sum(weights))


@pytest.mark.parametrize("weights", [[1] * 8, [1, 2, 3, 4], [10, 1, 1, 1, 1]])
def test_many_sessions_are_spread_within_the_bound(records: Records, weights: list[float]) -> None:
    pool, seen = pool_of(records, weights), Counter[int]()
    for number in range(4000):
        [position] = sequence(pool, 1, wish=Wish(Policy.STICKY, f"session-{number}"))
        seen[position] += 1
    assert seen.total() == 4000
    for position, weight in enumerate(weights):
        assert seen[position] <= most(4000, weight, sum(weights))


def test_a_session_goes_home_in_the_next_window(records: Records) -> None:
    pool = pool_of(records, [1] * 4)
    wish = Wish(Policy.STICKY, "session")
    [home] = sequence(pool, 1, wish=wish)
    assert len(picks(pool, 100, wish=wish)) > 1
    assert sequence(pool, SLACK, wish=wish, now=NOW + WINDOW_SECONDS) == [home] * SLACK
