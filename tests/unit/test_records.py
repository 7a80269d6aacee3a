from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, Incarnation, InstanceSpec, Rotation
from modelinstance.registry.records.census import Totals
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import Timeline
from unit.builders import TIMEOUT, key, live, put, spec
from unit.clock import START, FakeClock


def heard(records: Records, name: str = "vicuna-0", created: float = 0.0) -> Record:
    """A record at the usual address that was heard from just now."""
    record = put(records, name, created=created)
    records.beat(record)
    return record


def reasons(*records: Record) -> list[Reason]:
    return [record.verdict.reason for record in records]


# -- life ----------------------------------------------------------------------------------------


def test_being_put_is_no_sign_of_life(records: Records) -> None:
    record = put(records)
    assert (record.verdict.phase, record.alive) == (Phase.STARTING, False)
    assert record.last_beat is None


def test_a_beat_makes_healthy(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    assert (record.verdict.phase, record.alive) == (Phase.HEALTHY, True)
    assert record.last_beat == START
    assert record.last_beat_monotonic == clock.monotonic()


def test_silence_makes_unhealthy_at_the_timeout(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    live(records, clock, TIMEOUT - 0.5)
    assert record.verdict.ready
    live(records, clock, 0.5)
    assert reasons(record) == [Reason.HEARTBEAT_EXPIRED]
    assert records.expiries == 1


def test_a_beat_puts_off_the_expiry(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    for _ in range(5):
        live(records, clock, TIMEOUT - 1)
        records.beat(record)
    assert record.verdict.ready
    assert records.expiries == 0


def test_a_beat_revives(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    live(records, clock, TIMEOUT)
    records.beat(record)
    assert record.verdict.ready


def test_a_selection_finds_out_by_itself_who_is_silent(records: Records, clock: FakeClock) -> None:
    heard(records)
    for _ in range(int(TIMEOUT)):
        clock.advance(1.0)
        records.attend()
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")


def test_a_process_that_was_stopped_holds_it_against_nobody(
    records: Records, clock: FakeClock
) -> None:
    record = heard(records)
    clock.advance(3600.0)
    records.expire()
    assert record.verdict.ready
    live(records, clock, TIMEOUT - 1.5)
    assert record.verdict.ready
    live(records, clock, 0.5)
    assert not record.verdict.ready


@pytest.mark.parametrize("seconds", [-86_400.0, 86_400.0])
def test_the_time_of_day_decides_nothing(
    records: Records, clock: FakeClock, seconds: float
) -> None:
    record = heard(records)
    clock.jump_wall(seconds)
    live(records, clock, TIMEOUT - 0.5)
    assert record.verdict.ready
    live(records, clock, 0.5)
    assert not record.verdict.ready


def test_a_timeout_of_the_spec_comes_before_the_default(records: Records, clock: FakeClock) -> None:
    record = put(records, heartbeat_timeout=3.0)
    records.beat(record)
    live(records, clock, 3.0)
    assert record.verdict.reason is Reason.HEARTBEAT_EXPIRED
    assert "3 s" in record.verdict.message


def test_an_edited_timeout_counts_from_the_last_beat(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    live(records, clock, 4.0)
    put(records, heartbeat_timeout=5.0)
    assert record.verdict.ready
    live(records, clock, 1.0)
    assert not record.verdict.ready


def test_a_longer_timeout_gives_more_time(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    put(records, heartbeat_timeout=2 * TIMEOUT)
    live(records, clock, 2 * TIMEOUT - 1)
    assert record.verdict.ready
    live(records, clock, 1.0)
    assert not record.verdict.ready


def test_another_default_holds_for_those_without_a_timeout_of_their_own(
    records: Records, clock: FakeClock
) -> None:
    plain = put(records, "plain", port=1)
    own = put(records, "own", port=2, heartbeat_timeout=TIMEOUT)
    records.beat(plain)
    records.beat(own)
    live(records, clock, 2.0)
    records.set_default_timeout(3.0)
    live(records, clock, 1.0)
    assert (plain.verdict.ready, own.verdict.ready) == (False, True)


def test_the_message_tells_the_timeout_in_force(records: Records, clock: FakeClock) -> None:
    record = heard(records)
    records.set_default_timeout(20.0)
    live(records, clock, 20.0)
    assert "20 s" in record.verdict.message


def test_without_required_heartbeats_silence_changes_nothing(
    records: Records, clock: FakeClock
) -> None:
    record = put(records, heartbeat_required=False)
    assert reasons(record) == [Reason.HEARTBEAT_NOT_REQUIRED]
    records.beat(record)
    live(records, clock, 3 * TIMEOUT)
    assert reasons(record) == [Reason.HEARTBEAT_NOT_REQUIRED]
    assert record.verdict.ready


def test_a_beat_expires_on_the_timeline_of_its_channel(records: Records, clock: FakeClock) -> None:
    other: Timeline[Record] = Timeline()
    record = put(records)
    records.beat(record, other)
    live(records, clock, 3 * TIMEOUT)
    assert record.verdict.ready
    other.now += TIMEOUT
    records.expire_on(other)
    assert not record.verdict.ready


# -- incarnations and edits ----------------------------------------------------------------------


@pytest.mark.parametrize("change", ["host", "port", "model_name"])
def test_an_edited_address_is_a_new_incarnation(
    records: Records, clock: FakeClock, change: str
) -> None:
    edited = {
        "host": spec(host="10.0.0.6"),
        "port": spec(port=9000),
        "model_name": spec(model_name="llama"),
    }[change]
    record = heard(records)
    records.set_by_caller(record, healthy=True)
    again = records.put(record.key, record.uid, edited, created=0.0)
    assert again is record
    assert reasons(record) == [Reason.AWAITING_FIRST_HEARTBEAT]
    assert (record.last_beat, record.last_beat_monotonic) == (None, None)
    live(records, clock, 2 * TIMEOUT)
    assert reasons(record) == [Reason.AWAITING_FIRST_HEARTBEAT]


def test_an_edited_address_ends_a_deregistration(records: Records) -> None:
    record = heard(records)
    records.set_deregistered(record, deregistered=True)
    put(records, port=9000)
    assert reasons(record) == [Reason.AWAITING_FIRST_HEARTBEAT]


def test_a_new_uid_is_a_new_incarnation(records: Records) -> None:
    before = heard(records)
    after = put(records, uid="another")
    assert after is not before
    assert reasons(after) == [Reason.AWAITING_FIRST_HEARTBEAT]
    assert records.get(key()) is after
    assert records.totals() == Totals(models=1, instances=1, healthy=0)


@pytest.mark.parametrize(
    "edited",
    [
        spec(weight=3.0),
        spec(aliases=frozenset({"chat"})),
        spec(scheme="https", base_path="/v1"),
        spec(heartbeat_timeout=60.0),
    ],
)
def test_other_edits_keep_the_life(records: Records, edited: InstanceSpec) -> None:
    record = heard(records)
    records.put(record.key, record.uid, edited, created=0.0)
    assert record.verdict.ready
    assert record.spec == edited


def test_labels_are_those_of_the_latest_state(records: Records) -> None:
    record = records.put(key(), "u", spec(), created=0.0, labels={"a": "1"})
    records.put(key(), "u", spec(), created=0.0, labels={"b": "2"})
    assert record.labels == {"b": "2"}


def test_what_is_being_deleted_is_not_selected(records: Records) -> None:
    record = heard(records)
    put(records, deleting=True)
    assert (record.verdict.phase, record.verdict.ready) == (Phase.TERMINATING, False)


@pytest.mark.parametrize("rotation", [Rotation.DRAINING, Rotation.DISABLED])
def test_taken_out_of_rotation_it_is_alive_and_not_selected_and_comes_back(
    records: Records, rotation: Rotation
) -> None:
    record = heard(records)
    put(records, rotation=rotation)
    assert (record.verdict.ready, record.alive) == (False, True)
    put(records)
    assert record.verdict.ready


def test_since_is_when_readiness_changed(records: Records, clock: FakeClock) -> None:
    record = put(records)
    live(records, clock, 2.0)
    records.beat(record)
    assert record.since == START + timedelta(seconds=2)
    live(records, clock, 2.0)
    records.beat(record)
    put(records, weight=2.0)
    assert record.since == START + timedelta(seconds=2)
    put(records, rotation=Rotation.DRAINING)
    live(records, clock, 1.0)
    put(records, rotation=Rotation.DISABLED)
    assert record.since == START + timedelta(seconds=4)


# -- callers and deregistration ------------------------------------------------------------------


@pytest.mark.parametrize("healthy", [True, False])
def test_what_a_caller_set_holds_until_the_next_beat(records: Records, healthy: bool) -> None:
    record = put(records)
    records.set_by_caller(record, healthy=healthy)
    assert reasons(record) == [Reason.SET_BY_CALLER]
    assert record.verdict.ready is healthy
    records.beat(record)
    assert reasons(record) == [Reason.HEARTBEAT_RECEIVED]


@pytest.mark.parametrize("healthy", [True, False])
def test_what_a_caller_set_holds_until_expiry(
    records: Records, clock: FakeClock, healthy: bool
) -> None:
    record = heard(records)
    live(records, clock, 4.0)
    records.set_by_caller(record, healthy=healthy)
    live(records, clock, 5.0)
    assert reasons(record) == [Reason.SET_BY_CALLER]
    live(records, clock, 1.0)
    assert reasons(record) == [Reason.HEARTBEAT_EXPIRED]


def test_a_silent_one_that_a_caller_set_healthy_gets_one_timeout(
    records: Records, clock: FakeClock
) -> None:
    record = heard(records)
    live(records, clock, TIMEOUT)
    records.set_by_caller(record, healthy=True)
    live(records, clock, TIMEOUT - 1)
    assert record.verdict.ready
    live(records, clock, 1.0)
    assert reasons(record) == [Reason.HEARTBEAT_EXPIRED]


def test_a_deregistered_one_stays_so_whatever_is_heard(records: Records) -> None:
    record = heard(records)
    records.set_deregistered(record, deregistered=True)
    records.beat(record)
    records.set_by_caller(record, healthy=True)
    assert reasons(record) == [Reason.DEREGISTERED]
    records.set_deregistered(record, deregistered=False)
    assert record.verdict.ready


# -- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "reason"),
    [
        (Life.HEARD, Reason.HEARTBEAT_RECEIVED),
        (Life.SILENT, Reason.HEARTBEAT_EXPIRED),
        (Life.UNHEARD, Reason.AWAITING_FIRST_HEARTBEAT),
    ],
)
def test_a_record_is_taken_up_where_it_was_left(
    records: Records, life: Life, reason: Reason
) -> None:
    record = put(records)
    records.resume(record, Past(life, START), records.local)
    assert reasons(record) == [reason]
    assert record.last_beat == START


def test_a_resumed_one_has_a_full_timeout_to_be_heard(records: Records, clock: FakeClock) -> None:
    live(records, clock, 100.0)
    record = put(records)
    records.resume(record, Past(Life.HEARD, START), records.local)
    live(records, clock, TIMEOUT - 0.5)
    assert record.verdict.ready
    live(records, clock, 0.5)
    assert not record.verdict.ready


# -- conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("old", "young"), ("young", "old")])
def test_among_equals_the_older_holds_the_address(records: Records, order: Sequence[str]) -> None:
    created = {"old": 1.0, "young": 2.0}
    for name in order:
        heard(records, name, created=created[name])
    assert records.at(spec().address) is records.get(key("old"))
    young = records.get(key("young"))
    assert young is not None
    assert reasons(young) == [Reason.ADDRESS_CONFLICT]
    assert records.totals() == Totals(models=1, instances=2, healthy=1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_one_age_the_first_by_namespace_and_name_holds(
    records: Records, order: tuple[int, ...]
) -> None:
    names = [("a", "z"), ("b", "a"), ("b", "b")]
    for position in order:
        namespace, name = names[position]
        records.beat(put(records, name, namespace=namespace))
    holder = records.at(spec().address)
    assert holder is not None
    assert str(holder.key) == "a/z"


def test_the_one_heard_from_holds_against_an_older_one_that_is_not(records: Records) -> None:
    old = put(records, "old", created=1.0)
    young = heard(records, "young", created=2.0)
    assert reasons(old, young) == [Reason.ADDRESS_CONFLICT, Reason.HEARTBEAT_RECEIVED]


def test_the_older_takes_over_as_soon_as_it_is_heard(records: Records) -> None:
    old = put(records, "old", created=1.0)
    young = heard(records, "young", created=2.0)
    records.beat(old)
    assert reasons(old, young) == [Reason.HEARTBEAT_RECEIVED, Reason.ADDRESS_CONFLICT]


def test_one_heard_from_holds_against_one_taken_at_its_word(records: Records) -> None:
    word = put(records, "word", created=1.0, heartbeat_required=False)
    assert word.verdict.ready
    young = heard(records, "young", created=2.0)
    assert reasons(word, young) == [Reason.ADDRESS_CONFLICT, Reason.HEARTBEAT_RECEIVED]


def test_one_taken_at_its_word_holds_against_one_not_heard_from(records: Records) -> None:
    quiet = put(records, "quiet", created=1.0)
    word = put(records, "word", created=2.0, heartbeat_required=False)
    assert reasons(quiet, word) == [Reason.ADDRESS_CONFLICT, Reason.HEARTBEAT_NOT_REQUIRED]


def test_two_that_are_not_heard_from_are_in_conflict_too(records: Records) -> None:
    old, young = put(records, "old", created=1.0), put(records, "young", created=2.0)
    assert reasons(old, young) == [Reason.AWAITING_FIRST_HEARTBEAT, Reason.ADDRESS_CONFLICT]


def test_a_loser_takes_over_when_the_holder_falls_silent(
    records: Records, clock: FakeClock
) -> None:
    old, young = heard(records, "old", 1.0), heard(records, "young", 2.0)
    live(records, clock, TIMEOUT - 1)
    records.beat(young)
    assert not young.verdict.ready
    live(records, clock, 1.0)
    assert reasons(old, young) == [Reason.ADDRESS_CONFLICT, Reason.HEARTBEAT_RECEIVED]


@pytest.mark.parametrize("end", ["remove", "drain", "disable", "delete", "deregister", "move"])
def test_a_loser_takes_over_at_once_when_the_holder_lets_go(records: Records, end: str) -> None:
    old, young = heard(records, "old", 1.0), heard(records, "young", 2.0)
    match end:
        case "remove":
            records.remove(old.key)
        case "drain":
            put(records, "old", created=1.0, rotation=Rotation.DRAINING)
        case "disable":
            put(records, "old", created=1.0, rotation=Rotation.DISABLED)
        case "delete":
            put(records, "old", created=1.0, deleting=True)
        case "deregister":
            records.set_deregistered(old, deregistered=True)
        case _:
            put(records, "old", created=1.0, port=9000)
    assert young.verdict.ready
    assert records.select("vicuna") is young


def test_the_same_port_of_another_model_is_no_conflict(records: Records) -> None:
    one = heard(records, "one")
    other = put(records, "other", model_name="llama")
    records.beat(other)
    assert one.verdict.ready
    assert other.verdict.ready


# -- indexes, totals and listeners ---------------------------------------------------------------


def test_an_instance_is_found_by_model_and_alias(records: Records) -> None:
    record = put(records, aliases=frozenset({"chat", "vicuna-13b"}))
    records.beat(record)
    for name in ("vicuna", "chat", "vicuna-13b"):
        assert records.select(name) is record
        assert list(records.named(name)) == [record]
    assert records.has_model("vicuna")
    assert not records.has_model("chat")
    assert list(records.models()) == ["vicuna"]


def test_an_alias_that_was_taken_away_finds_nothing(records: Records) -> None:
    records.beat(put(records, aliases=frozenset({"chat"})))
    put(records)
    assert list(records.named("chat")) == []
    with pytest.raises(NoHealthyInstanceError):
        records.select("chat")


def test_nothing_is_left_of_a_removed_record(records: Records, clock: FakeClock) -> None:
    record = put(records, aliases=frozenset({"chat"}))
    records.beat(record)
    assert records.remove(record.key) is record
    assert records.remove(record.key) is None
    assert (len(records), list(records), list(records.models())) == (0, [], [])
    assert records.at(record.spec.address) is None
    assert records.totals() == Totals(0, 0, 0)
    assert records.phases() == {}
    live(records, clock, 2 * TIMEOUT)
    assert records.expiries == 0
    assert (len(records._index), records.near("vicuna")) == (0, [])


def test_reading_an_unknown_name_adds_nothing(records: Records) -> None:
    assert list(records.named("nobody")) == []
    with pytest.raises(NoHealthyInstanceError):
        records.select("nobody")
    assert not records.has_model("nobody")
    assert records.totals().models == 0
    assert len(records._index) == 0


def test_the_error_tells_the_name_and_how_many_there_are(records: Records) -> None:
    put(records, "a", port=1)
    put(records, "b", port=2)
    with pytest.raises(NoHealthyInstanceError, match="'vicuna': 2 registered") as caught:
        records.select("vicuna")
    assert (caught.value.model_name, caught.value.listed) == ("vicuna", 2)
    with pytest.raises(NoHealthyInstanceError, match="'nobody': no instance"):
        records.select("nobody")


def test_a_weight_that_becomes_zero_counts_at_once(records: Records) -> None:
    record = heard(records)
    assert records.select("vicuna") is record
    put(records, weight=0.0)
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")
    assert record.verdict.ready


def test_the_choice_is_that_of_the_given_random_numbers(clock: FakeClock) -> None:
    def choices(seed: int) -> list[str]:
        records = Records(TIMEOUT, clock=clock, random=Random(seed))
        for port in range(1, 9):
            records.beat(put(records, str(port), port=port))
        return [records.select("vicuna").key.name for _ in range(20)]

    assert choices(7) == choices(7)
    assert choices(7) != choices(8)


def test_the_listener_hears_of_each_change_of_a_verdict_and_of_nothing_else(
    records: Records, clock: FakeClock
) -> None:
    changes: list[tuple[str, Phase]] = []
    records.on_verdict(lambda record: changes.append((record.key.name, record.verdict.phase)))
    record = heard(records)
    records.beat(record)
    put(records, weight=2.0)
    live(records, clock, TIMEOUT)
    records.remove(record.key)
    assert changes == [("vicuna-0", Phase.HEALTHY), ("vicuna-0", Phase.UNHEALTHY)]


def test_what_may_be_picked_anew_is_offered(records: Records, clock: FakeClock) -> None:
    offers: list[str] = []
    records.on_offer(lambda record: offers.append(record.key.name))

    def offered() -> bool:
        heard_of = bool(offers)
        offers.clear()
        return heard_of

    record = put(records)
    assert not offered()
    records.beat(record)
    assert offered()
    records.beat(record)
    put(records)
    assert not offered()
    put(records, weight=2.0)
    assert offered()
    put(records, weight=2.0, labels={"tier": "gold"})
    assert offered()
    live(records, clock, TIMEOUT)
    put(records, labels={"tier": "silver"})
    records.remove(record.key)
    assert not offered()


def test_the_listener_hears_of_all_whom_a_conflict_touches(records: Records) -> None:
    young = heard(records, "young", 2.0)
    changed: list[Record] = []
    records.on_verdict(changed.append)
    old = heard(records, "old", 1.0)
    assert changed[-2:] == [young, old] or changed[-2:] == [old, young]


def test_a_change_of_what_is_shown_is_told_and_nothing_else_is(
    records: Records, clock: FakeClock
) -> None:
    told: list[Record] = []
    records.on_change(told.append)

    def news() -> list[Record]:
        heard_of = list(dict.fromkeys(told))
        told.clear()
        return heard_of

    record = put(records)
    assert news() == [record]
    put(records)
    assert news() == []
    records.beat(record)
    assert news() == [record]
    records.beat(record)
    assert news() == []
    put(records, weight=2.0)
    assert news() == [record]
    put(records, weight=2.0, labels={"tier": "gold"})
    assert news() == [record]
    live(records, clock, TIMEOUT)
    assert news() == [record]
    successor = put(records, uid="another")
    assert news() == [record, successor]
    records.remove(successor.key)
    assert news() == [successor]


def test_whoever_hears_of_a_removal_does_not_find_the_record_any_more(records: Records) -> None:
    record = heard(records)
    found: list[Record | None] = []
    records.on_change(lambda gone: found.append(records.get(gone.key)))
    records.remove(record.key)
    assert found == [None]


def test_an_adoption_is_told_as_the_record_has_another_id(records: Records) -> None:
    record = put(records, uid=NO_UID)
    told: list[str] = []
    records.on_change(lambda changed: told.append(changed.id))
    records.adopt(record, "uid", 0.0)
    assert told == [Incarnation("uid", spec().address).id]


def test_the_revision_tells_whether_an_answer_is_still_good(
    records: Records, clock: FakeClock
) -> None:
    revisions = [records.revision]
    record = put(records)
    revisions.append(records.revision)
    records.beat(record)
    revisions.append(records.revision)
    live(records, clock, TIMEOUT)
    revisions.append(records.revision)
    records.remove(record.key)
    revisions.append(records.revision)
    assert revisions == sorted(set(revisions))


def test_a_beat_of_a_healthy_one_is_no_new_revision(records: Records) -> None:
    record = heard(records)
    before = records.revision
    records.beat(record)
    assert records.revision == before


def test_an_edited_weight_is_a_new_revision(records: Records) -> None:
    heard(records)
    before = records.revision
    put(records, weight=3.0)
    assert records.revision > before


def test_records_may_change_while_they_are_read(records: Records) -> None:
    put(records, "a", port=1)
    put(records, "b", port=2)
    for record in records:
        records.remove(record.key)
    assert len(records) == 0
