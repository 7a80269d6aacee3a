"""What follows for the records from what pods show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podbook import PodBook, is_elsewhere
from modelinstance.registry.intake.podspecs import MANAGER, Names, instance_of
from modelinstance.registry.intake.registrations import MANAGED_BY
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, key, spec
from unit.clock import FakeClock
from unit.pods import facts


@pytest.fixture
def book(records: Records) -> PodBook:
    """A book of the whole cluster, which was listed and is empty."""
    made = PodBook(records, ("",))
    made.end_list("", ())
    return made


def make(records: Records, pod: PodFacts, **options: Any) -> Record:
    """The record of the resource that was made for a pod."""
    wanted = instance_of(pod)
    return records.put(
        pod.key, f"r-{pod.uid}", replace(wanted.spec, **options), created=0.0,
        labels=dict(wanted.labels), owner=pod.uid,
    )  # fmt: skip


def reason(record: Record) -> Reason:
    return record.verdict.reason


def test_a_record_shows_what_its_pod_shows(records: Records, book: PodBook) -> None:
    pod = facts()
    book.take(pod)
    record = make(records, pod)
    assert reason(record) is Reason.POD_READY
    for version, (fields, expected) in enumerate(
        [
            ({"ready": False, "why": "x"}, Reason.POD_NOT_READY),
            ({"ready": False, "started": False}, Reason.POD_STARTING),
            ({}, Reason.POD_READY),
            ({"terminating": True}, Reason.POD_TERMINATING),
        ]
    ):
        book.take(replace(pod, version=version + 2, **fields))  # type: ignore[arg-type]
        assert reason(record) is expected
    assert record.verdict.ready is False


def test_a_resource_is_not_ready_for_a_moment(records: Records, book: PodBook) -> None:
    """A record that comes while its pod is not ready is never offered."""
    offered: list[Record] = []
    records.on_offer(offered.append)
    book.take(facts(ready=False))
    make(records, facts())
    assert not offered


def test_a_pod_that_is_gone_takes_its_record_out_at_once(records: Records, book: PodBook) -> None:
    book.take(facts())
    record = make(records, facts())
    told: list[InstanceKey] = []
    book.on_change(told.append)
    book.drop(record.key, "uid-p")
    assert reason(record) is Reason.POD_TERMINATING
    assert told[-1] == record.key


def test_what_came_by_itself_is_let_go_with_the_label(records: Records, book: PodBook) -> None:
    book.take(facts(ready=False))
    said = spec(host="10.1.0.1", heartbeat_required=False)
    own = records.put(key("agent"), "u", said, created=0.0, owner="uid-p")
    assert reason(own) is Reason.POD_NOT_READY
    book.drop(facts().key, "uid-p", lives=True)
    assert reason(own) is Reason.HEARTBEAT_NOT_REQUIRED


@pytest.mark.parametrize("end", [{"terminating": True}, {"ended": True}])
def test_what_came_by_itself_ends_with_a_pod_that_only_a_list_shows_gone(
    records: Records, book: PodBook, end: dict[str, Any]
) -> None:
    book.take(facts())
    said = spec(host="10.1.0.1", heartbeat_required=False)
    own = records.put(key("agent"), "u", said, created=0.0, owner="uid-p")
    book.take(facts(version=2, **end))
    assert reason(own) is Reason.POD_TERMINATING
    book.end_list("", [])
    assert reason(own) is Reason.POD_TERMINATING
    records.beat(own)
    assert reason(own) is Reason.POD_TERMINATING


def test_an_older_state_of_a_pod_is_not_taken(records: Records, book: PodBook) -> None:
    book.take(facts(version=5))
    record = make(records, facts())
    book.take(facts(version=4, ready=False))
    assert reason(record) is Reason.POD_READY


def test_an_answer_that_comes_after_the_end_does_not_bring_a_pod_back(
    records: Records, book: PodBook
) -> None:
    book.take(facts())
    record = make(records, facts())
    book.answered(facts(version=2, ready=False))
    assert reason(record) is Reason.POD_NOT_READY
    book.drop(record.key, "uid-p")
    book.answered(facts(version=3))
    assert reason(record) is Reason.POD_TERMINATING
    successor = facts(uid="another", version=9)
    book.take(successor)
    book.answered(facts(version=4))
    assert book.get(record.key) == successor


def test_a_restored_cluster_is_believed(records: Records, book: PodBook) -> None:
    book.take(facts(version=50))
    record = make(records, facts())
    book.end_list("", [facts(version=4, ready=False)], version=10, floor=book.highest)
    assert reason(record) is Reason.POD_NOT_READY
    book.take(facts(version=11))
    assert reason(record) is Reason.POD_READY


def test_a_list_removes_what_it_does_not_show_in_its_scope(records: Records) -> None:
    book = PodBook(records, ("prod", "other"))
    book.end_list("prod", [facts("a"), facts("b", ip="10.1.0.2")])
    book.end_list("other", [])
    assert len(book) == 2
    record = make(records, facts("b", ip="10.1.0.2"))
    book.end_list("prod", [facts("a")])
    assert {pod.key.name for pod in book} == {"a"}
    assert reason(record) is Reason.POD_TERMINATING


def test_before_the_pods_were_listed_nothing_is_said(records: Records) -> None:
    book = PodBook(records, ("",))
    record = make(records, facts())
    assert not book.is_listed("prod")
    assert reason(record) is Reason.HEARTBEAT_NOT_REQUIRED
    book.end_list("", [])
    assert reason(record) is Reason.POD_TERMINATING


# -- addresses -----------------------------------------------------------------------------------


def test_who_has_got_an_address_puts_others_out_of_it(records: Records, book: PodBook) -> None:
    old, new = facts("old", model="old"), facts("new", model="new")
    book.take(old)
    record = make(records, old)
    book.take(new)
    assert reason(record) is Reason.POD_REPLACED
    book.take(replace(old, version=2, why="something else"))
    assert reason(record) is Reason.POD_REPLACED, "it says nothing new of where it is"
    book.drop(new.key, new.uid)
    book.take(replace(old, version=3, address="10.1.0.7", addresses=frozenset({"10.1.0.7"})))
    book.take(replace(old, version=4))
    assert reason(record) is Reason.POD_READY


def test_who_is_still_there_is_called_again_when_the_other_has_left(
    records: Records, book: PodBook
) -> None:
    """Of two pods in the network of one node the second crashes, and is deleted."""
    first, second, third = (facts(name, model=name) for name in ("first", "second", "third"))
    shown = []
    for pod in (first, second, third):
        book.take(pod)
        shown.append(make(records, pod))
    assert [record.verdict.ready for record in shown] == [False, False, True]
    book.take(replace(third, version=2, ended=True))
    assert [record.verdict.ready for record in shown] == [False, True, False]
    book.drop(second.key, second.uid)
    assert [record.verdict.ready for record in shown] == [True, False, False]


def test_a_pod_is_at_its_addresses_of_both_families(records: Records, book: PodBook) -> None:
    pod = facts(addresses=frozenset({"10.1.0.1", "fd00::1"}))
    book.take(pod)
    made = make(records, pod)
    agents = records.put(
        key("agent"), "u", spec(model_name="x", host="fd00::1"), created=0.0, owner=pod.uid
    )
    records.beat(agents)
    before = records.revision
    records.beat(agents)
    assert made.verdict.ready
    assert records.revision == before, "a beat that says nothing new is not told to anybody"


def test_who_is_said_to_be_elsewhere_puts_nobody_out(records: Records, book: PodBook) -> None:
    """An agent names an address that is not its pod's."""
    pod, other = facts("pod"), facts("other", ip="10.1.0.9", model="other")
    book.take(pod)
    book.take(other)
    shown = [make(records, pod), make(records, other)]
    agents = records.put(
        key("agent"), "u", spec(model_name="x", host="10.1.0.9"), created=0.0, owner=pod.uid
    )
    told: list[Record] = []
    records.on_verdict(told.append)
    records.beat(agents)
    assert reason(agents) is Reason.POD_REPLACED
    assert all(record.verdict.ready for record in shown)
    assert not [record for record in told if record is not agents]


