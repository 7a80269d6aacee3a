"""From the API's objects to the registry's terms: nothing in an object may end the operator."""

from __future__ import annotations

from typing import Any

import pytest

from modelinstance import api
from modelinstance.cluster.translate import (
    LAST_APPLIED,
    UnreadableError,
    observe,
    observe_registry,
    status_body,
)
from modelinstance.registry.mirror import Mirror
from modelinstance.registry.records import Records

DEEP = f'["{api.HEARTBEAT_ANNOTATION}",' + "[" * 50_000
LONG = f'["{api.HEARTBEAT_ANNOTATION}",' + "[" * 200_000


def raw(**changes: Any) -> dict[str, Any]:
    metadata = {
        "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "7", "generation": 2,
        "creationTimestamp": "2026-03-01T12:00:00Z", **changes.pop("metadata", {}),
    }  # fmt: skip
    spec = {"modelName": "m", "host": "H.Example.", "port": 8000, **changes.pop("spec", {})}
    return {"metadata": metadata, "spec": spec, **changes}


@pytest.mark.parametrize("text", [DEEP, LONG, "{", "[]", "null", '{"metadata": 1}'])
def test_a_last_applied_configuration_that_kubectl_did_not_write_is_ignored(text: str) -> None:
    annotations = {LAST_APPLIED: text + api.HEARTBEAT_ANNOTATION, api.HEARTBEAT_ANNOTATION: "t1"}
    observed = observe(raw(metadata={"annotations": annotations}))
    assert (observed.heartbeat, observed.heartbeat_applied) == ("t1", None)


@pytest.mark.parametrize("since", ["0000-01-01T00:00:00Z", "yesterday", 5, None])
def test_a_status_that_no_operator_wrote_is_none(since: object) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": since}
    incarnation = {"uid": "u", "modelName": "m", "host": "h", "port": 1}
    status = {
        "phase": "Healthy", "observedGeneration": 1, "incarnation": incarnation,
        "conditions": [condition],
    }  # fmt: skip
    assert observe(raw(status=status)).reported is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spec": {"port": "x"}}, "spec.port='x'"),
        ({"spec": {"rotation": "Sideways"}}, "spec.rotation='Sideways'"),
        ({"metadata": {"creationTimestamp": "never"}}, "never"),
        ({"metadata": {"resourceVersion": "x"}}, "x"),
    ],
)
def test_what_cannot_be_read_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnreadableError, match="ModelInstance default/a") as error:
        observe(raw(**changes))
    assert named in str(error.value)


def test_settings_that_cannot_be_read_are_named() -> None:
    with pytest.raises(UnreadableError, match=r"spec\.resyncIntervalSeconds"):
        observe_registry(raw(spec={"resyncIntervalSeconds": -1}))


def test_what_is_written_is_read_again_as_it_was() -> None:
    mirror = Mirror(Records(120.0))
    mirror.end_list(mirror.begin_list(""), {}, 1)
    mirror.changed(observe(raw(metadata={"annotations": {api.HEARTBEAT_ANNOTATION: "t"}})), run=1)
    (write,) = mirror.plan_writes(10)
    body = status_body(write)
    seen = observe({**raw(metadata={"resourceVersion": "8"}), "status": body["status"]})
    mirror.write_answered(write.key, seen)
    assert mirror.plan_writes(10) == []
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["status"]["address"] == "http://h.example:8000"
