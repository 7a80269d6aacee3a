"""Pods, probes and a worker's own word: what they do to a record."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.health.pods import PodCondition, PodState
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey, ProbeSpec
from modelinstance.registry.records.owners import Owners
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, live, put, spec
from unit.clock import START, FakeClock

READY = PodState(PodCondition.READY, "ready")
PROBE = ProbeSpec("/health", 10.0, 1.0, 1, 3)


def put_owned(
    records: Records, name: str, owner: str | None, *, model: str = "vicuna",
    host: str = "10.0.0.5", port: int = 8000,
) -> Record:  # fmt: skip
    """A record whose resource a pod owns."""
    wanted = spec(model_name=model, host=host, port=port)
    return records.put(
        InstanceKey("prod", name), f"uid-of-{name}", wanted, created=0.0, owner=owner
    )


def reason(record: Record) -> Reason:
    return record.verdict.reason


# -- the worker's own word -----------------------------------------------------------------------


def test_a_worker_that_says_why_it_cannot_answer_is_not_called(
    records: Records, clock: FakeClock
) -> None:
    record = put(records)
    records.beat(record)
    records.beat(record, failure="GET /health: HTTP 500")
    assert reason(record) is Reason.WORKER_NOT_READY
    assert records.explain(record) == "The worker says: GET /health: HTTP 500"
    with pytest.raises(NoHealthyInstanceError):
        records.select("vicuna")
    records.beat(record)
    assert records.select("vicuna") is record


def test_a_worker_that_cannot_answer_is_heard_all_the_same(
    records: Records, clock: FakeClock
) -> None:
    record = put(records)
    for _ in range(3):
        records.beat(record, failure="no")
        live(records, clock, TIMEOUT - 1)
    assert reason(record) is Reason.WORKER_NOT_READY


def test_silence_is_what_counts_once_the_worker_says_nothing_more(
    records: Records, clock: FakeClock
) -> None:
    record = put(records)
    records.beat(record, failure="no")
    live(records, clock, TIMEOUT)
    assert reason(record) is Reason.HEARTBEAT_EXPIRED


def test_another_explanation_is_told_and_the_same_is_not(records: Records) -> None:
    record = put(records)
    records.beat(record, failure="a")
    before = records.revision
    records.beat(record, failure="a")
    assert records.revision == before
    records.beat(record, failure="b")
    assert records.revision > before


# -- pods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "expected", "phase"),
    [
        (PodCondition.STARTING, Reason.POD_STARTING, Phase.STARTING),
        (PodCondition.READY, Reason.POD_READY, Phase.HEALTHY),
        (PodCondition.NOT_READY, Reason.POD_NOT_READY, Phase.UNHEALTHY),
        (PodCondition.TERMINATING, Reason.POD_TERMINATING, Phase.DRAINING),
    ],
)
def test_without_heartbeats_the_pod_decides(
    records: Records, condition: PodCondition, expected: Reason, phase: Phase
) -> None:
    record = put(records, heartbeat_required=False)
    records.set_pod(record, PodState(condition, f"it is {condition}"))
    assert (reason(record), record.verdict.phase) == (expected, phase)
    if not record.verdict.ready:
        assert records.explain(record) == f"it is {condition}"
    records.set_pod(record, None)
    assert reason(record) is Reason.HEARTBEAT_NOT_REQUIRED


def test_a_ready_pod_is_no_heartbeat(records: Records) -> None:
    record = put(records)
    records.set_pod(record, READY)
    assert reason(record) is Reason.AWAITING_FIRST_HEARTBEAT


def test_a_terminating_pod_gives_way_at_its_address(records: Records) -> None:
    old, new = put(records, "old"), put(records, "new", created=1.0)
    records.beat(old)
    assert reason(new) is Reason.ADDRESS_CONFLICT
    records.set_pod(old, PodState(PodCondition.TERMINATING, "it ends"))
    records.beat(new)
    assert records.select("vicuna") is new


def test_what_was_known_of_a_pod_is_not_known_of_another(records: Records) -> None:
    record = put_owned(records, "a", "pod-1")
    records.set_pod(record, READY)
    put_owned(records, "a", "pod-2")
    assert record.pod is None


# -- an address that is used again ---------------------------------------------------------------


def test_an_address_that_another_pod_has_now_is_not_called_under_the_old_name(
    records: Records,
) -> None:
    old = put_owned(records, "old", "pod-1", model="vicuna")
    records.beat(old)
    new = put_owned(records, "new", "pod-2", model="llama")
    assert records.select("vicuna") is old, "being put is no sign of life"
    records.beat(new)
    assert reason(old) is Reason.POD_REPLACED
    assert records.select("llama") is new


@pytest.mark.parametrize("other", ["fd00::5", "engine.models.svc"])
def test_a_pod_may_be_at_an_address_of_each_family_and_under_a_name(
    records: Records, other: str
) -> None:
    both = [put_owned(records, host, "pod-1", host=host) for host in ("10.0.0.5", other)]
    for record in (*both, *both):
        records.beat(record)
    assert all(record.verdict.ready for record in both)


def test_a_pod_that_is_elsewhere_now_is_not_called_where_it_was(records: Records) -> None:
    old = put_owned(records, "old", "pod-1", host="10.0.0.5")
    records.beat(old)
    records.beat(put_owned(records, "new", "pod-1", host="10.0.0.6"))
    assert reason(old) is Reason.POD_REPLACED


def test_whoever_is_heard_again_is_back(records: Records) -> None:
    old = put_owned(records, "old", "pod-1", model="vicuna")
    records.beat(put_owned(records, "new", "pod-2", model="llama"))
    records.displace(old)
    records.beat(old)
    assert reason(old) is Reason.HEARTBEAT_RECEIVED


@pytest.mark.parametrize(
    ("owner", "port"),
    [(None, 8000), ("pod-1", 8001), ("pod-1", 8000), ("pod-2", 8001)],
    ids=["no pod", "same pod, other port", "same pod, other model", "other pod, other port"],
)
def test_who_may_be_there_beside_it_stays(records: Records, owner: str | None, port: int) -> None:
    """One pod may serve several models; pods in the host's network share its address."""
    other = put_owned(records, "other", owner, model="llama", port=port)
    records.beat(other)
    records.beat(put_owned(records, "new", "pod-1", model="vicuna"))
    assert other.verdict.ready


