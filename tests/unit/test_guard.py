from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.outages import EVERYONE, GuardSettings, Outage
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Rotation
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, live, put
from unit.clock import FakeClock

LIMIT = 60.0
SETTINGS = GuardSettings(share=0.5, least=3, seconds=LIMIT)


@pytest.fixture
def guarded(records: Records) -> Records:
    records.guard.settings = SETTINGS
    return records


def crowd(records: Records, number: int, model: str = "vicuna") -> list[Record]:
    """So many instances of a model, all heard just now."""
    made = [
        put(records, f"{model}-{index}", model_name=model, host=f"h{index}")
        for index in range(number)
    ]
    for record in made:
        records.beat(record)
    return made


def keep(records: Records, clock: FakeClock, seconds: float, *beating: Record) -> None:
    """Let time pass while these beat each second."""
    for _ in range(int(seconds)):
        live(records, clock, 1)
        for record in beating:
            records.beat(record)


def frozen(*of: Record) -> list[bool]:
    return [record.verdict.reason is Reason.CORRELATED_SILENCE for record in of]


def test_all_silent_at_once_stay_selectable_and_are_marked(
    guarded: Records, clock: FakeClock
) -> None:
    turns: list[Phase] = []
    guarded.on_verdict(lambda record: turns.append(record.verdict.phase))
    many = crowd(guarded, 3)
    turns.clear()
    live(guarded, clock, TIMEOUT)
    assert frozen(*many) == [True] * 3
    assert turns == [Phase.DEGRADED] * 3, "nobody was out in between"
    assert [record.verdict.ready for record in many] == [True] * 3
    assert guarded.guard.frozen == 3
    assert guarded.select("vicuna").verdict.ready


def test_two_are_single_cases(guarded: Records, clock: FakeClock) -> None:
    pair = crowd(guarded, 2)
    live(guarded, clock, TIMEOUT)
    assert [record.verdict.reason for record in pair] == [Reason.HEARTBEAT_EXPIRED] * 2


def test_less_than_half_of_a_model_is_no_outage(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 7)
    keep(guarded, clock, TIMEOUT, *many[3:])
    assert [record.verdict.reason for record in many[:3]] == [Reason.HEARTBEAT_EXPIRED] * 3
    assert guarded.guard.outages == 0


def test_one_silence_is_never_hidden_by_the_health_of_others(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 5)
    keep(guarded, clock, TIMEOUT, *many[1:])
    assert many[0].verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_those_that_fell_within_a_timeout_before_are_brought_back(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 6)
    for silent in (0, 1):
        keep(guarded, clock, 2, *many[silent + 1 :])
    live(guarded, clock, TIMEOUT - 3)
    assert frozen(*many) == [False] * 6
    assert many[0].verdict.reason is Reason.HEARTBEAT_EXPIRED
    live(guarded, clock, 4)
    assert frozen(*many) == [True] * 6
    assert not any(record.falls for record in many), "that was none of their own"


def test_what_fell_silent_long_ago_does_not_count(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 5)
    keep(guarded, clock, 2 * TIMEOUT, *many[2:])
    keep(guarded, clock, TIMEOUT + 1, *many[3:])
    expired = [record.verdict.reason is Reason.HEARTBEAT_EXPIRED for record in many]
    assert expired == [True, True, True, False, False]


def test_a_beat_ends_it_for_one_and_the_rest_gets_a_full_timeout(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 4)
    live(guarded, clock, TIMEOUT)
    for record in many[:2]:
        guarded.beat(record)
    assert [record.verdict.phase for record in many[:2]] == [Phase.HEALTHY] * 2
    assert frozen(*many[2:]) == [True] * 2
    keep(guarded, clock, TIMEOUT - 1, *many[:2])
    assert frozen(*many[2:]) == [True] * 2
    keep(guarded, clock, 1, *many[:2])
    assert [record.verdict.reason for record in many[2:]] == [Reason.HEARTBEAT_EXPIRED] * 2
    assert guarded.guard.frozen == 0


def test_it_ends_after_its_time_whatever_comes(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 4)
    live(guarded, clock, TIMEOUT + LIMIT - 1)
    assert frozen(*many) == [True] * 4
    live(guarded, clock, 1)
    assert [record.verdict.reason for record in many] == [Reason.HEARTBEAT_EXPIRED] * 4
    live(guarded, clock, LIMIT)
    assert (guarded.guard.frozen, guarded.guard.outages) == (0, 1)


