"""What must hold in the end, and what is found where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.acting import Life
from chaos.comparing import differences, writes_allowed
from chaos.outages import Outages
from chaos.schedule import Blow, Fault, Kind, Schedule, Step, Verb, Worker
from chaos.truth import Truth, Word

WORKER = Worker("a", "m", Kind.ANNOTATING)


def shown(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a", "model": "m", "host": "a.example", "port": 8000, "weight": 1.0,
        "phase": "Healthy", "reason": "HeartbeatReceived", "healthy": True, **changes,
    }  # fmt: skip


def stored(
    *, spec: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None,
    reason: str = "HeartbeatReceived", ready: str = "True", **status: Any,
) -> dict[str, Any]:  # fmt: skip
    return {
        "metadata": {"name": "a", "generation": 2, **(metadata or {})},
        "spec": {
            "modelName": "m", "host": "a.example", "port": 8000, "weight": 100,
            "rotation": "Active", **(spec or {}),
        },
        "status": {
            "phase": "Healthy", "observedGeneration": 2,
            "conditions": [{"type": "Ready", "status": ready, "reason": reason}], **status,
        },
    }  # fmt: skip


def found(
    one: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **life: Any
) -> list[str]:
    truth = Truth(Outages())
    if life.pop("drained", False):
        truth.say("a", Word.DRAIN, 1)
    lives = [Life(WORKER, "a", "a.example", **life)]
    items = [] if other is None else [other]
    return list(differences({} if one is None else {"a": one}, items, lives, truth))


def test_what_agrees_is_left_alone() -> None:
    assert not found(shown(), stored())
    assert not found()


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (shown(), None, "which the API server does not have"),
        (None, stored(), "does not show a"),
        (shown(), stored(spec={"weight": 7}), "the API server"),
        (shown(), stored(spec={"host": "b.example"}), "the API server"),
        (shown(), stored(phase="Unhealthy"), "the status"),
        (shown(), stored(reason="HeartbeatExpired"), "the status"),
        (shown(), stored(ready="False"), "the status"),
        (shown(), {**stored(), "status": {}}, "the status"),
        (shown(), stored(metadata={"generation": 3}), "observed 2"),
    ],
    ids=["gone", "missed", "weight", "host", "phase", "reason", "ready", "none", "generation"],
)
def test_what_does_not_agree_is_named(
    one: dict[str, Any] | None, other: dict[str, Any] | None, words: str
) -> None:
    assert any(words in each for each in found(one, other)), found(one, other)


def test_a_phase_has_its_condition() -> None:
    out = shown(phase="Unhealthy", reason="Deregistered", healthy=False)
    status = stored(phase="Unhealthy", reason="Deregistered", ready="False")
    assert any("without the condition Deregistered" in each for each in found(out, status))
    status["status"]["conditions"].append({"type": "Deregistered", "status": "True", "reason": "x"})
    assert not any("condition" in each for each in found(out, status))


@pytest.mark.parametrize(
    ("life", "changes"),
    [
        ({"speaks": False}, {}),
        ({"left": True}, {}),
        ({"drained": True}, {}),
        ({}, {"spec": {"rotation": "Disabled"}}),
        ({}, {"metadata": {"deletionTimestamp": "x"}}),
    ],
    ids=["silent", "left", "drained", "disabled", "deleting"],
)
def test_who_is_heard_and_kept_out_by_nothing_is_back(
    life: dict[str, Any], changes: dict[str, Any]
) -> None:
    out = shown(phase="Unhealthy", reason="HeartbeatExpired", healthy=False)
    status: dict[str, Any] = {"phase": "Unhealthy", "reason": "HeartbeatExpired", "ready": "False"}
    assert found(out, stored(**status)) == ["a is heard, and is Unhealthy/HeartbeatExpired"]
    assert not found(out, stored(**status, **changes), **life)


def test_who_is_silent_does_not_stay() -> None:
    assert found(shown(), stored(), speaks=False) == [
        "a is silent, and is Healthy/HeartbeatReceived"
    ]


def test_who_has_fallen_often_may_be_held_back() -> None:
    out = shown(phase="Unhealthy", reason="Flapping", healthy=False)
    assert not found(out, stored(phase="Unhealthy", reason="Flapping", ready="False"))


def test_writes_are_bounded_by_changes() -> None:
    steps = tuple(Step(n, WORKER, verb, n) for n, verb in enumerate((Verb.EDIT, Verb.TOUCH)))
    faults = (Fault(1, 1, Blow.LINE_CUT),)
    assert writes_allowed(Schedule(1, 9, (WORKER,), steps, faults), changes=5) == 6


@pytest.mark.parametrize(
    ("silent", "heard", "fits"),
    [(3, 3, True), (4, 0, True), (2, 0, False), (3, 4, False)],
    ids=["half", "all", "too few", "too many are heard"],
)
def test_degraded_is_who_is_one_of_many(silent: int, heard: int, fits: bool) -> None:
    degraded = {"phase": "Degraded", "reason": "CorrelatedSilence"}
    everyone = {f"s{number}": shown(model=f"m{number}", **degraded) for number in range(silent)}
    everyone |= {f"h{number}": shown(model="h") for number in range(heard)}
    told = [each for each in differences(everyone, [], [], Truth(Outages())) if "not so" in each]
    assert len(told) == (0 if fits else silent)
