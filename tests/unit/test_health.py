from __future__ import annotations

from dataclasses import replace

import pytest

from modelinstance.registry.health.chain import Evidence, Life, decide, is_alive
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.reasons import REASONS, Phase, Reason
from modelinstance.registry.instance import ProbeSpec, Rotation
from unit.builders import key, spec

HEARD = Evidence(key(), spec(), Life.HEARD, 120.0)
"""An instance that nothing is wrong with."""

DRAINING = spec(rotation=Rotation.DRAINING)
DISABLED = spec(rotation=Rotation.DISABLED)
UNCHECKED = spec(heartbeat_required=False)
PROBED = replace(spec(), probe=ProbeSpec("/health", 10.0, 1.0, 1, 3))
ENDING = PodState(PodCondition.TERMINATING, "it ends")
UNREADY = PodState(PodCondition.NOT_READY, "it is not ready")


@pytest.mark.parametrize(
    ("evidence", "reason", "ready", "alive"),
    [
        (HEARD, Reason.HEARTBEAT_RECEIVED, True, True),
        (replace(HEARD, life=Life.UNHEARD), Reason.AWAITING_FIRST_HEARTBEAT, False, False),
        (replace(HEARD, life=Life.SILENT), Reason.HEARTBEAT_EXPIRED, False, False),
        (replace(HEARD, spec=UNCHECKED), Reason.HEARTBEAT_NOT_REQUIRED, True, True),
        (
            replace(HEARD, spec=UNCHECKED, life=Life.SILENT),
            Reason.HEARTBEAT_NOT_REQUIRED,
            True,
            True,
        ),
        (
            replace(HEARD, spec=UNCHECKED, set_by_caller=False),
            Reason.SET_BY_CALLER,
            False,
            False,
        ),
        (replace(HEARD, set_by_caller=False), Reason.SET_BY_CALLER, False, False),
        (
            replace(HEARD, life=Life.SILENT, set_by_caller=True),
            Reason.SET_BY_CALLER,
            True,
            True,
        ),
        (
            replace(HEARD, holder=key("other"), set_by_caller=True),
            Reason.ADDRESS_CONFLICT,
            False,
            False,
        ),
        (
            replace(HEARD, holder=key("other"), spec=UNCHECKED),
            Reason.ADDRESS_CONFLICT,
            False,
            False,
        ),
        (
            replace(HEARD, deregistered=True, holder=key("other")),
            Reason.DEREGISTERED,
            False,
            False,
        ),
        (replace(HEARD, spec=DRAINING), Reason.DRAINING, False, True),
        (replace(HEARD, drained=True), Reason.DRAIN_REQUESTED, False, True),
        (replace(HEARD, drained=True, spec=UNCHECKED), Reason.DRAIN_REQUESTED, False, True),
        (replace(HEARD, drained=True, set_by_caller=True), Reason.DRAIN_REQUESTED, False, True),
        (replace(HEARD, drained=True, life=Life.SILENT), Reason.DRAIN_REQUESTED, False, False),
        (replace(HEARD, drained=True, life=Life.UNHEARD), Reason.DRAIN_REQUESTED, False, False),
        (replace(HEARD, drained=True, holder=key("other")), Reason.DRAIN_REQUESTED, False, False),
        (replace(HEARD, drained=True, deregistered=True), Reason.DEREGISTERED, False, False),
        (replace(HEARD, drained=True, spec=DRAINING), Reason.DRAINING, False, True),
        (replace(HEARD, drained=True, spec=DISABLED), Reason.DISABLED, False, True),
        (replace(HEARD, drained=True, deleting=True), Reason.DELETING, False, True),
        (replace(HEARD, pod=ENDING), Reason.POD_TERMINATING, False, True),
        (replace(HEARD, pod=ENDING, drained=True), Reason.DRAIN_REQUESTED, False, True),
        (replace(HEARD, pod=ENDING, spec=UNCHECKED), Reason.POD_TERMINATING, False, True),
        (replace(HEARD, pod=UNREADY), Reason.POD_NOT_READY, False, False),
        (replace(HEARD, pod=UNREADY, life=Life.SILENT), Reason.POD_NOT_READY, False, False),
        (replace(HEARD, pod=UNREADY, failure="x"), Reason.WORKER_NOT_READY, False, False),
        (replace(HEARD, failure="x"), Reason.WORKER_NOT_READY, False, False),
        (replace(HEARD, failure="x", spec=UNCHECKED), Reason.WORKER_NOT_READY, False, False),
        (replace(HEARD, failure="x", displaced=True), Reason.POD_REPLACED, False, False),
        (replace(HEARD, displaced=True, deregistered=True), Reason.DEREGISTERED, False, False),
        (replace(HEARD, spec=PROBED), Reason.AWAITING_FIRST_PROBE, False, False),
        (replace(HEARD, spec=PROBED, probe_passing=False), Reason.PROBE_FAILED, False, False),
        (replace(HEARD, spec=PROBED, probe_passing=True), Reason.HEARTBEAT_RECEIVED, True, True),
        (replace(HEARD, probe_passing=False), Reason.HEARTBEAT_RECEIVED, True, True),
        (
            replace(HEARD, spec=PROBED, probe_passing=True, life=Life.SILENT),
            Reason.HEARTBEAT_EXPIRED,
            False,
            False,
        ),
        (replace(HEARD, spec=DISABLED), Reason.DISABLED, False, True),
        (replace(HEARD, spec=DISABLED, deregistered=True), Reason.DISABLED, False, False),
        (replace(HEARD, spec=DRAINING, life=Life.SILENT), Reason.DRAINING, False, False),
        (replace(HEARD, spec=DISABLED, deleting=True), Reason.DELETING, False, True),
    ],
)
def test_the_first_check_that_answers_decides(
    evidence: Evidence, reason: Reason, ready: bool, alive: bool
) -> None:
    verdict = decide(evidence)
    assert (verdict.reason, verdict.ready) == (reason, ready)
    assert is_alive(evidence) is alive