@pytest.mark.parametrize("how", ["deleting", "drained", "deregistered", "disabled", "removed"])
def test_it_freezes_silence_alone(how: str, guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 6)
    live(guarded, clock, TIMEOUT)
    one = many[0]
    if how == "deleting":
        put(guarded, "vicuna-0", host="h0", deleting=True)
    elif how == "drained":
        guarded.set_drained(one, drained=True)
    elif how == "deregistered":
        guarded.set_deregistered(one, deregistered=True)
    elif how == "disabled":
        put(guarded, "vicuna-0", host="h0", rotation=Rotation.DISABLED)
    else:
        guarded.remove(one.key)
    assert not one.frozen
    assert how == "removed" or not one.verdict.ready
    assert guarded.guard.frozen == 5


def test_a_failing_probe_and_what_a_worker_says_count_all_the_same(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 3)
    live(guarded, clock, TIMEOUT)
    guarded.eject(many[0])
    assert many[0].verdict.reason is Reason.CALLS_FAILING
    guarded.beat(many[1], failure="the engine is gone")
    assert many[1].verdict.reason is Reason.WORKER_NOT_READY


def test_of_all_models_together(guarded: Records, clock: FakeClock) -> None:
    told: list[Outage] = []
    guarded.guard.on_outage.append(told.append)
    many = [crowd(guarded, 1, f"m{index}")[0] for index in range(4)]
    live(guarded, clock, TIMEOUT)
    assert frozen(*many) == [True] * 4
    for record in many:
        guarded.beat(record)
    assert told == [Outage(EVERYONE, began=True), Outage(EVERYONE, began=False)]
    assert [record.verdict.phase for record in many] == [Phase.HEALTHY] * 4


def test_one_of_a_model_that_is_out_by_itself_is_told_once(
    guarded: Records, clock: FakeClock
) -> None:
    told: list[Outage] = []
    guarded.guard.on_outage.append(told.append)
    crowd(guarded, 3)
    live(guarded, clock, TIMEOUT)
    assert told == [Outage("vicuna", began=True)]


def test_without_settings_everybody_expires(records: Records, clock: FakeClock) -> None:
    many = crowd(records, 5)
    live(records, clock, TIMEOUT)
    assert [record.verdict.reason for record in many] == [Reason.HEARTBEAT_EXPIRED] * 5


def test_to_switch_it_off_lets_all_go(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 4)
    live(guarded, clock, TIMEOUT)
    guarded.guard.configure(None)
    live(guarded, clock, 0.1)
    assert [record.verdict.reason for record in many] == [Reason.HEARTBEAT_EXPIRED] * 4
    assert guarded.guard.frozen == 0
    live(guarded, clock, TIMEOUT)
    assert len(guarded.guard) == 0


def test_a_restart_goes_on_where_it_was(guarded: Records, clock: FakeClock) -> None:
    many = [put(guarded, f"vicuna-{index}", host=f"h{index}") for index in range(3)]
    for record in many:
        guarded.resume(record, Past(Life.SILENT, frozen=True), guarded.local)
    assert frozen(*many) == [True] * 3
    live(guarded, clock, LIMIT)
    assert frozen(*many) == [False] * 3


def test_nothing_is_left(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 20) + crowd(guarded, 2, "llama")
    live(guarded, clock, TIMEOUT)
    for record in many:
        guarded.remove(record.key)
    live(guarded, clock, LIMIT)
    assert len(guarded.guard) == 0


def test_a_worker_that_cannot_answer_is_not_brought_back_by_its_silence(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 3)
    guarded.beat(many[0], failure="the engine is gone")
    live(guarded, clock, TIMEOUT)
    assert [many[0].verdict.reason] == [Reason.WORKER_NOT_READY]
    assert frozen(*many[1:]) == [True] * 2
    live(guarded, clock, LIMIT)
    assert many[0].verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_what_wanes_lets_go_nobody_whom_another_outage_holds(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 4)
    others = [crowd(guarded, 1, f"m{index}")[0] for index in range(6)]
    live(guarded, clock, TIMEOUT)
    assert frozen(*many, *others) == [True] * 10
    keep(guarded, clock, 2 * TIMEOUT, *others)
    assert frozen(*many) == [True] * 4, "all of their model are silent"


