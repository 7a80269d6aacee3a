"""What workers say over HTTP, and that what comes late changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.observed import Observed, Reported
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import (
    NO_UID,
    Incarnation,
    InstanceKey,
    InstanceSpec,
    Rotation,
)
from modelinstance.registry.intake import workers as module
from modelinstance.registry.intake.registrations import Registration
from modelinstance.registry.intake.workers import RETRY_SECONDS, BeatResult, Leftovers, Workers
from modelinstance.registry.load import Load
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import SPARE_ENTRIES
from unit.builders import (
    TIMEOUT,
    accept,
    live,
    lose_sight,
    observed,
    phase_of,
    put,
    reported,
    spec,
    sync,
    written,
)
from unit.clock import START, FakeClock
from unit.costs import calls_of

RUN = 1
REGISTRATION = Registration("prod", spec())


def early_id(registration: Registration) -> str:
    """The id that a worker is answered with while there is no resource."""
    return Workers(Records(TIMEOUT, clock=FakeClock())).enter(registration, NO_UID).id


EARLY = early_id(REGISTRATION)

ACCEPTED, UNKNOWN, DEREGISTERED = BeatResult


@pytest.fixture
def workers(records: Records) -> Workers:
    return Workers(records)


@pytest.fixture
def mirror(records: Records) -> Mirror:
    """A mirror that has seen an empty cluster at version 0, with a watch running."""
    mirror = Mirror(records)
    sync(mirror, version=0)
    mirror.watch_started(RUN)
    return mirror


def enrol(workers: Workers, registration: Registration = REGISTRATION, uid: str = "uid") -> Record:
    """A worker registers where there are no resources."""
    record = workers.enter(registration, uid)
    workers.arrive(record, registration.load)
    return record


def hold(workers: Workers, registration: Registration = REGISTRATION) -> Record:
    """A worker registers while its resource cannot be written."""
    return enrol(workers, registration, NO_UID)


def known_of(record: Record) -> list[object]:
    """All that a call could change."""
    return [
        record.id, record.uid, record.life, record.verdict, record.last_beat,
        record.last_beat_monotonic, record.deadline, record.load, record.deregistered,
        record.drained,
    ]  # fmt: skip


# -- which record a worker is --------------------------------------------------------------------


def test_a_worker_that_nobody_knows_is_new(records: Records, workers: Workers) -> None:
    put(records, port=9000)
    assert workers.find(REGISTRATION) is None


@pytest.mark.parametrize("state", ["starting", "healthy", "deregistered", "drained", "disabled"])
def test_a_worker_is_the_instance_at_its_address_in_whatever_state(
    records: Records, workers: Workers, state: str
) -> None:
    record = put(records, rotation=Rotation.DISABLED if state == "disabled" else Rotation.ACTIVE)
    if state == "healthy":
        records.beat(record)
    records.set_deregistered(record, deregistered=state == "deregistered")
    records.set_drained(record, drained=state == "drained")
    assert workers.find(REGISTRATION) is record


@pytest.mark.parametrize("own_first", [True, False])
def test_an_instance_with_a_resource_comes_before_one_that_is_held(
    records: Records, workers: Workers, own_first: bool
) -> None:
    if own_first:
        hold(workers)
    owned = put(records)
    if not own_first:
        hold(workers)
    assert workers.find(REGISTRATION) is owned


@pytest.mark.parametrize("own_first", [True, False])
def test_the_instance_of_the_registrations_own_name_comes_first(
    records: Records, workers: Workers, own_first: bool
) -> None:
    own, owned = REGISTRATION.key.name, "a"
    for name in (own, owned) if own_first else (owned, own):
        records.beat(put(records, name))
    found = workers.find(REGISTRATION)
    assert found is not None
    assert found.key == REGISTRATION.key


def test_an_instance_of_another_namespace_is_another_worker(
    records: Records, workers: Workers
) -> None:
    records.beat(put(records, namespace="test"))
    assert workers.find(REGISTRATION) is None


@pytest.mark.parametrize("name", ["vicuna-0", REGISTRATION.key.name])
def test_an_instance_that_is_being_deleted_is_not_the_worker(
    records: Records, workers: Workers, name: str
) -> None:
    put(records, name, deleting=True)
    assert workers.find(REGISTRATION) is None
    staying = put(records, "staying")
    assert workers.find(REGISTRATION) is staying


# -- registering ---------------------------------------------------------------------------------


def test_what_is_entered_is_as_registered_and_not_yet_heard(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    clock.advance(5.0)
    registration = Registration("prod", spec(weight=2.0), labels={"tier": "gold"})
    record = workers.enter(registration, "uid")
    assert records.get(registration.key) is record
    assert (record.uid, record.spec, record.labels) == (
        "uid", registration.spec, registration.all_labels,
    )  # fmt: skip
    assert record.created == START.timestamp() + 5.0
    assert record.verdict.phase is Phase.STARTING


def test_who_registers_is_heard(records: Records, workers: Workers, clock: FakeClock) -> None:
    record = enrol(workers)
    assert records.select("vicuna") is record
    live(records, clock, TIMEOUT - 0.5)
    assert record.verdict.ready
    live(records, clock, 0.5)
    assert record.verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_a_changed_registration_changes_the_instance_and_keeps_its_life(
    workers: Workers, clock: FakeClock
) -> None:
    record = enrol(workers)
    clock.advance(5.0)
    changed = replace(REGISTRATION, spec=spec(weight=3.0), labels={"tier": "gold"})
    assert workers.enter(changed, "uid") is record
    assert (record.spec.weight, record.labels["tier"]) == (3.0, "gold")
    assert record.created == START.timestamp()
    assert record.verdict.ready


def test_registering_again_revives_what_was_deregistered(workers: Workers) -> None:
    record = enrol(workers)
    workers.deregister(record)
    workers.arrive(record)
    assert (record.deregistered, record.verdict.ready) == (False, True)


def test_registering_again_revives_what_was_silent(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    record = enrol(workers)
    live(records, clock, TIMEOUT)
    workers.arrive(record)
    assert record.verdict.ready


def test_registering_again_takes_a_drain_back(workers: Workers) -> None:
    record = enrol(workers)
    workers.drain(record, drained=True)
    workers.arrive(record)
    assert (record.drained, record.verdict.ready) == (False, True)


def test_registering_again_takes_both_back(workers: Workers) -> None:
    record = enrol(workers)
    workers.drain(record, drained=True)
    workers.deregister(record)
    workers.arrive(record)
    assert record.verdict.reason is Reason.HEARTBEAT_RECEIVED


@pytest.mark.parametrize("rotation", [Rotation.DRAINING, Rotation.DISABLED])
def test_registering_does_not_change_what_the_owner_says(
    records: Records, workers: Workers, rotation: Rotation
) -> None:
    record = put(records, rotation=rotation)
    workers.arrive(record)
    assert record.alive
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")


def test_a_registration_brings_a_load_and_without_one_the_last_stays(workers: Workers) -> None:
    record = enrol(workers, replace(REGISTRATION, load=Load(running=3)))
    assert record.load == Load(running=3)
    workers.arrive(record)
    assert record.load == Load(running=3)


# -- beats ---------------------------------------------------------------------------------------


def test_a_beat_makes_healthy_and_puts_off_the_expiry(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    record = put(records)
    for _ in range(5):
        assert workers.beat(record.id) is ACCEPTED
        live(records, clock, TIMEOUT - 1)
        assert record.verdict.ready
    live(records, clock, 1.0)
    assert not record.verdict.ready
    assert workers.beat(record.id) is ACCEPTED
    assert record.verdict.ready


def test_a_beat_brings_a_load(records: Records, workers: Workers) -> None:
    record = put(records)
    workers.beat(record.id, Load(running=2))
    assert record.load == Load(running=2)
    workers.beat(record.id)
    assert record.load == Load(running=2)


def test_beats_are_counted_by_what_they_amount_to(records: Records, workers: Workers) -> None:
    record, gone = put(records), put(records, "gone", port=9000)
    records.remove(gone.key)
    workers.beat(record.id)
    workers.beat(record.id)
    workers.deregister(record)
    workers.beat(record.id)
    workers.beat(gone.id)
    workers.beat("0123456789abcdef")
    assert workers.beats == {ACCEPTED: 2, DEREGISTERED: 1, UNKNOWN: 2}


def test_a_beat_after_the_goodbye_changes_nothing(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    record = enrol(workers)
    workers.deregister(record)
    before = known_of(record)
    clock.advance(0.5)
    assert workers.beat(record.id, Load(running=9)) is DEREGISTERED
    assert known_of(record) == before
    assert record.verdict.reason is Reason.DEREGISTERED


def test_a_beat_of_what_is_being_deleted_changes_nothing(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    record = put(records)
    records.beat(record)
    put(records, deleting=True)
    before = known_of(record)
    clock.advance(0.5)
    assert workers.beat(record.id, Load(running=9)) is UNKNOWN
    assert known_of(record) == before


def test_a_beat_of_what_is_drained_keeps_it_alive_and_drained(
    records: Records, workers: Workers, clock: FakeClock
) -> None:
    record = enrol(workers)
    workers.drain(record, drained=True)
    live(records, clock, TIMEOUT - 1)
    assert workers.beat(record.id) is ACCEPTED
    live(records, clock, TIMEOUT - 1)
    assert record.verdict.reason is Reason.DRAIN_REQUESTED
    workers.drain(record, drained=False)
    assert record.verdict.ready


def replace_by_a_new_uid(records: Records) -> None:
    put(records, uid="another")


def delete_and_make_anew(records: Records) -> None:
    records.remove(put(records).key)
    put(records, uid="another")


def move(records: Records) -> None:
    put(records, port=9000)


def move_and_make_another(records: Records) -> None:
    put(records, port=9000)
    put(records, "successor")


@pytest.mark.parametrize(
    "end", [replace_by_a_new_uid, delete_and_make_anew, move, move_and_make_another]
)
@pytest.mark.parametrize("heard", [False, True])
def test_a_beat_of_an_earlier_incarnation_changes_nothing(
    records: Records,
    workers: Workers,
    clock: FakeClock,
    end: Callable[[Records], None],
    heard: bool,
) -> None:
    late = enrol(workers, uid="gone").id
    records.remove(REGISTRATION.key)
    late_too = put(records).id
    workers.beat(late_too)
    end(records)
    if heard:
        for record in records:
            records.beat(record)
    before = [known_of(record) for record in records]
    clock.advance(0.5)
    for known in (late, late_too):
        assert workers.beat(known, Load(running=9)) is UNKNOWN
    assert [known_of(record) for record in records] == before


def test_a_beat_of_a_removed_one_makes_no_record(records: Records, workers: Workers) -> None:
    record = enrol(workers)
    records.remove(record.key)
    assert workers.beat(record.id) is UNKNOWN
    assert (len(records), len(records._index)) == (0, 0)


def test_who_beats_over_http_expires_also_while_the_api_server_is_away(
    mirror: Mirror, workers: Workers, clock: FakeClock
) -> None:
    mirror.changed(observed(), run=RUN)
    mirror.changed(observed("other", 2, heartbeat="t1", spec=spec(port=1)), run=RUN)
    workers.beat(Incarnation("uid-of-vicuna-0", spec().address).id)
    mirror.fail_list(mirror.begin_list(""), "refused")
    lose_sight(mirror, clock, TIMEOUT - 1)
    assert phase_of(mirror) is Phase.HEALTHY
    lose_sight(mirror, clock, 1.0)
    assert phase_of(mirror) is Phase.UNHEALTHY
    assert phase_of(mirror, "other") is Phase.HEALTHY


def test_of_both_channels_the_one_that_was_heard_last_decides(
    mirror: Mirror, workers: Workers, clock: FakeClock
) -> None:
    known = Incarnation("uid-of-vicuna-0", spec().address).id
    mirror.changed(observed(), run=RUN)
    workers.beat(known)
    mirror.changed(observed(version=2, heartbeat="t1"), run=RUN)
    lose_sight(mirror, clock, 3 * TIMEOUT)
    assert phase_of(mirror) is Phase.HEALTHY
    workers.beat(known)
    lose_sight(mirror, clock, TIMEOUT)
    assert phase_of(mirror) is Phase.UNHEALTHY


@pytest.mark.parametrize("goodbye", [True, False])
def test_an_annotation_does_not_revive_what_was_deregistered(
    mirror: Mirror, workers: Workers, clock: FakeClock, goodbye: bool
) -> None:
    mirror.changed(observed(heartbeat="t1"), run=RUN)
    record = next(iter(mirror.records))
    if goodbye:
        workers.deregister(record)
    before = record.last_beat_monotonic, record.deadline
    clock.advance(0.5)
    mirror.changed(observed(version=2, heartbeat="t2"), run=RUN)
    assert record.verdict.ready is not goodbye
    assert ((record.last_beat_monotonic, record.deadline) == before) is goodbye


# -- from memory into a resource -----------------------------------------------------------------


def show_by_event(mirror: Mirror, shown: Observed) -> None:
    mirror.changed(shown, run=RUN)


def show_by_list(mirror: Mirror, shown: Observed) -> None:
    sync(mirror, shown, version=shown.version)


def show_by_answer(mirror: Mirror, shown: Observed) -> None:
    mirror.answered(shown)


appearing = pytest.mark.parametrize("show", [show_by_event, show_by_list, show_by_answer])
Show = Callable[[Mirror, Observed], None]


@appearing
def test_what_was_held_becomes_the_record_of_its_resource(
    mirror: Mirror, workers: Workers, clock: FakeClock, show: Show
) -> None:
    record = hold(workers)
    assert record.id == EARLY
    lose_sight(mirror, clock, TIMEOUT - 1)
    show(mirror, written(REGISTRATION))
    assert mirror.records.get(REGISTRATION.key) is record
    assert record.incarnation == written(REGISTRATION).incarnation
    assert record.id == record.incarnation.id
    assert record.verdict.ready
    lose_sight(mirror, clock, 1.0)
    assert record.verdict.reason is Reason.HEARTBEAT_EXPIRED, "it was no new sign of life"


@appearing
def test_the_early_id_is_accepted_beside_that_of_the_resource(
    mirror: Mirror, workers: Workers, show: Show
) -> None:
    record = hold(workers)
    show(mirror, written(REGISTRATION))
    assert (workers.beat(EARLY), workers.beat(record.id)) == (ACCEPTED, ACCEPTED)
    assert workers.concerns(record, EARLY)
    assert workers.concerns(record, record.id)
    assert workers.late == 0


@appearing
@pytest.mark.parametrize(
    "status",
    [
        reported(Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED),
        reported(Phase.UNHEALTHY, Reason.DEREGISTERED, deregistered=True),
        reported(Phase.DRAINING, Reason.DRAIN_REQUESTED, drained=True),
    ],
    ids=lambda status: status.reason,
)
def test_a_status_from_before_it_registered_says_nothing(
    mirror: Mirror, workers: Workers, show: Show, status: Reported
) -> None:
    record = hold(workers)
    resource = written(REGISTRATION)
    show(mirror, replace(resource, reported=replace(status, incarnation=resource.incarnation)))
    assert record.verdict.ready


def test_what_was_said_meanwhile_stays(mirror: Mirror, workers: Workers) -> None:
    record = hold(workers, replace(REGISTRATION, load=Load(running=3)))
    workers.drain(record, drained=True)
    mirror.changed(written(REGISTRATION), run=RUN)
    assert record.verdict.reason is Reason.DRAIN_REQUESTED
    assert record.load == Load(running=3)
    (write,) = mirror.plan_writes(10)
    assert [condition.type.value for condition in write.conditions] == ["Ready", "Draining"]


def test_what_fell_silent_while_it_was_held_stays_so(
    mirror: Mirror, workers: Workers, clock: FakeClock
) -> None:
    record = hold(workers)
    lose_sight(mirror, clock, TIMEOUT)
    mirror.changed(written(REGISTRATION), run=RUN)
    assert record.verdict.reason is Reason.HEARTBEAT_EXPIRED


def test_what_the_resource_says_otherwise_counts(mirror: Mirror, workers: Workers) -> None:
    record = hold(workers)
    resource = written(REGISTRATION, spec=spec(weight=5.0), labels={"tier": "gold"})
    mirror.changed(resource, run=RUN)
    assert (record.spec.weight, record.labels) == (5.0, {"tier": "gold"})
    assert record.verdict.ready


@pytest.mark.parametrize("moved", [spec(host="10.0.0.6"), spec(port=1), spec(model_name="m")])
def test_a_resource_of_that_name_at_another_address_is_not_the_worker(
    mirror: Mirror, workers: Workers, moved: InstanceSpec
) -> None:
    record = hold(workers)
    mirror.changed(written(REGISTRATION, spec=moved), run=RUN)
    found = mirror.records.get(REGISTRATION.key)
    assert found is not record
    assert found is not None
    assert found.verdict.phase is Phase.STARTING
    assert workers.beat(EARLY) is UNKNOWN
    assert found.life is Life.UNHEARD


def test_a_resource_of_another_name_at_its_address_is_another_instance(
    mirror: Mirror, workers: Workers
) -> None:
    record = hold(workers)
    mirror.changed(observed("owned"), run=RUN)
    assert record.uid == NO_UID
    assert workers.beat(EARLY) is ACCEPTED
    assert phase_of(mirror, "owned") is Phase.CONFLICTED


def test_a_second_resource_does_not_take_over_the_life_of_the_first(
    mirror: Mirror, workers: Workers
) -> None:
    hold(workers)
    mirror.changed(written(REGISTRATION), run=RUN)
    mirror.changed(written(REGISTRATION, 2, uid="another"), run=RUN)
    assert phase_of(mirror, REGISTRATION.key.name) is Phase.STARTING
    assert workers.beat(EARLY) is UNKNOWN


def delete(mirror: Mirror) -> None:
    mirror.deleted(REGISTRATION.key, written(REGISTRATION).uid, 2, run=RUN)


def lose_from_the_list(mirror: Mirror) -> None:
    sync(mirror, version=2)


def edit_its_address(mirror: Mirror) -> None:
    mirror.changed(written(REGISTRATION, 2, spec=spec(port=9000)), run=RUN)


def edit_its_address_and_back(mirror: Mirror) -> None:
    edit_its_address(mirror)
    mirror.changed(written(REGISTRATION, 3), run=RUN)


@pytest.mark.parametrize(
    "end", [delete, lose_from_the_list, edit_its_address, edit_its_address_and_back]
)
def test_the_early_id_ends_with_the_incarnation(
    mirror: Mirror, workers: Workers, end: Callable[[Mirror], None]
) -> None:
    hold(workers)
    mirror.changed(written(REGISTRATION), run=RUN)
    end(mirror)
    assert workers.beat(EARLY) is UNKNOWN
    for record in mirror.records:
        assert not workers.concerns(record, EARLY)
        assert record.life is Life.UNHEARD


def test_an_edit_that_is_no_move_keeps_the_early_id(mirror: Mirror, workers: Workers) -> None:
    record = hold(workers)
    mirror.changed(written(REGISTRATION), run=RUN)
    edited = spec(aliases=frozenset({"chat"}), weight=2.0)
    mirror.changed(written(REGISTRATION, 2, spec=edited), run=RUN)
    assert (workers.beat(EARLY), workers.beat(record.id)) == (ACCEPTED, ACCEPTED)


def test_the_age_is_that_of_the_resource_as_after_a_restart(
    mirror: Mirror, workers: Workers, clock: FakeClock
) -> None:
    hold(workers)
    clock.advance(1.0)
    owned = observed("owned", 1, created=START.timestamp() + 1.0, heartbeat="t1")
    resource = written(REGISTRATION, 2, created=START.timestamp() + 2.0)
    sync(mirror, owned, resource, version=2)
    assert phase_of(mirror, "owned") is Phase.HEALTHY
    assert phase_of(mirror, REGISTRATION.key.name) is Phase.CONFLICTED


def test_the_early_ids_of_two_namespaces_differ(workers: Workers) -> None:
    one, other = hold(workers), hold(workers, replace(REGISTRATION, namespace="test"))
    assert one.id != other.id
    workers.deregister(other)
    assert workers.beat(one.id) is ACCEPTED


# -- a beat that holds its registration ----------------------------------------------------------


def test_what_was_registered_early_may_return_after_a_restart(workers: Workers) -> None:
    assert workers.may_return(EARLY, REGISTRATION)


@pytest.mark.parametrize(
    "late",
    [
        Incarnation("uid", spec().address).id,
        early_id(Registration("prod", spec(port=9000))),
        early_id(Registration("prod", spec(model_name="llama"))),
    ],
    ids=["it had a resource", "another address", "another model"],
)
def test_no_other_id_may_return(workers: Workers, late: str) -> None:
    assert not workers.may_return(late, REGISTRATION)


def test_what_said_goodbye_while_it_was_held_may_not_return(
    records: Records, workers: Workers
) -> None:
    workers.deregister(hold(workers))
    assert len(records) == 0
    assert workers.beat(EARLY) is UNKNOWN
    assert not workers.may_return(EARLY, REGISTRATION)


@pytest.mark.parametrize(
    "end",
    [
        delete,
        lose_from_the_list,
        lambda mirror: mirror.changed(written(REGISTRATION, 2, uid="another"), run=RUN),
        edit_its_address,
    ],
    ids=["deleted", "missing", "replaced", "moved"],
)
def test_what_was_seen_to_end_may_not_return(
    mirror: Mirror, workers: Workers, end: Callable[[Mirror], None]
) -> None:
    hold(workers)
    mirror.changed(written(REGISTRATION), run=RUN)
    assert workers.beat(EARLY) is ACCEPTED
    end(mirror)
    assert workers.beat(EARLY) is UNKNOWN
    assert not workers.may_return(EARLY, REGISTRATION)


def test_what_was_replaced_while_it_was_held_may_not_return(
    mirror: Mirror, workers: Workers
) -> None:
    hold(workers)
    mirror.changed(written(REGISTRATION, spec=spec(port=9000)), run=RUN)
    assert not workers.may_return(EARLY, REGISTRATION)


@pytest.mark.parametrize("said", ["deregister", "drain"])
def test_what_was_told_to_go_before_a_restart_may_not_return(
    mirror: Mirror, workers: Workers, clock: FakeClock, said: str
) -> None:
    record = hold(workers)
    shown = written(REGISTRATION)
    mirror.changed(shown, run=RUN)
    if said == "drain":
        workers.drain(record, drained=True)
    else:
        workers.deregister(record)
    later = restarted(clock, settle(mirror, shown))
    assert not Workers(later.records).may_return(EARLY, REGISTRATION)


def test_who_registers_again_may_return_again(workers: Workers) -> None:
    workers.deregister(hold(workers))
    hold(workers)
    assert workers.beat(EARLY) is ACCEPTED
    assert workers.may_return(EARLY, REGISTRATION)


def test_the_end_of_an_instance_that_had_a_resource_concerns_no_early_id(
    records: Records, workers: Workers
) -> None:
    records.remove(put(records).key)
    assert workers.may_return(EARLY, REGISTRATION)


def test_the_latest_ends_are_remembered_and_no_more(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_ENDS", 3)
    registrations = [Registration("prod", spec(port=port)) for port in range(1, 6)]
    for registration in registrations:
        workers.deregister(hold(workers, registration))
    returning = [workers.may_return(early_id(each), each) for each in registrations]
    assert returning == [True, True, False, False, False]
    assert len(workers._ended) == 3


# -- goodbyes and drains -------------------------------------------------------------------------


def test_what_says_goodbye_stays_listed_and_is_not_picked(
    records: Records, workers: Workers
) -> None:
    record = enrol(workers)
    workers.deregister(record)
    assert records.get(record.key) is record
    assert record.verdict.reason is Reason.DEREGISTERED
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")


def test_what_was_not_registered_is_never_removed_by_a_goodbye(
    records: Records, workers: Workers
) -> None:
    plain = put(records, uid=NO_UID)
    workers.deregister(plain)
    assert records.get(plain.key) is plain


def test_a_drain_ends_the_picks_until_it_is_taken_back(records: Records, workers: Workers) -> None:
    record = enrol(workers)
    workers.drain(record, drained=True)
    assert (record.verdict.phase, record.alive) == (Phase.DRAINING, True)
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")
    workers.drain(record, drained=False)
    assert records.select("vicuna") is record


def test_a_goodbye_is_more_than_a_drain(workers: Workers) -> None:
    record = enrol(workers)
    workers.drain(record, drained=True)
    workers.deregister(record)
    assert record.verdict.reason is Reason.DEREGISTERED
    workers.drain(record, drained=False)
    assert record.verdict.reason is Reason.DEREGISTERED


@pytest.mark.parametrize("said", ["deregister", "drain"])
def test_who_goes_or_is_drained_leaves_the_address_to_another(
    records: Records, workers: Workers, said: str
) -> None:
    holder, loser = put(records, "holder", created=1.0), put(records, "loser", created=2.0)
    records.beat(holder)
    records.beat(loser)
    if said == "drain":
        workers.drain(holder, drained=True)
    else:
        workers.deregister(holder)
    assert loser.verdict.ready
    assert not holder.alive
    workers.drain(holder, drained=False)
    assert holder.verdict.ready is (said == "drain")


def test_a_new_address_ends_a_drain(records: Records, workers: Workers) -> None:
    record = put(records)
    workers.drain(record, drained=True)
    put(records, port=9000)
    assert (record.drained, record.verdict.phase) == (False, Phase.STARTING)


def test_what_names_no_incarnation_or_that_of_now_concerns_it(
    records: Records, workers: Workers
) -> None:
    record = put(records)
    assert workers.concerns(record, None)
    assert workers.concerns(record, record.id)
    assert workers.late == 0


def test_what_names_an_earlier_incarnation_does_not_and_is_counted(
    records: Records, workers: Workers
) -> None:
    record = put(records)
    late = record.id
    put(records, port=9000)
    assert not workers.concerns(record, late)
    successor = put(records, uid="another")
    assert not workers.concerns(successor, late)
    assert workers.late == 2


# -- after a restart -----------------------------------------------------------------------------

DISABLED, DRAINING = spec(rotation=Rotation.DISABLED), spec(rotation=Rotation.DRAINING)


def settle(mirror: Mirror, shown: Observed) -> Observed:
    """Let what is decided be written, and shown."""
    for write in mirror.plan_writes(10):
        shown = accept(mirror, write, shown, shown.version + 1)
    return shown


def restarted(clock: FakeClock, shown: Observed) -> Mirror:
    mirror = Mirror(Records(TIMEOUT, clock=clock))
    sync(mirror, shown, version=shown.version)
    return mirror


@pytest.mark.parametrize(
    ("asked", "heard", "deregistered", "drained"),
    [
        (spec(), True, True, False),
        (spec(), True, False, True),
        (spec(), True, True, True),
        (spec(), False, True, False),
        (spec(), False, False, True),
        (DISABLED, True, True, False),
        (DRAINING, True, True, False),
        (DISABLED, True, False, True),
        (DISABLED, False, True, False),
        (DRAINING, False, True, False),
        (DRAINING, True, False, True),
    ],
)  # fmt: skip
def test_a_restart_knows_what_was_said_and_writes_nothing(
    mirror: Mirror,
    workers: Workers,
    clock: FakeClock,
    asked: InstanceSpec,
    heard: bool,
    deregistered: bool,
    drained: bool,
) -> None:
    shown = observed(spec=asked, heartbeat="t1" if heard else None)
    mirror.changed(shown, run=RUN)
    shown = settle(mirror, shown)
    record = next(iter(mirror.records))
    if drained:
        workers.drain(record, drained=True)
    if deregistered:
        workers.deregister(record)
    shown = settle(mirror, shown)
    later = restarted(clock, shown)
    (resumed,) = later.records
    assert (resumed.deregistered, resumed.drained) == (deregistered, drained)
    assert resumed.verdict == record.verdict
    assert later.plan_writes(10) == []


@pytest.mark.parametrize(
    "take_back",
    [
        pytest.param(lambda workers, record: workers.arrive(record), id="registered again"),
        pytest.param(lambda workers, record: workers.drain(record, drained=False), id="undrained"),
    ],
)
@pytest.mark.parametrize(
    "asked", [spec(), DISABLED, DRAINING]
)  # fmt: skip
def test_what_was_taken_back_is_not_known_after_a_restart(
    mirror: Mirror,
    workers: Workers,
    clock: FakeClock,
    asked: InstanceSpec,
    take_back: Callable[[Workers, Record], None],
) -> None:
    shown = observed(spec=asked, heartbeat="t1")
    mirror.changed(shown, run=RUN)
    record = next(iter(mirror.records))
    workers.drain(record, drained=True)
    shown = settle(mirror, shown)
    take_back(workers, record)
    shown = settle(mirror, shown)
    (resumed,) = restarted(clock, shown).records
    assert (resumed.deregistered, resumed.drained) == (False, False)


@pytest.mark.parametrize("change", [{"uid": "another"}, {"spec": spec(port=9000)}])
@pytest.mark.parametrize("said", ["deregister", "drain"])
def test_what_was_said_to_another_incarnation_is_not_known_after_a_restart(
    mirror: Mirror, workers: Workers, clock: FakeClock, said: str, change: dict[str, Any]
) -> None:
    shown = observed(heartbeat="t1")
    mirror.changed(shown, run=RUN)
    record = next(iter(mirror.records))
    if said == "drain":
        workers.drain(record, drained=True)
    else:
        workers.deregister(record)
    shown = settle(mirror, shown)
    later = restarted(clock, replace(shown, version=9, **change))
    (other,) = later.records
    assert (other.deregistered, other.drained) == (False, False)
    (write,) = later.plan_writes(10)
    assert [condition.type.value for condition in write.conditions] == ["Ready"]


def test_a_drain_by_the_owner_is_none_that_was_asked_for_over_http(
    mirror: Mirror, clock: FakeClock
) -> None:
    shown = observed(spec=DRAINING, heartbeat="t1")
    mirror.changed(shown, run=RUN)
    later = restarted(clock, settle(mirror, shown))
    (resumed,) = later.records
    assert not resumed.drained


# -- leftovers -----------------------------------------------------------------------------------

AFTER = 100.0
"""After how many seconds the dead are removed in these tests."""


@pytest.fixture
def leftovers(records: Records) -> Leftovers:
    return Leftovers(records)


def due(leftovers: Leftovers, after: float = AFTER) -> list[InstanceKey]:
    return [record.key for record in leftovers.due(after)]


def beat_for(records: Records, clock: FakeClock, seconds: float, *beating: Record) -> None:
    """Let time pass while some beat."""
    for _ in range(int(seconds)):
        live(records, clock, 1.0)
        for record in beating:
            records.beat(record)


@pytest.mark.parametrize("why", ["never heard", "silent", "deregistered"])
def test_what_is_dead_for_long_is_due(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers, why: str
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    match why:
        case "silent":
            workers.arrive(record)
            live(records, clock, TIMEOUT)
        case "deregistered":
            workers.arrive(record)
            live(records, clock, 5.0)
            workers.deregister(record)
    live(records, clock, AFTER - 1)
    assert due(leftovers) == []
    live(records, clock, 1.0)
    assert due(leftovers) == [record.key]


def test_time_that_was_not_attended_makes_nothing_due(
    workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    workers.enter(REGISTRATION, "uid")
    clock.advance(100 * AFTER)
    assert due(leftovers) == []


def test_the_longest_dead_come_first(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    order = [3, 1, 2]
    for port in order:
        workers.enter(Registration("prod", spec(port=port)), "uid")
        live(records, clock, 1.0)
    live(records, clock, AFTER)
    assert due(leftovers) == [Registration("prod", spec(port=port)).key for port in order]


def test_what_could_not_be_removed_comes_up_again_after_a_while(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    live(records, clock, AFTER)
    assert due(leftovers) == [record.key]
    for _ in range(3):
        assert due(leftovers) == []
        live(records, clock, RETRY_SECONDS - 1)
        assert due(leftovers) == []
        live(records, clock, 1.0)
        assert due(leftovers) == [record.key]


def test_what_was_removed_does_not_come_up_again(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    live(records, clock, AFTER)
    for found in leftovers.due(AFTER):
        records.remove(found.key)
    live(records, clock, 2 * RETRY_SECONDS)
    assert due(leftovers) == []
    assert len(leftovers) == 0
    assert records.get(record.key) is None


def test_a_new_one_of_the_same_name_has_its_own_time(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    workers.enter(REGISTRATION, "uid")
    live(records, clock, AFTER - 1)
    record = workers.enter(REGISTRATION, "another")
    live(records, clock, AFTER - 1)
    assert due(leftovers) == []
    live(records, clock, 1.0)
    assert due(leftovers) == [record.key]


def test_what_an_owner_wrote_is_never_due(
    records: Records, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = put(records)
    records.set_deregistered(record, deregistered=True)
    live(records, clock, 2 * AFTER)
    assert due(leftovers) == []


def test_what_an_owner_has_taken_over_is_not_due(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    live(records, clock, AFTER - 1)
    put(records, record.key.name, uid="uid", labels={})
    live(records, clock, AFTER)
    assert due(leftovers) == []


@pytest.mark.parametrize("rotation", [Rotation.DRAINING, Rotation.DISABLED])
@pytest.mark.parametrize("deregistered", [False, True])
def test_what_its_owner_took_out_of_rotation_is_not_due_until_it_is_back(
    records: Records,
    workers: Workers,
    clock: FakeClock,
    leftovers: Leftovers,
    rotation: Rotation,
    deregistered: bool,
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    records.set_deregistered(record, deregistered=deregistered)
    live(records, clock, AFTER - 1)
    labels = REGISTRATION.all_labels
    put(records, record.key.name, uid="uid", labels=labels, rotation=rotation)
    live(records, clock, 2 * AFTER)
    assert due(leftovers) == []
    put(records, record.key.name, uid="uid", labels=labels)
    live(records, clock, AFTER - 1)
    assert due(leftovers) == []
    live(records, clock, 1.0)
    assert due(leftovers) == [record.key]


def test_what_beats_is_never_due(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = enrol(workers)
    beat_for(records, clock, 2 * AFTER, record)
    assert due(leftovers) == []
    assert len(leftovers) == 0


def test_a_sign_of_life_ends_it_and_the_next_silence_counts_anew(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    live(records, clock, AFTER - 1)
    workers.beat(record.id)
    live(records, clock, TIMEOUT + AFTER - 1)
    assert due(leftovers) == []
    live(records, clock, 1.0)
    assert due(leftovers) == [record.key]


def test_who_registers_again_is_not_due(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = enrol(workers)
    workers.deregister(record)
    live(records, clock, AFTER - 1)
    workers.arrive(record)
    live(records, clock, 1.0)
    assert due(leftovers) == []


def test_what_beats_is_not_due_though_another_holds_its_address(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    holder = put(records, namespace="another")
    records.beat(holder)
    loser = enrol(workers)
    assert loser.verdict.reason is Reason.ADDRESS_CONFLICT
    beat_for(records, clock, 2 * AFTER, holder, loser)
    assert due(leftovers) == []


def test_what_falls_silent_while_another_holds_its_address_is_due(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    loser = enrol(workers)
    holder = put(records, namespace="another")
    records.beat(holder)
    assert loser.verdict.reason is Reason.ADDRESS_CONFLICT
    beat_for(records, clock, TIMEOUT + AFTER, holder)
    assert due(leftovers) == [loser.key]


def test_what_is_taken_up_alive_after_a_restart_is_not_due_though_another_holds_its_address(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    holder = put(records, namespace="another")
    records.beat(holder)
    loser = workers.enter(REGISTRATION, "uid")
    records.resume(loser, Past(Life.HEARD, START), records.local)
    beat_for(records, clock, 2 * AFTER, holder, loser)
    assert loser.verdict.reason is Reason.ADDRESS_CONFLICT
    assert due(leftovers) == []


def test_what_needs_no_heartbeats_is_due_only_after_a_goodbye(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(Registration("prod", spec(heartbeat_required=False)), "uid")
    live(records, clock, 2 * AFTER)
    assert due(leftovers) == []
    workers.deregister(record)
    live(records, clock, AFTER)
    assert due(leftovers) == [record.key]


def test_another_delay_counts_from_when_it_died(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    record = workers.enter(REGISTRATION, "uid")
    live(records, clock, 50.0)
    assert due(leftovers, 60.0) == []
    assert due(leftovers, 40.0) == [record.key]


def test_dying_often_leaves_nothing_behind(records: Records, workers: Workers) -> None:
    leftovers = Leftovers(records)
    for _ in range(20 * SPARE_ENTRIES):
        record = enrol(workers)
        workers.deregister(record)
    assert len(leftovers) == 1
    assert len(leftovers._by_time) <= 2 * len(leftovers) + SPARE_ENTRIES + 1


def test_who_is_dead_is_still_known_after_the_past_was_cleared_away(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    first = workers.enter(Registration("prod", spec(port=1)), "uid")
    live(records, clock, 1.0)
    for _ in range(2 * SPARE_ENTRIES):
        workers.deregister(enrol(workers))
    assert len(leftovers._by_time) < SPARE_ENTRIES
    live(records, clock, AFTER)
    assert due(leftovers) == [first.key, REGISTRATION.key]


def test_a_look_costs_no_more_with_many_that_are_dead(
    records: Records, workers: Workers, clock: FakeClock, leftovers: Leftovers
) -> None:
    def cost() -> int:
        return calls_of(lambda: due(leftovers))

    workers.enter(REGISTRATION, "uid")
    few = cost()
    for port in range(1, 1001):
        workers.enter(Registration("prod", spec(port=port)), "uid")
    assert cost() == few
