"""From the API's objects to the registry's terms: nothing in an object may end the operator."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance import api
from modelinstance.cluster.translate import (
    LAST_APPLIED,
    UnreadableError,
    observe,
    observe_registry,
    registration_body,
    status_body,
)
from modelinstance.registry.instance import InstanceSpec
from modelinstance.registry.intake.registrations import Pod, Registration
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records

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


@pytest.mark.parametrize(("deregistered", "drained"), [(True, False), (False, True), (True, True)])
def test_what_was_said_over_http_is_read_again_from_the_status(
    deregistered: bool, drained: bool
) -> None:
    records = Records(120.0)
    mirror = Mirror(records)
    mirror.end_list(mirror.begin_list(""), {}, 1)
    mirror.changed(observe(raw()), run=1)
    (record,) = records
    records.set_deregistered(record, deregistered=deregistered)
    records.set_drained(record, drained=drained)
    (write,) = mirror.plan_writes(10)
    reported = observe({**raw(), "status": status_body(write)["status"]}).reported
    assert reported is not None
    assert reported.holds("Deregistered") is deregistered
    assert reported.holds("Draining", "DrainRequested") is drained
    mirror.write_answered(
        write.key,
        observe({**raw(metadata={"resourceVersion": "8"}), "status": status_body(write)["status"]}),
    )
    assert mirror.plan_writes(10) == []


def stored(registration: Registration) -> dict[str, Any]:
    """The object of a registration, with what the API server adds to it."""
    body = registration_body(registration)
    added = {"uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-03-01T12:00:00Z"}
    return {**body, "metadata": {**body["metadata"], **added}}


@given(
    st.builds(
        InstanceSpec,
        model_name=st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1),
        host=st.sampled_from(["10.0.0.5", "fd00::5", "vicuna-0.models.svc"]),
        port=st.integers(1, 65535),
        scheme=st.sampled_from(["http", "https"]),
        base_path=st.sampled_from(["", "/v1"]),
        aliases=st.frozensets(st.sampled_from(["a", "b", "c"])),
        weight=st.integers(0, 100_000).map(lambda hundredths: hundredths / 100),
        heartbeat_required=st.booleans(),
        heartbeat_timeout=st.none() | st.integers(1, 86400),
    ),
    st.dictionaries(st.sampled_from(["tier", "zone"]), st.sampled_from(["", "gold"])),
)
def test_what_a_worker_registers_is_what_its_resource_says(
    spec: InstanceSpec, labels: dict[str, str]
) -> None:
    registration = Registration("prod", spec, labels)
    observed = observe(stored(registration))
    assert observed.key == registration.key
    assert observed.spec == spec
    assert observed.labels == registration.all_labels
    assert observed.registration == registration.digest


def test_a_resource_holds_nothing_that_the_worker_has_not_said() -> None:
    body = registration_body(Registration("prod", InstanceSpec("m", "h", 8000)))
    assert body["spec"] == {"modelName": "m", "host": "h", "port": 8000}
    assert set(body["metadata"]) == {"name", "namespace", "labels", "annotations"}
    assert set(body) == {"apiVersion", "kind", "metadata", "spec"}


def test_an_object_that_no_worker_registered_has_no_digest() -> None:
    assert observe(raw()).registration is None
    assert observe(raw(metadata={"annotations": {"a": "b"}})).registration is None


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


def test_what_goes_with_a_pod_says_so_and_is_read_again() -> None:
    body = registration_body(Registration("default", InstanceSpec("m", "h", 1), pod=Pod("p", "u1")))
    owners = body["metadata"]["ownerReferences"]
    assert owners == [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}]
    other = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u2"}
    assert observe(raw(metadata={"ownerReferences": [other, *owners]})).owner == "u1"
    assert observe(raw(metadata={"ownerReferences": [other]})).owner is None
    assert observe(raw()).owner is None
