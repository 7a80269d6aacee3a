from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance.registry.timeline import Attendance, Expiring, Timeline


@pytest.mark.parametrize(
    ("passed", "gained"),
    [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (1.001, 1.0), (3600.0, 1.0), (-5.0, 0.0)],
)
def test_a_look_at_the_clock_adds_what_passed_but_at_most_a_second(
    passed: float, gained: float
) -> None:
    assert Attendance(100.0).gained(100.0 + passed) == gained


def test_what_was_not_attended_is_not_made_up_for_later() -> None:
    attendance = Attendance(0.0)
    assert attendance.gained(60.0) == 1.0
    assert attendance.gained(60.5) == 0.5


class Item(Expiring):
    pass


def due(timeline: Timeline[Item], now: float) -> list[Item]:
    timeline.now = now
    return list(timeline.pop_due())


def test_an_item_is_due_when_its_deadline_has_come_and_not_before() -> None:
    timeline, item = Timeline[Item](), Item()
    timeline.schedule(item, 5.0)
    assert due(timeline, 4.999) == []
    assert due(timeline, 5.0) == [item]


def test_an_item_that_came_out_has_no_deadline_and_does_not_come_out_again() -> None:
    timeline, item = Timeline[Item](), Item()
    timeline.schedule(item, 5.0)
    assert due(timeline, 6.0) == [item]
    assert item.deadline is None
    assert due(timeline, 100.0) == []


def test_items_come_out_by_their_deadline() -> None:
    timeline = Timeline[Item]()
    late, early = Item(), Item()
    timeline.schedule(late, 7.0)
    timeline.schedule(early, 3.0)
    assert due(timeline, 10.0) == [early, late]


def test_the_latest_deadline_counts_whether_it_moved_back_or_forth() -> None:
    timeline, item = Timeline[Item](), Item()
    for deadline in (5.0, 9.0, 2.0, 7.0):
        timeline.schedule(item, deadline)
    assert due(timeline, 6.999) == []
    assert due(timeline, 7.0) == [item]


def test_a_cancelled_deadline_never_comes() -> None:
    timeline, item = Timeline[Item](), Item()
    timeline.schedule(item, 5.0)
    item.cancel_deadline()
    assert timeline.next_deadline() is None
    assert due(timeline, 10.0) == []


def test_an_item_that_moved_to_another_timeline_expires_there_alone() -> None:
    here, there, item = Timeline[Item](), Timeline[Item](), Item()
    here.schedule(item, 5.0)
    there.schedule(item, 5.0)
    assert due(here, 10.0) == []
    assert due(there, 10.0) == [item]


def test_an_item_may_be_scheduled_anew_while_it_comes_out() -> None:
    timeline, item = Timeline[Item](), Item()
    timeline.schedule(item, 5.0)
    timeline.now = 6.0
    for popped in timeline.pop_due():
        timeline.schedule(popped, 8.0)
    assert due(timeline, 8.0) == [item]


def test_the_next_deadline_is_known() -> None:
    timeline, item = Timeline[Item](), Item()
    assert timeline.next_deadline() is None
    timeline.schedule(item, 5.0)
    timeline.schedule(item, 8.0)
    assert timeline.next_deadline() == 8.0


def test_a_deadline_that_is_put_off_again_and_again_takes_no_more_memory() -> None:
    timeline, item = Timeline[Item](), Item()
    for beat in range(1000):
        timeline.schedule(item, beat + 120.0)
    assert len(timeline._heap) == 1


def test_entries_that_stand_for_nothing_any_more_go_when_their_time_has_come() -> None:
    timeline, item = Timeline[Item](), Item()
    for deadline in (9.0, 6.0, 3.0, 1000.0):
        timeline.schedule(item, deadline)
    assert due(timeline, 10.0) == []
    assert len(timeline._heap) == 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("schedule"), st.integers(0, 1), st.integers(0, 4), st.integers(-2, 12)),
        st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("advance"), st.integers(0, 1), st.just(0), st.integers(0, 6)),
        st.tuples(st.just("pop"), st.integers(0, 1), st.just(0), st.just(0)),
        st.tuples(st.just("peek"), st.integers(0, 1), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
def test_exactly_the_due_items_come_out_each_once(
    steps: list[tuple[str, int, int, int]],
) -> None:
    timelines = [Timeline[Item](), Timeline[Item]()]
    items = [Item() for _ in range(5)]
    deadlines: dict[int, tuple[int, float]] = {}
    for step, where, which, amount in steps:
        timeline = timelines[where]
        mine = {item: at for item, (line, at) in deadlines.items() if line == where}
        if step == "schedule":
            timeline.schedule(items[which], timeline.now + amount)
            deadlines[which] = (where, timeline.now + amount)
        elif step == "cancel":
            items[which].cancel_deadline()
            deadlines.pop(which, None)
        elif step == "advance":
            timeline.now += amount
        elif step == "peek":
            assert timeline.next_deadline() == min(mine.values(), default=None)
        else:
            popped = [items.index(item) for item in timeline.pop_due()]
            expected = [item for item, at in mine.items() if at <= timeline.now]
            assert sorted(popped) == sorted(expected)
            assert [mine[item] for item in popped] == sorted(mine[item] for item in popped)
            for each in popped:
                del deadlines[each]
    assert [item.deadline for item in items] == [
        deadlines[which][1] if which in deadlines else None for which in range(len(items))
    ]


def test_what_is_gone_leaves_the_heap_small() -> None:
    timeline: Timeline[Expiring] = Timeline()
    stays = Expiring()
    timeline.schedule(stays, 1.0)
    for _ in range(10_000):
        item = Expiring()
        timeline.schedule(item, 86_400.0)
        item.cancel_deadline()
    assert len(timeline._heap) < 200
    assert timeline.next_deadline() == 1.0
