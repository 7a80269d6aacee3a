"""What must hold once all is quiet: registry, API server and statuses agree, and with the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.acting import Life
from chaos.schedule import Schedule, Verb
from chaos.truth import Truth

HEALTHY = ("Healthy", "HeartbeatReceived")
FLAPPING = ("Unhealthy", "Flapping")
"""Who has fallen often has to be well for some time before it returns."""
CONDITION_OF = {
    "Draining": "Draining", "Deregistered": "Deregistered", "DrainRequested": "Draining",
    "Degraded": "Degraded", "Conflicted": "Conflicted",
}  # fmt: skip
"""The condition that must be true beside a phase or a reason."""

WRITTEN_FOR = frozenset({Verb.EDIT, Verb.DRAIN, Verb.UNDRAIN, Verb.DEREGISTER, Verb.REGISTER})
"""The steps that may change a generation or a condition where nothing else is seen to change."""

Object = Mapping[str, Any]


def writes_allowed(schedule: Schedule, changes: int) -> int:
    """How many statuses may be written: one for each change, of which so many were seen.

    What was written and not answered is not written again: its version has gone by.
    """
    return changes + sum(step.verb in WRITTEN_FOR for step in schedule.steps)


def differences(
    shown: Mapping[str, Object], stored: Sequence[Object], lives: Sequence[Life], truth: Truth
) -> Iterator[str]:
    """What is not as it must be, in words."""
    held = {item["metadata"]["name"]: item for item in stored}
    for name in shown.keys() - held.keys():
        yield f"the registry shows {name}, which the API server does not have"
    for name in held.keys() - shown.keys():
        yield f"the registry does not show {name}"
    for name in shown.keys() & held.keys():
        yield from _unequal(name, shown[name], held[name])
    yield from _excused(shown)
    for life in lives:
        found, item = shown.get(life.name), held.get(life.name)
        if found is None or item is None:
            continue
        pair = (found["phase"], found["reason"])
        may_be_out = (
            not life.speaks
            or life.left
            or item["spec"]["rotation"] != "Active"
            or "deletionTimestamp" in item["metadata"]
            or truth.is_kept_out(life.name)
        )
        if not may_be_out and pair not in {HEALTHY, FLAPPING}:
            yield f"{life.name} is heard, and is {'/'.join(pair)}"
        if pair == HEALTHY and not life.speaks:
            yield f"{life.name} is silent, and is {'/'.join(pair)}"


def _excused(shown: Mapping[str, Object]) -> Iterator[str]:
    """Whose silence is taken for one of many where there are not so many."""
    for name, instance in shown.items():
        if instance["phase"] != "Degraded":
            continue
        everyone = list(shown.values())
        of_its_model = [each for each in everyone if each["model"] == instance["model"]]
        if not any(_is_outage(group) for group in (of_its_model, everyone)):
            yield f"{name} is Degraded, and not so many are silent"


def _is_outage(group: Sequence[Object]) -> bool:
    silent = len([each for each in group if each["phase"] == "Degraded"])
    heard = len([each for each in group if each["reason"] == "HeartbeatReceived"])
    return silent >= 3 and silent >= heard


def _unequal(name: str, shown: Object, item: Object) -> Iterator[str]:
    spec, status = item["spec"], item.get("status", {})
    told = (shown["model"], shown["host"], shown["port"], round(shown["weight"] * 100))
    asked = (spec["modelName"], spec["host"], spec["port"], spec["weight"])
    if told != asked:
        yield f"{name}: the registry shows {told}, the API server {asked}"
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    ready = conditions.get("Ready", {})
    decided = (shown["phase"], shown["reason"], "True" if shown["healthy"] else "False")
    written = (status.get("phase"), ready.get("reason"), ready.get("status"))
    if decided != written:
        yield f"{name}: the registry says {decided}, the status {written}"
    if shown["healthy"] and "deletionTimestamp" in item["metadata"]:
        yield f"{name} is deleted, and is given out until its finalizers are gone"
    generation = item["metadata"]["generation"]
    if status.get("observedGeneration") != generation:
        yield f"{name}: generation {generation}, observed {status.get('observedGeneration')}"
    for word in (shown["phase"], shown["reason"]):
        kind = CONDITION_OF.get(word)
        if kind is not None and conditions.get(kind, {}).get("status") != "True":
            yield f"{name} is {word} without the condition {kind}"
