"""Writes for pods go to the very resource that was meant, and to none that is somebody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from modelinstance.cluster.access import Access
from modelinstance.cluster.client import CONFLICT, ClusterError
from modelinstance.cluster.pods import PodClient, PodInstanceWriter
from modelinstance.registry.health.pods import Gate, PodFacts
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podspecs import PodInstance, instance_of
from support.cluster import OPERATOR, Cluster
from support.kubelet import GATE, Kubelet

POD = PodFacts(
    InstanceKey("default", "p"), "pod-uid", 0.0, "m", address="10.1.0.1", ports=(("http", 8000),),
    labels={"modelinstance.dev/model": "m"},
)  # fmt: skip


def wanted(**settings: str) -> PodInstance:
    return instance_of(replace(POD, settings=settings))


@pytest.fixture
async def writer(cluster: Cluster) -> AsyncIterator[PodInstanceWriter]:
    client = PodClient(Access(str(cluster.plane.token_kubeconfig(OPERATOR))))
    yield PodInstanceWriter(client)
    await client.close()


async def test_to_create_makes_a_resource_and_changes_none(
    cluster: Cluster, writer: PodInstanceWriter
) -> None:
    observed, made = await writer.create(wanted())
    assert made
    assert (observed.owner, observed.pod_digest) == ("pod-uid", wanted().digest)
    before = cluster.get("p")
    _, made = await writer.create(wanted(weight="5"))
    assert not made
    assert cluster.get("p") == before


async def test_a_change_is_of_one_uid(cluster: Cluster, writer: PodInstanceWriter) -> None:
    observed, _ = await writer.create(wanted())
    changed = await writer.change(wanted(weight="5"), observed.uid)
    assert changed.spec.weight == 0.05
    cluster.delete("p")
    theirs = cluster.create("p", modelName="theirs")
    with pytest.raises(ClusterError) as caught:
        await writer.change(wanted(weight="6"), observed.uid)
    assert caught.value.status == CONFLICT
    assert cluster.get("p")["spec"] == theirs["spec"]


async def test_a_gate_is_of_one_pod(cluster: Cluster, kubelet: Kubelet) -> None:
    kubelet.run(gates=(GATE,))
    client = PodClient(Access(str(cluster.plane.token_kubeconfig(OPERATOR))))
    with pytest.raises(ClusterError) as caught:
        await client.set_gate(POD, Gate(True, "PodReady"))
    await client.close()
    assert caught.value.status == CONFLICT
    with pytest.raises(LookupError):
        kubelet.gate()


async def test_what_others_took_over_is_left_out(
    cluster: Cluster, writer: PodInstanceWriter
) -> None:
    observed, _ = await writer.create(wanted(weight="5"))
    cluster.patch("p", {"spec": {"weight": 7}, "metadata": {"labels": {"a": "theirs"}}})
    labelled = replace(wanted(weight="6", scheme="https"), labels={"a": "ours", "b": "ours"})
    await writer.change(labelled, observed.uid)
    kept = cluster.get("p")
    assert (kept["spec"]["weight"], kept["spec"]["scheme"]) == (7, "https")
    assert kept["metadata"]["labels"] == {"a": "theirs", "b": "ours"}


async def test_a_removal_is_of_one_uid_and_version(
    cluster: Cluster, writer: PodInstanceWriter
) -> None:
    observed, _ = await writer.create(wanted())
    cluster.patch("p", {"spec": {"rotation": "Draining"}})
    assert not await writer.remove(POD.key, observed.uid, observed.version)
    again = await writer.look(POD.key)
    assert again is not None
    assert not await writer.remove(POD.key, "another", again.version)
    assert await writer.remove(POD.key, again.uid, again.version)
    assert await writer.look(POD.key) is None
    assert not await writer.remove(POD.key, again.uid, again.version)
