"""What is said of an instance: each check with what it sees, and what would change the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from modelinstance.registry.health.chain import LIVENESS, STANDING
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.past import Past
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.health.reasons import REASONS, Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import ProbeSpec, Rotation
from modelinstance.registry.intake.probing import ProbeOutcome, ProbeResult, ProbeSchedule
from modelinstance.registry.intake.reports import CallOutcome, Opinions, Reports
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.findings import DESCRIBED, CheckResult, Finding, findings
from modelinstance.registry.telling.known import Known, look
from modelinstance.registry.telling.prospects import PROSPECTS, prospects
from unit.builders import (
    TIMEOUT,
    key,
    live,
    lose_sight,
    observed,
    put,
    reported,
    spec,
    sync,
    watch,
)
from unit.clock import FakeClock

CURRENT = ViewState(synced=True, age=0.42, stale=False, failure=None)
NONE = Opinions(bad=0, good=0, refused=False)
PROBE = ProbeSpec("/health", 10.0, 1.0, 2, 3)


@pytest.fixture
def strict(records: Records) -> Records:
    """A registry that has everything switched on, as the operator's has."""
    records.guard.settings = GuardSettings()
    records.probations.settings = Hysteresis()
    return records


def heard(records: Records, name: str = "vicuna-0", **fields: object) -> Record:
    record = put(records, name, **fields)  # type: ignore[arg-type]
    records.beat(record)
    return record


def with_pod(records: Records, condition: PodCondition, *, required: bool = True) -> Record:
    record = heard(records, heartbeat_required=required)
    records.set_pod(record, PodState(condition, "the kubelet's word"))
    return record


def probed(records: Records, passing: bool | None, *, required: bool = False) -> Record:
    asked = replace(spec(heartbeat_required=required), probe=PROBE)
    record = records.put(key(), "uid-of-vicuna-0", asked, created=0.0)
    records.beat(record)
    if passing is not None:
        records.set_probe(record, passing, "" if passing else "HTTP 503")
    return record


def deleting(records: Records, clock: FakeClock) -> Record:
    del clock
    heard(records)
    return put(records, deleting=True)


def conflicted(records: Records, clock: FakeClock) -> Record:
    del clock
    heard(records, "holder")
    return heard(records, created=1.0)