def come(records: Records, number: int) -> list[Record]:
    """So many new instances of the model, heard just now."""
    made = [put(records, f"new-{index}", host=f"new{index}") for index in range(number)]
    for record in made:
        records.beat(record)
    return made


@pytest.mark.parametrize(("new", "is_outage"), [(2, True), (3, False)])
def test_workers_that_are_replaced_one_by_one_are_no_outage(
    new: int, is_outage: bool, guarded: Records, clock: FakeClock
) -> None:
    old = crowd(guarded, 3)
    live(guarded, clock, 1)
    keep(guarded, clock, TIMEOUT, *come(guarded, new))
    assert frozen(*old) == [is_outage] * 3


def test_who_came_before_the_silence_is_no_replacement(guarded: Records, clock: FakeClock) -> None:
    old = crowd(guarded, 3)
    live(guarded, clock, 1)
    new = come(guarded, 3)
    keep(guarded, clock, 2, *old)
    keep(guarded, clock, TIMEOUT, *new)
    assert frozen(*old) == [True] * 3


def test_a_list_makes_nobody_less_of_a_replacement(guarded: Records, clock: FakeClock) -> None:
    old = crowd(guarded, 3)
    live(guarded, clock, 1)
    new = come(guarded, 3)
    guarded.guard.settle()
    keep(guarded, clock, TIMEOUT, *new)
    assert frozen(*old) == [False] * 3


def test_as_many_replacements_let_an_outage_wane(guarded: Records, clock: FakeClock) -> None:
    old = crowd(guarded, 3)
    live(guarded, clock, TIMEOUT)
    assert frozen(*old) == [True] * 3
    new = come(guarded, 3)
    keep(guarded, clock, TIMEOUT - 1, *new)
    assert frozen(*old) == [True] * 3
    keep(guarded, clock, 1, *new)
    assert [record.verdict.reason for record in old] == [Reason.HEARTBEAT_EXPIRED] * 3


def test_who_returns_is_no_replacement(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 6)
    live(guarded, clock, TIMEOUT)
    back = many[:3]
    keep(guarded, clock, 2 * TIMEOUT, *back)
    assert frozen(*many[3:]) == [True] * 3


def test_who_was_well_at_a_restart_is_no_replacement(guarded: Records, clock: FakeClock) -> None:
    silent = resume(guarded, 3, Life.SILENT)
    live(guarded, clock, 0.1)
    heard = resume(guarded, 3, Life.HEARD)
    guarded.guard.settle()
    keep(guarded, clock, 2 * TIMEOUT, *heard)
    assert frozen(*silent) == [True] * 3
    new = come(guarded, 3)
    keep(guarded, clock, TIMEOUT + 1, *heard, *new)
    assert frozen(*silent) == [False] * 3


def test_who_comes_anew_lets_an_outage_wane(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 6)
    keep(guarded, clock, TIMEOUT, *many[3:])
    assert frozen(*many[:3]) == [True] * 3
    new = crowd(guarded, 20, "new")
    for index in range(20):
        new.append(put(guarded, f"more-{index}", host=f"more{index}"))
    keep(guarded, clock, TIMEOUT + 1, *many[3:], *new)
    assert [record.verdict.reason for record in many[:3]] == [Reason.HEARTBEAT_EXPIRED] * 3


def test_other_numbers_hold_for_an_outage_that_is_on(guarded: Records, clock: FakeClock) -> None:
    many = crowd(guarded, 4)
    live(guarded, clock, TIMEOUT)
    guarded.guard.configure(GuardSettings(seconds=20.0))
    live(guarded, clock, 19)
    assert frozen(*many) == [True] * 4
    live(guarded, clock, 1)
    assert frozen(*many) == [False] * 4
    for record in many:
        guarded.beat(record)
    live(guarded, clock, TIMEOUT)
    assert frozen(*many) == [True] * 4
    guarded.guard.configure(GuardSettings(least=50))
    live(guarded, clock, TIMEOUT)
    assert frozen(*many) == [False] * 4


def resume(records: Records, number: int, life: Life, model: str = "vicuna") -> list[Record]:
    """Take up so many instances as an earlier process left them: heard, or frozen."""
    made = [
        put(records, f"{model}-{life}-{index}", model_name=model, host=f"{life}{index}")
        for index in range(number)
    ]
    for record in made:
        records.resume(record, Past(life, frozen=life is Life.SILENT), records.local)
    return made