def test_a_pod_that_moved_is_at_its_old_address_no_more(records: Records, book: PodBook) -> None:
    book.take(facts())
    record = make(records, facts())
    book.take(facts(ip="10.1.0.2", version=2))
    assert reason(record) is Reason.POD_REPLACED
    make(records, facts(ip="10.1.0.2"))
    assert reason(record) is Reason.POD_READY


def test_ports_of_one_address_are_several_places(records: Records, book: PodBook) -> None:
    one, two = facts("one"), facts("two", ports=(("", 9000),))
    book.take(one)
    record = make(records, one)
    book.take(two)
    assert reason(record) is Reason.POD_READY


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [("10.1.0.1", False), ("10.1.0.9", True), ("192.0.2.1", False), ("a.example", False)],
)
def test_what_is_elsewhere(host: str, elsewhere: bool) -> None:
    assert is_elsewhere(facts(nodes=frozenset({"192.0.2.1"})), host) is elsewhere
    assert not is_elsewhere(facts(ip=""), host)


# -- names ---------------------------------------------------------------------------------------


def test_an_engine_without_names_is_starting(records: Records, book: PodBook) -> None:
    pod = facts(settings={"discover-names": "true"})
    book.take(pod)
    record = make(records, pod)
    assert reason(record) is Reason.POD_STARTING
    book.name(pod, "no answer")
    assert "no answer" in records.explain(record)
    book.name(pod)
    assert reason(record) is Reason.POD_READY
    book.name(pod, "no answer later")
    assert reason(record) is Reason.POD_READY
    assert instance_of(pod, Names("m")).named


