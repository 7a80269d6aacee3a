"""What is read from a pod's JSON."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.cluster.podfacts import facts_of, gate_body
from modelinstance.cluster.translate import UnreadableError
from modelinstance.registry.health.pods import Gate, PodCondition, PodFacts
from modelinstance.registry.instance import InstanceKey
from unit.pods import GATE, condition, pod_json


def state(pod: dict[str, Any]) -> PodCondition:
    return facts_of(pod).state.condition


def test_a_whole_pod() -> None:
    facts = facts_of(
        pod_json(
            annotations={"modelinstance.dev/port": "1", "other": "x"},
            gates=(GATE,),
            conditions=[condition("ContainersReady"), condition(GATE, reason="PodReady")],
        )
    )
    assert facts.key == InstanceKey("prod", "p")
    assert (facts.uid, facts.version, facts.model) == ("uid-p", 7, "vicuna")
    assert facts.settings == {"port": "1"}
    assert facts.address == "10.1.0.1"
    assert facts.addresses == {"10.1.0.1", "fd00::1"}
    assert facts.nodes == {"192.0.2.1"}
    assert facts.ports == (("http", 8000),)
    assert (facts.gated, facts.gate) == (True, Gate(True, "PodReady"))
    assert facts.ready
    assert facts.started


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (pod_json(conditions=[]), PodCondition.NOT_READY),
        (pod_json(conditions=[condition("ContainersReady")]), PodCondition.READY),
        (pod_json(conditions=[condition("ContainersReady", False)]), PodCondition.NOT_READY),
        (pod_json(conditions=[], started=False), PodCondition.STARTING),
        (pod_json(conditions=[], started=False, restarts=1), PodCondition.NOT_READY),
        (pod_json(status={}), PodCondition.STARTING),
        (pod_json(deleting=True), PodCondition.TERMINATING),
        (pod_json(phase="Succeeded"), PodCondition.TERMINATING),
        (pod_json(phase="Failed"), PodCondition.TERMINATING),
        (pod_json(address=None), PodCondition.NOT_READY),
        (pod_json(address=None, conditions=[], started=False), PodCondition.STARTING),
        # gates: ours is a circle, others count
        (pod_json(gates=(GATE,)), PodCondition.READY),
        (
            pod_json(
                gates=(GATE,), conditions=[condition("ContainersReady"), condition(GATE, False)]
            ),
            PodCondition.READY,
        ),
        (pod_json(gates=("x/y",)), PodCondition.NOT_READY),
        (
            pod_json(gates=("x/y",), conditions=[condition("ContainersReady"), condition("x/y")]),
            PodCondition.READY,
        ),
        # the pod's own Ready
        (
            pod_json(
                gates=(GATE,),
                conditions=[
                    condition("ContainersReady"),
                    condition("Ready", False, reason="ReadinessGatesNotReady"),
                ],
            ),
            PodCondition.READY,
        ),
        (
            pod_json(conditions=[condition("ContainersReady"), condition("Ready", False)]),
            PodCondition.NOT_READY,
        ),
    ],
)
def test_how_a_pod_is(pod: dict[str, Any], expected: PodCondition) -> None:
    assert state(pod) is expected


def test_what_it_lacks_is_said() -> None:
    waits = pod_json(conditions=[], started=False)
    assert facts_of(waits).why == "container engine waits (ContainerCreating)"
    unready = pod_json(conditions=[condition("ContainersReady", False, message="no engine")])
    assert facts_of(unready).state.message == (
        "The pod is not ready: ContainersReady is not True (no engine)"
    )


def test_only_tcp_ports_count() -> None:
    ports: list[dict[str, Any]] = [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 2}]
    assert facts_of(pod_json(ports=ports)).ports == (("", 2),)


@pytest.mark.parametrize(
    "broken",
    [
        {"metadata": {"namespace": "n", "name": "p"}},
        pod_json() | {"spec": None},
        pod_json(status={"podIP": "nowhere"}),
        pod_json(status={"conditions": [{}]}),
    ],
)
def test_what_is_no_pod_is_named(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError, match=r"Pod .*/p cannot be read"):
        facts_of(broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(part=st.sampled_from(["spec", "status"]), junk=JSON)
def test_junk_is_refused_and_never_escapes(part: str, junk: object) -> None:
    with contextlib.suppress(UnreadableError):
        assert isinstance(facts_of({**pod_json(), part: junk}), PodFacts)


def test_the_gate_keeps_its_time_while_its_status_stays() -> None:
    shown = facts_of(
        pod_json(gates=(GATE,), conditions=[condition(GATE, False, reason="PodStarting")])
    )
    (same,) = gate_body(shown, Gate(False, "PodNotReady", "why"))["status"]["conditions"]
    assert same["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert (same["status"], same["reason"], same["message"]) == ("False", "PodNotReady", "why")
    (other,) = gate_body(shown, Gate(True, "PodReady"))["status"]["conditions"]
    assert other["lastTransitionTime"] != "2026-03-01T12:00:00Z"
    assert gate_body(shown, Gate(True, "PodReady"))["metadata"] == {"uid": "uid-p"}