def test_after_a_restart_an_outage_of_one_model_goes_on_whoever_else_is_well(
    guarded: Records, clock: FakeClock
) -> None:
    many = resume(guarded, 10, Life.SILENT)
    others = resume(guarded, 90, Life.HEARD, "llama")
    guarded.guard.settle()
    guarded.beat(many[0])
    keep(guarded, clock, 2 * TIMEOUT, many[0], *others)
    assert frozen(*many[1:]) == [True] * 9


def test_after_a_restart_the_last_of_an_outage_has_one_timeout_to_be_heard(
    guarded: Records, clock: FakeClock
) -> None:
    (last,) = resume(guarded, 1, Life.SILENT)
    others = resume(guarded, 9, Life.HEARD)
    guarded.guard.settle()
    keep(guarded, clock, TIMEOUT - 1, *others)
    assert frozen(last) == [True]
    keep(guarded, clock, 1, *others)
    assert last.verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_after_a_restart_an_outage_of_all_goes_on(guarded: Records, clock: FakeClock) -> None:
    told: list[Outage] = []
    guarded.guard.on_outage.append(told.append)
    many = [resume(guarded, 1, Life.SILENT, f"m{index}")[0] for index in range(4)]
    guarded.guard.settle()
    live(guarded, clock, 2 * TIMEOUT)
    assert frozen(*many) == [True] * 4
    assert (told, guarded.guard.outages) == ([], 0), "that it began is no news"


def test_who_is_only_presumed_to_be_heard_makes_no_outage(
    guarded: Records, clock: FakeClock
) -> None:
    many = [put(guarded, f"vicuna-{index}", host=f"h{index}") for index in range(4)]
    for record in many:
        guarded.resume(record, Past(Life.HEARD, presumed=True), guarded.local)
    live(guarded, clock, TIMEOUT)
    assert [record.verdict.reason for record in many] == [Reason.HEARTBEAT_EXPIRED] * 4


def test_who_is_really_heard_takes_the_address_from_one_that_is_frozen(
    guarded: Records, clock: FakeClock
) -> None:
    many = crowd(guarded, 3)
    live(guarded, clock, TIMEOUT)
    new = put(guarded, "new", namespace="other", host="h0")
    guarded.beat(new)
    assert (many[0].verdict.reason, new.verdict.ready) == (Reason.ADDRESS_CONFLICT, True)


def test_a_fall_that_was_not_silence_is_not_excused(guarded: Records, clock: FakeClock) -> None:
    guarded.probations.settings = Hysteresis()
    many = crowd(guarded, 3)
    for _ in range(3):
        guarded.beat(many[0])
        guarded.beat(many[0], failure="the engine is gone")
    assert many[0].verdict.reason is Reason.FLAPPING
    live(guarded, clock, TIMEOUT)
    assert many[0].verdict.reason is Reason.FLAPPING
    assert len(many[0].falls or ()) == 3


# -- whatever happens ----------------------------------------------------------------------------


@dataclass
class Seen:
    """What the guard must answer for, worked out without it."""

    since: dict[Record, int] = field(default_factory=dict)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["beat", "pass", "drain", "undrain", "remove", "put"]), st.integers(0, 7)
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_counts_are_those_of_the_records_and_nobody_is_frozen_for_too_long(
    steps: list[tuple[str, int]],
) -> None:
    clock = FakeClock()
    records = Records(TIMEOUT, clock=clock)
    records.guard.settings = SETTINGS
    crowd(records, 8)
    seen = Seen()
    for what, which in steps:
        record = next((r for r in records if r.key.name == f"vicuna-{which}"), None)
        if what == "put" and record is None:
            put(records, f"vicuna-{which}", host=f"h{which}")
        elif what == "pass":
            for _ in range(4):
                live(records, clock, 1)
                for each in records:
                    seen.since[each] = seen.since.get(each, 0) + 1 if each.frozen else 0
        elif record is not None and what == "beat":
            records.beat(record)
        elif record is not None and what == "remove":
            records.remove(record.key)
        elif record is not None and what in {"drain", "undrain"}:
            records.set_drained(record, drained=what == "drain")
        for each in records:
            assert each.frozen <= (each.life is Life.SILENT and not each.drained)
            assert (each.verdict.phase is Phase.DEGRADED) == each.frozen
        assert records.guard.frozen == sum(each.frozen for each in records)
        assert records.guard.frozen in {0, *range(1, 9)}
        assert all(seconds <= LIMIT for seconds in seen.since.values())