def drained(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.set_drained(record, drained=True)
    return record


def deregistered(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.set_deregistered(record, deregistered=True)
    return record


def displaced(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.displace(record)
    return record


def set_by_caller(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.set_by_caller(record, healthy=False)
    return record


def flapping(records: Records, clock: FakeClock) -> Record:
    record = put(records, heartbeat_timeout=2.0)
    for _ in range(3):
        records.beat(record)
        live(records, clock, 2)
    return record


def failing(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.beat(record, failure="GET /health: HTTP 500")
    return record


def ejected(records: Records, clock: FakeClock) -> Record:
    del clock
    record = heard(records)
    records.eject(record)
    return record


def frozen(records: Records, clock: FakeClock) -> Record:
    many = [heard(records, f"vicuna-{number}", host=f"h{number}") for number in range(3)]
    live(records, clock, TIMEOUT)
    return many[0]


def silent(records: Records, clock: FakeClock) -> Record:
    record = heard(records)
    live(records, clock, TIMEOUT)
    return record


CASES: dict[Reason, tuple[Callable[[Records, FakeClock], Record], str, str, list[str]]] = {
    Reason.DELETING: (
        deleting,
        "deletion", "the resource is being deleted, and waits for the finalizers on it",
        ["the end of the finalizers that others put on it: then it is gone"],
    ),
    Reason.DISABLED: (
        lambda records, _: heard(records, rotation=Rotation.DISABLED),
        "rotation", "spec.rotation is Disabled: its owner wants it left out",
        ["spec.rotation: Active"],
    ),
    Reason.DRAINING: (
        lambda records, _: heard(records, rotation=Rotation.DRAINING),
        "rotation", "spec.rotation is Draining: its owner wants it left out",
        ["spec.rotation: Active"],
    ),
    Reason.DRAIN_REQUESTED: (
        drained,
        "drain", "a drain was asked for over HTTP 0.0 s ago",
        ["taking the drain back: DELETE .../drain", "a registration of the worker"],
    ),
    Reason.POD_TERMINATING: (
        lambda records, _: with_pod(records, PodCondition.TERMINATING),
        "termination", "its pod is Terminating: the kubelet's word",
        ["the end of its pod: the resource goes with it"],
    ),
    Reason.DEREGISTERED: (
        deregistered,
        "registration", "the worker said goodbye 0.0 s ago",
        ["a registration of the worker; no heartbeat"],
    ),
    Reason.POD_REPLACED: (
        displaced,
        "displacement", "another pod was heard at its address since, or its own pod is elsewhere",
        ["a heartbeat from its own pod at its address",
         "the end of its pod: the resource goes with it"],
    ),
    Reason.ADDRESS_CONFLICT: (
        conflicted,
        "conflict", "ModelInstance holder holds its model, host and port",
        ["ModelInstance holder falls silent, drains, deregisters or goes",
         "another model, host or port in one of the two"],
    ),
    Reason.SET_BY_CALLER: (
        set_by_caller,
        "caller", "a caller has set healthy to False",
        ["the next heartbeat, registration or expiry, or another word of a caller"],
    ),
    Reason.FLAPPING: (
        flapping,
        "flapping", "3 falls within 600 s (0.0, 2.0, 4.0 s ago): on probation, to be well for "
        "30 s, then heard; it is not well",
        ["being well for 30 s, which it is not: No heartbeat within 2 s; look at the worker at "
         "http://10.0.0.5:8000, a new heartbeat makes it Healthy",
         "600 s of not being well: then what ails it is shown instead"],
    ),
    Reason.WORKER_NOT_READY: (
        failing,
        "worker", "the worker says that it cannot answer: GET /health: HTTP 500",
        ["a heartbeat without a failure", "silence for 10.0 s more"],
    ),
    Reason.POD_STARTING: (
        lambda records, _: with_pod(records, PodCondition.STARTING),
        "readiness", "its pod is Starting: the kubelet's word",
        ["the start of all containers of its pod"],
    ),
    Reason.POD_NOT_READY: (
        lambda records, _: with_pod(records, PodCondition.NOT_READY),
        "readiness", "its pod is NotReady: the kubelet's word",
        ["its pod's becoming ready"],
    ),
    Reason.AWAITING_FIRST_PROBE: (
        lambda records, _: probed(records, None),
        "probe", "the probe has not decided: GET /health every 10 s; it was not asked yet",
        ["2 successes in a row of GET /health"],
    ),
    Reason.PROBE_FAILED: (
        lambda records, _: probed(records, passing=False),
        "probe", "the probe fails: GET /health every 10 s; HTTP 503",
        ["2 successes in a row of GET /health"],
    ),
    Reason.PROBE_SUCCEEDED: (
        lambda records, _: probed(records, passing=True),
        "requirement", "heartbeats are not required of it",
        ["3 failures in a row of GET /health",
         "failed calls that more routers report than use it well",
         "a drain, a goodbye, another spec.rotation"],
    ),
    Reason.POD_READY: (
        lambda records, _: with_pod(records, PodCondition.READY, required=False),
        "requirement", "heartbeats are not required of it",
        ["its pod's becoming unready, or its deletion",
         "spec.heartbeat.required: true, or a spec.probe",
         "failed calls that more routers report than use it well",
         "a drain, a goodbye, another spec.rotation"],
    ),
    Reason.CALLS_FAILING: (
        ejected,
        "calls", "0 reporters find it bad, 0 good, within 30 s: calls to it failed, and it was "
        "taken out 0.0 s ago; on probation, to be well for 30 s, then heard; well for 0.0 s",
        ["being well for 30.0 s more, then a heartbeat; no report of a success",
         "silence for 10.0 s more"],
    ),
    Reason.HEARTBEAT_NOT_REQUIRED: (
        lambda records, _: heard(records, heartbeat_required=False),
        "requirement", "heartbeats are not required of it",
        ["spec.heartbeat.required: true, or a spec.probe",
         "failed calls that more routers report than use it well",
         "a drain, a goodbye, another spec.rotation"],
    ),
    Reason.AWAITING_FIRST_HEARTBEAT: (
        lambda records, _: put(records),
        "heartbeat", "nothing was heard of this incarnation",
        ["a heartbeat"],
    ),
    Reason.CORRELATED_SILENCE: (
        frozen,
        "guard", "its silence is one of many, an outage that began 0.0 s ago: its expiry is held "
        "back for 600.0 s more unless heard",
        ["a heartbeat: then it is Healthy",
         "silence for 600.0 s more: then it is Unhealthy, HeartbeatExpired",
         "the others' recovery: then its own silence counts after 10 s"],
    ),
    Reason.HEARTBEAT_EXPIRED: (
        silent,
        "heartbeat", "last heartbeat 10.0 s ago; it is silent, and nothing is to expire",
        ["a heartbeat"],
    ),
    Reason.HEARTBEAT_RECEIVED: (
        lambda records, _: heard(records),
        "heartbeat", "last heartbeat 0.0 s ago over HTTP, expires in 10.0 s unless heard",
        ["silence for 10.0 s more",
         "failed calls that more routers report than use it well",
         "a drain, a goodbye, another spec.rotation"],
    ),
}  # fmt: skip
"""For each reason: how it comes about, the check that decides and what it sees, and the way out."""


def known(records: Records, record: Record, view: ViewState = CURRENT) -> Known:
    return look(records, record, view, NONE)


def seen(records: Records, record: Record, view: ViewState = CURRENT) -> dict[str, str]:
    """What each check sees."""
    return {found.check: found.evidence for found in findings(known(records, record, view))}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_by_the_check_that_decides(
    strict: Records, clock: FakeClock, reason: Reason
) -> None:
    bring_about, check, evidence, changes = CASES[reason]
    record = bring_about(strict, clock)
    assert record.verdict.reason is reason
    now = known(strict, record)
    found = findings(now)
    [decides] = [each for each in found if each.result is CheckResult.DECIDES]
    assert decides == Finding(check, CheckResult.DECIDES, reason, evidence)
    place = found.index(decides)
    assert {each.result for each in found[:place]} <= {CheckResult.PASSES}
    assert {each.result for each in found[place + 1 :]} <= {CheckResult.NOT_REACHED}
    assert all(each.evidence and each.reason is None for each in found if each is not decides)
    assert prospects(now) == changes
    assert REASONS[reason].meaning
    assert REASONS[reason].action


def test_every_check_is_described_in_the_order_of_the_chain() -> None:
    assert list(DESCRIBED) == [*STANDING, *LIVENESS]
    names = [name for name, _ in DESCRIBED.values()]
    assert len(set(names)) == len(names)
    assert set(PROSPECTS) == set(Reason)


def test_what_is_well_is_told_of_by_every_check(strict: Records) -> None:
    assert seen(strict, heard(strict)) == {
        "deletion": "the resource is not being deleted",
        "rotation": "spec.rotation is Active: its owner wants it selected",
        "drain": "no drain was asked for over HTTP",
        "termination": "no pod of it is known",
        "registration": "the worker has not said goodbye",
        "displacement": "no other pod was heard at its address",
        "conflict": "nobody else holds its model, host and port",
        "caller": "no caller has set it",
        "flapping": "0 falls within 600 s: at 3 it has to prove itself",
        "worker": "the worker does not say that it cannot answer",
        "readiness": "no pod of it is known",
        "probe": "no probe is asked for",
        "calls": "0 reporters find it bad, 0 good, within 30 s",
        "requirement": "heartbeats are required, one every 10 s at least",
        "guard": "its expiry is not held back",
        "view": "the view of the cluster is current, proven 0.4 s ago",
        "heartbeat": "last heartbeat 0.0 s ago over HTTP, expires in 10.0 s unless heard",
    }


def test_what_pods_showed_last_is_told_with_its_age_once_nobody_sees_them(
    strict: Records,
) -> None:
    record = with_pod(strict, PodCondition.READY, required=False)
    shown = "its pod is Ready: the kubelet's word"
    for pods, told in {
        None: shown,
        ViewState(True, 3.0, False, "HTTP 403"): shown,
        ViewState(True, 91.26, True, None): f"{shown}; the pods were last seen 91.3 s ago",
        ViewState(True, 91.26, True, "HTTP 403"): (
            f"{shown}; the pods were last seen 91.3 s ago: HTTP 403"
        ),
    }.items():
        now = findings(look(strict, record, CURRENT, NONE, pods))
        seen = {found.check: found.evidence for found in now}
        assert seen["readiness"] == seen["termination"] == told


def test_ages_are_those_of_now(strict: Records, clock: FakeClock) -> None:
    record = heard(strict)
    live(strict, clock, 3.25)
    assert seen(strict, record)["heartbeat"] == (
        "last heartbeat 3.2 s ago over HTTP, expires in 6.8 s unless heard"
    )
    assert prospects(known(strict, record))[0] == "silence for 6.8 s more"


def test_a_registry_that_nothing_was_switched_on_in_says_so(records: Records) -> None:
    told = seen(records, heard(records))
    assert told["flapping"] == "nobody has to prove anything in this registry"
    assert told["guard"] == "nobody's expiry is ever held back in this registry"


def test_a_holder_elsewhere_is_told_of_and_not_named(strict: Records) -> None:
    heard(strict, "hush", namespace="secret")
    record = heard(strict, created=1.0)
    told = seen(strict, record)["conflict"]
    assert told == "a ModelInstance in another namespace holds its model, host and port"
    every = [*seen(strict, record).values(), *prospects(known(strict, record))]
    assert not any("hush" in sentence or "secret" in sentence for sentence in every)


def test_one_on_probation_is_told_how_far_it_has_got(strict: Records, clock: FakeClock) -> None:
    record = flapping(strict, clock)
    strict.beat(record)
    live(strict, clock, 1)
    now = known(strict, record)
    assert (len(now.falls), now.well_for) == (3, 1.0)
    proof = "on probation, to be well for 30 s, then heard; well for 1.0 s"
    assert seen(strict, record)["flapping"].endswith(proof)
    assert prospects(now) == [
        "being well for 29.0 s more, then a heartbeat; no report of a success"
    ]
    for _ in range(29):
        strict.beat(record)
        live(strict, clock, 1)
    assert prospects(known(strict, record)) == ["a heartbeat; no report of a success"]


def test_falls_of_long_ago_are_not_told(strict: Records, clock: FakeClock) -> None:
    record = put(strict, heartbeat_timeout=2.0)
    for _ in range(2):
        strict.beat(record)
        live(strict, clock, 2)
    assert seen(strict, record)["flapping"] == (
        "2 falls within 600 s (0.0, 2.0 s ago): at 3 it has to prove itself"
    )
    live(strict, clock, 599)
    assert len(known(strict, record).falls) == 1
    live(strict, clock, 2)
    assert known(strict, record).falls == ()


def test_of_many_falls_the_ages_of_the_last_are_told(strict: Records, clock: FakeClock) -> None:
    record = put(strict, heartbeat_timeout=2.0)
    for _ in range(5):
        strict.beat(record)
        live(strict, clock, 2)
    live(strict, clock, 1)
    strict.probations.forget(record)
    assert seen(strict, record)["flapping"] == (
        "5 falls within 600 s (the last 1.0, 3.0, 5.0 s ago): at 3 it has to prove itself"
    )


def test_since_when_it_was_drained_or_has_said_goodbye_is_told(
    strict: Records, clock: FakeClock
) -> None:
    record = heard(strict)
    strict.set_drained(record, drained=True)
    live(strict, clock, 2)
    strict.set_deregistered(record, deregistered=True)
    live(strict, clock, 1)
    strict.set_drained(record, drained=True)
    strict.set_deregistered(record, deregistered=True)
    told = seen(strict, record)
    assert told["drain"] == "a drain was asked for over HTTP 3.0 s ago", "not for the second time"
    assert told["registration"] == "the worker said goodbye 1.0 s ago"
    strict.set_drained(record, drained=False)
    strict.set_deregistered(record, deregistered=False)
    told = seen(strict, record)
    assert told["drain"] == "no drain was asked for over HTTP"
    assert told["registration"] == "the worker has not said goodbye"
    strict.set_drained(record, drained=True)
    assert seen(strict, record)["drain"].endswith(" 0.0 s ago")
    put(strict, host="elsewhere")
    assert (record.drained_since, record.deregistered_since) == (None, None)


def test_since_when_it_is_drained_is_known_after_a_restart(
    records: Records, mirror: Mirror, clock: FakeClock
) -> None:
    clock.advance(90)
    status = reported(Phase.DRAINING, Reason.DRAIN_REQUESTED, drained=True, deregistered=True)
    sync(mirror, observed(reported=status), version=1)
    record = records.get(key())
    assert record is not None
    told = seen(records, record)
    assert told["drain"] == "a drain was asked for over HTTP 90.0 s ago"
    assert told["registration"] == "the worker said goodbye 90.0 s ago"


def test_when_it_was_last_probed_is_told(strict: Records, clock: FakeClock) -> None:
    schedule = ProbeSchedule(strict)
    record = probed(strict, passing=None)
    assert seen(strict, record)["probe"].endswith("every 10 s; it was not asked yet")
    clock.advance(1)
    [ask] = schedule.take()
    clock.advance(0.5)
    schedule.settle(ask, ProbeResult(ProbeOutcome.FAILURE, "HTTP 503"))
    clock.advance(2)
    assert seen(strict, record)["probe"] == (
        "the probe has not decided: GET /health every 10 s, last tried 2.5 s ago; HTTP 503"
    )
    strict.remove(record.key)
    assert seen(strict, probed(strict, passing=None))["probe"].endswith("it was not asked yet")


def test_how_long_an_outage_lasts_is_told(strict: Records, clock: FakeClock) -> None:
    record = frozen(strict, clock)
    live(strict, clock, 100)
    assert seen(strict, record)["guard"] == (
        "its silence is one of many, an outage that began 100.0 s ago: its expiry is held back "
        "for 500.0 s more unless heard"
    )
    others = [other for other in strict if other is not record]
    for _ in range(2):  # at once, and before they were silent again
        for other in others:
            strict.beat(other)
        live(strict, clock, 1.5)
    now = known(strict, record)
    assert now.outage == (103.0, TIMEOUT - 3), "the others are heard again"
    assert prospects(now)[1] == "silence for 7.0 s more: then it is Unhealthy, HeartbeatExpired"
    live(strict, clock, TIMEOUT - 4)
    assert record.frozen
    live(strict, clock, 1)
    assert record.verdict.reason is Reason.HEARTBEAT_EXPIRED
    assert known(strict, record).outage is None
    assert seen(strict, record)["guard"] == "its expiry is not held back"


def test_the_ages_of_calls_are_told(strict: Records, clock: FakeClock) -> None:
    reports = Reports(strict)
    record = heard(strict, heartbeat_required=False)

    def told() -> str:
        now = look(strict, record, CURRENT, reports.opinions(record))
        return {found.check: found.evidence for found in findings(now)}["calls"]

    reports.take(record, "b", CallOutcome.SUCCESS)
    live(strict, clock, 2)
    reports.take(record, "a", CallOutcome.TIMEOUT)
    live(strict, clock, 1)
    assert told() == (
        "0 reporters find it bad, 1 good, within 30 s, the last failure 1.0 s ago, "
        "the last success 3.0 s ago"
    )
    for reporter in ("c", "d"):
        reports.take(record, reporter, CallOutcome.FAILURE, 3)
    live(strict, clock, 4)
    assert told() == (
        "0 reporters find it bad, 0 good, within 30 s: calls to it failed, and it was taken out "
        "4.0 s ago; on probation, to be well for 30 s; well for 4.0 s"
    )


@pytest.mark.parametrize("beaten", [False, True])
def test_who_is_not_heard_is_told_that_nobody_can_see_it(
    records: Records, mirror: Mirror, clock: FakeClock, beaten: bool
) -> None:
    sync(mirror, observed(heartbeat="one" if beaten else None), version=1)
    record = records.get(key())
    assert record is not None
    if beaten:
        watch(mirror, clock, TIMEOUT + 1)
    reason = Reason.HEARTBEAT_EXPIRED if beaten else Reason.AWAITING_FIRST_HEARTBEAT
    assert record.verdict.reason is reason
    lasting = records.explain(record)
    lose_sight(mirror, clock, 100)
    assert record.verdict.reason is reason
    assert records.explain(record) == (
        f"{lasting}; the cluster cannot be seen at present, nor a heartbeat by annotation"
    )
    assert records.explain_lastingly(record) == lasting
    found = findings(known(records, record, mirror.state()))
    [decides] = [each for each in found if each.result is CheckResult.DECIDES]
    assert (decides.check, decides.reason) == ("view", reason)
    assert ", through which heartbeats by annotation come, is not current" in decides.evidence


def test_what_routers_say_is_counted(strict: Records) -> None:
    reports = Reports(strict)
    record = heard(strict)
    for reporter, outcome in (
        ("b", CallOutcome.SUCCESS), ("c", CallOutcome.SUCCESS), ("a", CallOutcome.FAILURE),
    ):  # fmt: skip
        reports.take(record, reporter, outcome, 5)
    now = look(strict, record, CURRENT, reports.opinions(record))
    told = {found.check: found.evidence for found in findings(now)}
    assert told["calls"] == (
        "1 reporter finds it bad, 2 good, within 30 s, the last failure 0.0 s ago, the last "
        "success 0.0 s ago"
    )


def test_an_instance_of_weight_0_is_told_that_it_is_never_picked(strict: Records) -> None:
    told = prospects(known(strict, heard(strict, weight=0.0)))
    assert told[-1] == "nothing of this makes it picked: with spec.weight 0 it is listed only"


def test_why_the_view_is_not_current_is_told(strict: Records) -> None:
    lost = ViewState(synced=True, age=75.31, stale=True, failure="connection refused")
    assert seen(strict, heard(strict), lost)["view"] == (
        "the view of the cluster is not current, proven 75.3 s ago: connection refused"
    )


def test_one_whose_beats_come_by_annotation_while_nobody_can_see_them(
    records: Records, mirror: Mirror, clock: FakeClock
) -> None:
    sync(mirror, observed(heartbeat="one"), version=1)
    record = records.get(key())
    assert record is not None
    assert record.verdict.reason is Reason.HEARTBEAT_RECEIVED
    told = seen(records, record)["heartbeat"]
    assert told.startswith("last heartbeat 0.0 s ago by annotation, ")
    assert told.endswith(", expires in 10.0 s of a current view unless heard")
    lose_sight(mirror, clock, 100)
    found = findings(known(records, record, mirror.state()))
    [decides] = [each for each in found if each.result is CheckResult.DECIDES]
    assert decides.check == "view"
    assert decides.evidence == (
        "the view of the cluster, through which its heartbeats come, is not current, proven "
        "100.0 s ago"
    )
    [silence, *_] = prospects(known(records, record, mirror.state()))
    assert silence.endswith("more, once the cluster can be seen again")


def test_a_beat_of_an_earlier_process_is_told_with_its_time(
    strict: Records, clock: FakeClock
) -> None:
    record = put(strict)
    strict.resume(record, Past(record.life.HEARD, clock.wall()), strict.local)
    told = seen(strict, record)["heartbeat"]
    assert told.startswith(f"last heartbeat before this process began, at {clock.wall():%FT%TZ} ")
    strict.resume(record, Past(record.life.HEARD), strict.local)
    assert seen(strict, record)["heartbeat"].startswith("last heartbeat before this process began ")


def test_a_probe_that_failed_once_is_told_with_what_came(strict: Records) -> None:
    record = probed(strict, passing=True)
    strict.set_probe(record, True, "no answer within 1 s")
    assert seen(strict, record)["probe"] == (
        "the probe succeeds: GET /health every 10 s; the last time: no answer within 1 s"
    )