@pytest.mark.parametrize(
    ("evidence", "phase"),
    [
        (HEARD, Phase.HEALTHY),
        (replace(HEARD, life=Life.UNHEARD), Phase.STARTING),
        (replace(HEARD, life=Life.SILENT), Phase.UNHEALTHY),
        (replace(HEARD, holder=key("other")), Phase.CONFLICTED),
        (replace(HEARD, spec=DRAINING), Phase.DRAINING),
        (replace(HEARD, spec=DISABLED), Phase.DISABLED),
        (replace(HEARD, deleting=True), Phase.TERMINATING),
        (replace(HEARD, deregistered=True), Phase.UNHEALTHY),
        (replace(HEARD, drained=True), Phase.DRAINING),
        (replace(HEARD, set_by_caller=True), Phase.HEALTHY),
        (replace(HEARD, set_by_caller=False), Phase.UNHEALTHY),
    ],
)
def test_each_verdict_has_its_phase(evidence: Evidence, phase: Phase) -> None:
    assert decide(evidence).phase is phase


def test_every_reason_is_documented() -> None:
    assert set(REASONS) == set(Reason)
    assert all(doc.meaning and doc.action for doc in REASONS.values())


def test_a_holder_in_the_same_namespace_is_named() -> None:
    message = decide(replace(HEARD, holder=key("vicuna-1"))).message
    assert "ModelInstance vicuna-1" in message
    assert "model vicuna at host 10.0.0.5 port 8000" in message


def test_a_holder_in_another_namespace_is_not_named() -> None:
    message = decide(replace(HEARD, holder=key("hush", namespace="secret"))).message
    assert "hush" not in message
    assert "secret" not in message
    assert "another namespace" in message


def test_a_drained_one_is_told_how_it_returns() -> None:
    assert "taken back" in decide(replace(HEARD, drained=True)).message


@pytest.mark.parametrize("life", [Life.UNHEARD, Life.SILENT])
def test_who_is_not_heard_is_told_where_to_look(life: Life) -> None:
    assert "http://10.0.0.5:8000" in decide(replace(HEARD, life=life)).message


def test_the_message_of_a_silent_one_tells_its_timeout() -> None:
    assert "within 2.5 s" in decide(replace(HEARD, life=Life.SILENT, timeout=2.5)).message