def test_a_displaced_one_does_not_hold_the_address(records: Records) -> None:
    old = put_owned(records, "old", "pod-1")
    records.beat(old)
    new = put_owned(records, "new", "pod-2")
    records.beat(new)
    assert reason(old) is Reason.POD_REPLACED
    assert records.select("vicuna") is new


def test_the_records_of_a_pod_are_found(records: Records) -> None:
    mine = {put_owned(records, "a", "pod-1"), put_owned(records, "b", "pod-1", port=1)}
    put_owned(records, "c", "pod-2")
    put_owned(records, "d", None)
    assert set(records.owned_by("pod-1")) == mine
    assert not list(records.owned_by("pod-3"))


OWNERS = st.sampled_from([None, "pod-1", "pod-2"])
HOSTS = st.sampled_from(["10.0.0.5", "10.0.0.6"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), OWNERS, HOSTS),
        st.tuples(st.just("beat"), st.sampled_from("abc"), OWNERS, HOSTS),
        st.tuples(st.just("remove"), st.sampled_from("abc"), OWNERS, HOSTS),
    ),
    max_size=30,
)


@given(STEPS)
def test_of_one_place_no_two_pods_are_called_and_nothing_is_left_behind(
    steps: list[tuple[str, str, str | None, str]],
) -> None:
    records = Records(TIMEOUT, clock=FakeClock())
    for step, name, owner, host in steps:
        record = records.get(InstanceKey("prod", name))
        if step == "put":
            put_owned(records, name, owner, model=name, host=host)
        elif record is not None and step == "beat":
            records.beat(record)
        elif record is not None:
            records.remove(record.key)
    ready = [record for record in records if record.verdict.ready and record.owner]
    for record in ready:
        assert all(
            other.owner == record.owner or other.spec.host != record.spec.host for other in ready
        )
    for record in tuple(records):
        records.remove(record.key)
    assert len(records._owners) == 0


def test_a_record_that_no_pod_owns_costs_nothing() -> None:
    owners, record = Owners(), Record(InstanceKey("a", "b"), "u", spec(), 0.0, START)
    owners.enter(record)
    assert len(owners) == 0
    assert not list(owners.displaced_by(record))


# -- probes --------------------------------------------------------------------------------------


def test_a_probe_counts_beside_heartbeats(records: Records) -> None:
    record = put(records)
    records.put(record.key, record.uid, replace(record.spec, probe=PROBE), created=0.0)
    records.beat(record)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    records.set_probe(record, True, "")
    assert reason(record) is Reason.HEARTBEAT_RECEIVED
    records.set_probe(record, False, "GET /health: HTTP 503")
    assert reason(record) is Reason.PROBE_FAILED
    assert records.explain(record) == "The probe fails: GET /health: HTTP 503"


def test_without_heartbeats_the_probe_decides(records: Records) -> None:
    record = put(records, heartbeat_required=False)
    records.put(record.key, record.uid, replace(record.spec, probe=PROBE), created=0.0)
    records.set_probe(record, None, "GET /health: no answer within 1 s")
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
    assert "no answer within 1 s" in records.explain(record)
    records.set_probe(record, True, "")
    assert reason(record) is Reason.PROBE_SUCCEEDED
    assert record.verdict.ready


def test_a_new_address_has_to_be_probed_for_itself(records: Records) -> None:
    record = put(records, heartbeat_required=False)
    probed = replace(record.spec, probe=PROBE)
    records.put(record.key, record.uid, probed, created=0.0)
    records.set_probe(record, True, "")
    records.put(record.key, record.uid, replace(probed, port=9000), created=0.0)
    assert reason(record) is Reason.AWAITING_FIRST_PROBE
