"""Pods with the label have an instance, which is what the pod is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from support.cluster import Cluster
from support.kubelet import Kubelet
from support.operator_process import OperatorProcess
from support.waiting import eventually, stays

PODS = "modelinstance-pods"


def is_in(operator: OperatorProcess, phase: str, reason: str, name: str = "p") -> bool:
    """Whether the registry shows an instance in a phase for a reason; LookupError without it."""
    shown = operator.instances()[f"default/{name}"]
    return (shown["phase"], shown["reason"]) == (phase, reason)


def test_a_pod_lives(cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet) -> None:
    uid = kubelet.create(labels={"app": "engine", "pod-template-hash": "abc"})["metadata"]["uid"]
    eventually(lambda: operator.metric("pods") == 1)
    assert not cluster.instances(), "there is no address yet"

    kubelet.report(started=False)
    eventually(lambda: is_in(operator, "Starting", "PodStarting"))
    made = cluster.get("p")
    assert made["spec"]["modelName"] == "m"
    assert (made["spec"]["host"], made["spec"]["port"]) == ("10.1.0.1", 8000)
    assert made["spec"]["heartbeat"] == {"required": False}
    assert made["metadata"]["labels"] == {
        "app": "engine", "modelinstance.dev/model": "m", "app.kubernetes.io/managed-by": PODS,
    }  # fmt: skip
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}
    assert operator.selects() is None

    kubelet.report(ready=True)
    eventually(lambda: operator.selects() == "p")
    assert is_in(operator, "Healthy", "PodReady")
    eventually(lambda: cluster.phase("p") == "Healthy")

    kubelet.report(ready=False)
    eventually(lambda: operator.selects() is None)
    assert is_in(operator, "Unhealthy", "PodNotReady")
    eventually(lambda: "unready status: [engine]" in cluster.kubectl("describe", "mi", "p"))

    kubelet.report(ready=True)
    eventually(lambda: operator.selects() == "p")
    kubelet.delete()
    eventually(lambda: operator.selects() is None)
    assert is_in(operator, "Draining", "PodTerminating")
    assert cluster.get("p")["spec"] == made["spec"], "nothing is written into it"
    kubelet.finish()
    eventually(lambda: not operator.instances())
    eventually(lambda: not cluster.instances())


def test_what_annotations_say(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.create(
        "p", model_name="meta-llama/Llama-3.1-8B", scheme="https", base_path="/llm",
        weight="50", aliases="llama, llama-latest", heartbeat_timeout_seconds="30",
    )  # fmt: skip
    kubelet.report("p", ip="fd00::5", ready=True)
    spec = eventually(lambda: cluster.get("p"))["spec"]
    assert spec == {
        "modelName": "meta-llama/Llama-3.1-8B", "aliases": ["llama", "llama-latest"],
        "host": "fd00::5", "port": 8000, "scheme": "https", "basePath": "/llm",
        "weight": 50, "rotation": "Active",
        "heartbeat": {"required": True, "timeoutSeconds": 30},
    }  # fmt: skip
    eventually(lambda: is_in(operator, "Starting", "AwaitingFirstHeartbeat"))
    cluster.beat("p")
    eventually(lambda: operator.selects("llama") == "p")


def test_annotations_change(cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet) -> None:
    kubelet.run(weight="50")
    eventually(lambda: cluster.get("p")["spec"]["weight"] == 50)
    annotate(kubelet, weight="70")
    eventually(lambda: cluster.get("p")["spec"]["weight"] == 70)
    annotate(kubelet, weight=None)
    eventually(lambda: cluster.get("p")["spec"]["weight"] == 100)


def annotate(kubelet: Kubelet, **settings: str | None) -> None:
    """Set annotations of the pod, or take them away."""
    annotations = {
        f"modelinstance.dev/{name.replace('_', '-')}": value for name, value in settings.items()
    }
    kubelet.patch({"metadata": {"annotations": annotations}})


def test_a_wrong_annotation_loses_nothing(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run(weight="50")
    eventually(lambda: operator.selects() == "p")
    mark = cluster.audit_mark()
    annotate(kubelet, weight="half")
    said = eventually(kubelet.events)
    assert said == [
        (
            "InvalidAnnotation",
            "annotation modelinstance.dev/weight='half': write a whole number from 0 to 2147483647",
        )
    ]
    annotate(kubelet, aliases="x")  # the pod changes, and says the same
    kubelet.report(ready=False)
    eventually(lambda: is_in(operator, "Unhealthy", "PodNotReady"))
    assert kubelet.events() == said
    assert cluster.get("p")["spec"]["weight"] == 50
    written = [entry.resource for entry in cluster.writes(mark)]
    assert "modelinstances" not in written
    assert [event["count"] for event in cluster.events(kubelet.get()["metadata"]["uid"])] == [1]
    annotate(kubelet, weight="60")
    eventually(lambda: cluster.get("p")["spec"]["weight"] == 60)


def test_an_instance_of_somebody_else_is_never_touched(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    theirs = cluster.create("p", modelName="theirs")
    eventually(operator.instances)
    kubelet.run()
    ((reason, message),) = eventually(kubelet.events)
    assert reason == "NameTaken"
    assert "ModelInstance default/p" in message
    kubelet.delete()
    kubelet.finish()
    eventually(lambda: operator.metric("pods") == 0)
    kept = cluster.get("p")
    assert kept["metadata"]["uid"] == theirs["metadata"]["uid"]
    assert kept["spec"] == theirs["spec"]
    assert "labels" not in kept["metadata"]

    kubelet.run()
    eventually(lambda: operator.metric("pods") == 1)
    cluster.delete("p")
    eventually(lambda: operator.selects() == "p")


def test_fields_that_an_admin_took_over_are_left_alone(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run(weight="50")
    eventually(lambda: operator.selects() == "p")
    cluster.patch("p", {"spec": {"weight": 7}})
    annotate(kubelet, weight="60", scheme="https")
    eventually(lambda: cluster.get("p")["spec"]["scheme"] == "https")
    assert cluster.get("p")["spec"]["weight"] == 7


def test_the_label_is_taken_off(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run()
    eventually(lambda: operator.selects() == "p")
    kubelet.patch({"metadata": {"labels": {"modelinstance.dev/model": None}}})
    eventually(lambda: operator.selects() is None)
    eventually(lambda: not cluster.instances())
    assert kubelet.get()["status"]["phase"] == "Running"
    kubelet.patch({"metadata": {"labels": {"modelinstance.dev/model": "other"}}})
    eventually(lambda: operator.selects("other") == "p")


def test_a_pod_of_the_same_name_comes_after_it(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run("p-0")
    eventually(lambda: operator.selects() == "p-0")
    first = cluster.get("p-0")["metadata"]["uid"]
    kubelet.delete("p-0")
    kubelet.finish("p-0")
    kubelet.run("p-0", ip="10.1.0.2")

    def is_another() -> dict[str, Any]:
        found = cluster.get("p-0")
        assert found["metadata"]["uid"] != first
        return found

    assert eventually(is_another)["spec"]["host"] == "10.1.0.2"
    eventually(lambda: operator.selects() == "p-0")
    assert given(operator, "m") == "10.1.0.2"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_no_instance(
    phase: str, cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run()
    eventually(lambda: operator.selects() == "p")
    kubelet.report(phase=phase, ready=True)
    eventually(lambda: operator.selects() is None)
    eventually(lambda: not cluster.instances())
    assert kubelet.get()["status"]["podIP"] == "10.1.0.1"
    stays(lambda: not cluster.instances(), 0.5)


def test_a_pod_without_the_label_is_not_read(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run("unlabelled", model=None)
    kubelet.run("labelled", ip="10.1.0.2")
    eventually(lambda: operator.selects() == "labelled")
    assert operator.metric("pods") == 1
    assert cluster.instances().keys() == {"default/labelled"}


# -- addresses -----------------------------------------------------------------------------------


def test_a_new_address_is_followed(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run(ip="10.1.0.1")
    eventually(lambda: operator.selects() == "p")
    kubelet.report(ip="10.1.0.2", ready=True)
    eventually(lambda: cluster.get("p")["spec"]["host"] == "10.1.0.2")
    eventually(lambda: operator.selects() == "p")
    assert given(operator, "m") == "10.1.0.2"


@pytest.mark.parametrize("known", [True, False], ids=["it moved", "it was not heard of"])
def test_an_address_that_is_used_again_is_not_given_out_under_the_old_name(
    known: bool, cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    kubelet.run("old", model="old", ip="10.1.0.9")
    eventually(lambda: operator.selects("old") == "old")
    kubelet.create("new", model="new")
    if known:
        kubelet.report("old", ip="10.1.0.8", ready=True)
    kubelet.report("new", ip="10.1.0.9", ready=True)
    hosts = [given(operator, "old")]
    while operator.selects("new") is None or (known and hosts[-1] != "10.1.0.8"):
        hosts.append(given(operator, "old"))
    hosts.append(given(operator, "old"))
    order = [host for host, _ in itertools.groupby(hosts)]
    assert order[-1] == ("10.1.0.8" if known else None)
    assert "10.1.0.9" not in order[1:], "it was given up, and then given out again"
    stays(lambda: given(operator, "old") == order[-1], 0.5)
    assert given(operator, "new") == "10.1.0.9"


def given(operator: OperatorProcess, model: str) -> str | None:
    """The host that select gives, or None."""
    answer = operator.get("/api/v1/select", model=model)
    return answer.json()["host"] if answer.status_code == 200 else None


def test_an_agents_registration_goes_by_its_pod(
    cluster: Cluster, operator: OperatorProcess, kubelet: Kubelet
) -> None:
    uid = kubelet.create("p", model="other", heartbeat_timeout_seconds="60")["metadata"]["uid"]
    kubelet.report(ready=True)
    operator.register(host="10.1.0.1", pod={"name": "p", "uid": uid})
    eventually(lambda: operator.selects() is not None)
    kubelet.report(ready=False)
    eventually(lambda: operator.selects() is None)
    kubelet.report(ready=True)
    eventually(lambda: operator.selects() is not None)
    kubelet.report(ip="10.1.0.2", ready=True)
    eventually(lambda: operator.selects() is None)
    (shown,) = operator.instances(model="m").values()
    assert shown["reason"] == "PodReplaced"