# -- the gate ------------------------------------------------------------------------------------


def test_the_gate(records: Records, book: PodBook) -> None:
    pod = facts(gated=True)
    book.take(pod)
    assert book.gate_of(pod).reason == "NotRegistered"
    record = make(records, pod, weight=0.0)
    assert (book.gate_of(pod).routable, book.gate_of(pod).reason) == (False, "WeightIsZero")
    make(records, pod)
    assert (book.gate_of(pod).routable, book.gate_of(pod).reason) == (True, "PodReady")
    records.set_drained(record, drained=True)
    assert (book.gate_of(pod).routable, book.gate_of(pod).reason) == (False, "DrainRequested")


# -- whatever happens ----------------------------------------------------------------------------

PLACES = ("10.1.0.1", "10.1.0.2", "")
steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["take", "drop", "put", "beat"]),
        st.sampled_from(PLACES),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@given(steps=steps)
def test_a_ready_record_is_where_its_living_ready_pod_is(
    steps: list[tuple[str, str, str, bool, bool]],
) -> None:
    records = Records(TIMEOUT, clock=FakeClock())
    book = PodBook(records, ("",))
    book.end_list("", ())
    for version, (name, what, ip, ready, terminating) in enumerate(steps):
        pod = facts(
            name, ip=ip, ready=ready, terminating=terminating, version=version + 1, model=name
        )
        record = records.get(pod.key)
        if what == "take":
            book.take(pod)
        elif what == "drop":
            book.drop(pod.key, pod.uid)
        elif what == "put" and ip:
            make(records, pod)
        elif what == "beat" and record is not None:
            records.beat(record)
        seen: set[tuple[str, int]] = set()
        for record in records:
            assert record.labels[MANAGED_BY] == MANAGER
            if not record.verdict.ready:
                continue
            shown = book.get(record.key)
            assert shown is not None
            assert shown.ready
            assert not shown.terminating
            assert not shown.addresses or record.spec.host in shown.addresses
            place = (record.spec.host, record.spec.port)
            assert place not in seen, "two pods at one place"
            if shown.addresses:
                seen.add(place)
            assert record.life is Life.HEARD or not record.spec.heartbeat_required
