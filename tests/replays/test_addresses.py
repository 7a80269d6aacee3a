"""An address that changes: the old one is given out no more, the new one not before it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.cluster import Cluster
from support.kubelet import Kubelet
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelinstances.modelinstance.dev"
EMPTY = "host must not be empty: write an IP address or a DNS name"
HOST_RULE = "host-rule"
"""Stands in the CRD, not in the operator's process."""


def given(operator: OperatorProcess, model: str = "m") -> str | None:
    """The address that select gives, or None."""
    response = operator.get("/api/v1/select", model=model)
    return response.json()["address"] if response.status_code == 200 else None


@replay(without="new-address-new-life")
def test_an_address_that_is_edited_is_not_given_out_before_it_reports(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", beat="1")
    eventually(lambda: given(operator) == "http://a.example:8000")
    cluster.patch("a", {"spec": {"host": "b.example", "port": 9000}})
    eventually(lambda: operator.instances()["default/a"]["port"] == 9000)
    with proof:
        stays(lambda: given(operator) is None, 0.5)
        assert operator.instances()["default/a"]["reason"] == "AwaitingFirstHeartbeat"
        cluster.beat("a")
        eventually(lambda: given(operator) == "http://b.example:9000", within=1)


@replay(without="address-in-incarnation")
def test_a_late_beat_of_the_old_process_does_not_vouch_for_the_new_port_of_the_same_name(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("a")
    eventually(lambda: operator.phase("a") == "Starting")
    old = operator.instances()["default/a"]["incarnation"]
    operator.beat(old)
    assert given(operator) == "http://a.example:8000"
    cluster.patch("a", {"spec": {"port": 9000}})
    eventually(lambda: operator.instances()["default/a"]["port"] == 9000)
    operator.http.post("/api/v1/heartbeats", json={"incarnation": old})
    with proof:
        stays(lambda: given(operator) is None, 0.5)
        assert operator.phase("a") == "Starting"
        operator.beat(old, status=404)
        operator.beat(operator.instances()["default/a"]["incarnation"])
        assert given(operator) == "http://a.example:9000"


@pytest.fixture
def crd(cluster: Cluster, left_out: str | None) -> Iterator[None]:
    """The resource definition, without what it says of hosts if that is left out."""
    if left_out != HOST_RULE:
        yield
        return
    definition = cluster.request("GET", CRD).json()
    for version in definition["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        host = spec["properties"]["host"]
        assert host.pop("x-kubernetes-validations")
        host.pop("minLength", None)
    assert cluster.request("PUT", CRD, json=definition).status_code == 200
    eventually(lambda: not is_refused(cluster))
    yield
    cluster.install()
    eventually(lambda: is_refused(cluster))


def is_refused(cluster: Cluster) -> bool:
    """Whether a resource without an address is."""
    manifest = yaml.safe_dump(cluster.manifest("other", host=""))
    said = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest, check=False)
    return EMPTY in said


@replay(without=HOST_RULE)
@pytest.mark.usefixtures("crd")
def test_an_address_that_is_emptied_is_refused_with_a_sentence_that_says_what_to_write(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", beat="1")
    eventually(lambda: given(operator) == "http://a.example:8000")
    manifest = yaml.safe_dump(cluster.manifest("a", host=""))
    with proof:
        done = cluster.plane.kubectl("apply", "-f", "-", input=manifest, check=False)
        assert done.returncode != 0
        assert EMPTY in done.stderr
        assert given(operator) == "http://a.example:8000"


@replay(without="address-of-a-pod")
def test_a_pod_that_has_lost_its_address_is_not_given_out(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, proof: Proof
) -> None:
    """As when it was evicted: the kubelet takes its address away, and says no more."""
    operator = start_operator(cluster)
    kubelet.run()
    eventually(lambda: given(operator) == "http://10.1.0.1:8000")
    lost: dict[str, Any] = {"status": {"podIP": None, "podIPs": None}}
    kubelet.patch(lost, of="/status")
    with proof:
        eventually(lambda: given(operator) is None, within=1)
        assert "it has no address" in operator.instances()["default/p"]["message"]
