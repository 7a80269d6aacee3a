"""Workers register over HTTP: what is written of it, and what is left to others."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

MANAGER = "modelinstance-registration"
ANNOTATION = "modelinstance.dev/registration"
MANAGED_BY = "app.kubernetes.io/managed-by"

_numbers = itertools.count()


def a_tick_passes(cluster: Cluster) -> None:
    """See to it that statuses have been written, if any were due."""
    name = f"later-{next(_numbers)}"
    cluster.create(name, modelName="other")
    eventually(lambda: cluster.phase(name) == "Starting")


def registered(cluster: Cluster, operator: OperatorProcess, **body: Any) -> str:
    """The name of a worker that has just registered, once its status is written."""
    name: str = operator.register(**body)["name"]
    eventually(lambda: cluster.phase(name) == "Healthy")
    return name


def edit(cluster: Cluster, name: str, kind: str, patch: str) -> None:
    """An admin's edit, as ``kubectl edit`` makes it."""
    cluster.kubectl(
        "patch", "mi", name, f"--type={kind}", f"--patch={patch}", "--field-manager=kubectl-edit"
    )


# -- what is written -----------------------------------------------------------------------------


def test_a_registration_writes_a_resource_that_is_healthy_at_once(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    mark = cluster.audit_mark()
    answer = operator.register(
        model="meta-llama/Llama-3.1-8B", aliases=["z", "b"], host="W.Example", port=8001,
        scheme="https", basePath="/v1", weight=0.5, labels={"tier": "gold"},
        heartbeat={"timeoutSeconds": 60}, load={"running": 3},
    )  # fmt: skip
    assert operator.selects("b") == answer["name"]
    assert answer["stored"] is True
    assert (answer["namespace"], answer["phase"], answer["reason"]) == (
        "default", "Healthy", "HeartbeatReceived",
    )  # fmt: skip
    assert answer["heartbeatTimeoutSeconds"] == 60
    assert answer["load"]["running"] == 3
    assert operator.instances(selector=f"tier=gold,{MANAGED_BY}={MANAGER}")

    name = answer["name"]
    assert name.startswith("meta-llama-llama-3-1-8b-")
    written = cluster.get(name)
    assert written["spec"] == {
        "modelName": "meta-llama/Llama-3.1-8B", "aliases": ["b", "z"], "host": "w.example",
        "port": 8001, "scheme": "https", "basePath": "/v1", "weight": 50, "rotation": "Active",
        "heartbeat": {"required": True, "timeoutSeconds": 60},
    }  # fmt: skip
    assert written["metadata"]["labels"] == {"tier": "gold", MANAGED_BY: MANAGER}
    assert written["metadata"]["annotations"].keys() == {ANNOTATION}
    assert not {"finalizers", "ownerReferences"} & written["metadata"].keys()
    owners = [
        (entry["manager"], entry["operation"], set(entry["fieldsV1"]))
        for entry in written["metadata"]["managedFields"]
        if entry.get("subresource") != "status"
    ]
    assert owners == [(MANAGER, "Apply", {"f:metadata", "f:spec"})]

    eventually(lambda: cluster.phase(name) == "Healthy")
    columns = cluster.kubectl("get", "mi", name, "--no-headers").split()[:5]
    assert columns == [
        name, "meta-llama/Llama-3.1-8B", "https://w.example:8001/v1", "Healthy",
        "HeartbeatReceived",
    ]  # fmt: skip
    a_tick_passes(cluster)
    resource, *statuses = [(e.verb, e.resource, e.code) for e in cluster.writes_on(name, mark)]
    assert resource == ("patch", "modelinstances", 201)
    assert set(statuses) == {("patch", "modelinstances/status", 200)}
    assert len(statuses) <= 2, "one, or two if the watch was quicker than the answer to the other"


def test_beats_name_the_incarnation_and_are_never_written(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    answer = operator.register()
    name, incarnation = answer["name"], answer["incarnation"]
    eventually(lambda: cluster.phase(name) == "Healthy")
    before, mark = cluster.get(name), cluster.audit_mark()
    accepted = {"incarnation": incarnation, "result": "accepted"}
    for _ in range(20):
        assert operator.beat(incarnation) == accepted
    several = [{"incarnation": incarnation}, {"incarnation": "0" * 16}]
    response = operator.http.post("/api/v1/heartbeats", json={"items": several})
    assert response.json() == {"items": [accepted, {"incarnation": "0" * 16, "result": "unknown"}]}
    a_tick_passes(cluster)
    operator.beat(incarnation)
    assert not cluster.writes_on(name, mark)
    assert cluster.get(name) == before

    edit(cluster, name, "merge", '{"spec": {"heartbeat": {"timeoutSeconds": 1}}}')
    eventually(lambda: cluster.condition(name)["reason"] == "HeartbeatExpired")
    edit(cluster, name, "merge", '{"spec": {"heartbeat": {"timeoutSeconds": 600}}}')
    eventually(lambda: cluster.get(name)["status"]["observedGeneration"] == 3)
    assert operator.selects("m") is None
    operator.beat(incarnation)
    assert operator.selects("m") == name
    eventually(lambda: cluster.phase(name) == "Healthy")


def test_the_same_registration_again_writes_nothing(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    body = {"aliases": ["b", "a"], "weight": 2, "labels": {"tier": "gold", "zone": "a"}}
    name = registered(cluster, operator, **body)
    before, mark = cluster.get(name), cluster.audit_mark()
    body = {"labels": {"zone": "a", "tier": "gold"}, "weight": 2.001, "aliases": ["a", "b", "a"]}
    for host in ("w.example", "W.EXAMPLE."):
        assert operator.register(200, host=host, **body)["name"] == name
    a_tick_passes(cluster)
    assert not cluster.writes_on(name, mark)
    assert cluster.get(name) == before


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"weight": 3}, {"weight": 300}),
    ({"aliases": ["b", "c"]}, {"aliases": ["b", "c"]}),
    ({"scheme": "https", "basePath": "/v1"}, {"scheme": "https", "basePath": "/v1"}),
    ({"heartbeat": {"timeoutSeconds": 9}}, {"heartbeat": {"required": True, "timeoutSeconds": 9}}),
    ({"heartbeat": {"required": False}}, {"heartbeat": {"required": False}}),
    ({"labels": {"tier": "gold"}}, {}),
    ({}, {}),
]
"""What a worker says beside its address, one time after the other, and what it makes of a spec."""


def test_a_changed_registration_is_written_and_what_it_leaves_out_is_taken_back(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    first = operator.register(aliases=["a"], weight=2, labels={"zone": "a"})
    usual = {
        "modelName": "m", "host": "w.example", "port": 8000, "scheme": "http", "basePath": "",
        "weight": 100, "rotation": "Active", "heartbeat": {"required": True},
    }  # fmt: skip
    for body, spec in CHANGES:
        answer = operator.register(200, **body)
        assert answer["incarnation"] == first["incarnation"], "it is the same worker"
        assert answer["weight"] == body.get("weight", 1), "what was written is known at once"
        assert answer["aliases"] == body.get("aliases", [])
        assert operator.selects("m") == first["name"]
        written = cluster.get(first["name"])
        assert written["spec"] == {**usual, **spec}
        assert written["metadata"]["labels"] == {MANAGED_BY: MANAGER, **body.get("labels", {})}
    assert len(cluster.instances()) == 1
    generation = cluster.get(first["name"])["metadata"]["generation"]
    eventually(lambda: cluster.get(first["name"])["status"]["observedGeneration"] == generation)


def test_a_worker_that_names_a_namespace_is_enrolled_there(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.add_namespace("elsewhere")
    answer = operator.register(namespace="elsewhere")
    assert answer["namespace"] == "elsewhere"
    assert cluster.instances().keys() == {f"elsewhere/{answer['name']}"}
    here = operator.register(port=8001)
    assert here["namespace"] == "default"
    assert f"default/{here['name']}" in cluster.instances()


def test_many_workers_at_once_are_each_enrolled_once(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    ports = [port for port in range(8000, 8020) for _ in range(3)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda port: operator.http.post(
            "/api/v1/instances", json={"model": "m", "host": "w.example", "port": port}
        ), ports))  # fmt: skip
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len(cluster.instances()) == 20
    assert len({answer.json()["incarnation"] for answer in answers}) == 20
    assert len(operator.instances(healthy=True)) == 20


# -- what is refused -----------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"namespace": "no-such"}, 'HTTP 404: namespaces "no-such" not found'),
    ({"namespace": "No_Such"}, "body.namespace='No_Such': "),
    ({"host": "fd00::5%eth0"}, "host must be an IP address or a DNS name, for example 10.0.0.5"),
    ({"host": "http://w"}, "body.host='http://w': host must not hold a scheme"),
    ({"port": 0}, "body.port=0: "),
    ({"weight": 0.001}, "body.weight=0.001: the least weight above 0 is 0.01"),
    ({"labels": {"tier": "g o l d"}}, "body.labels={'tier': 'g o l d'}: 'tier': 'g o l d' is no"),
    ({"labels": {MANAGED_BY: "me"}}, "is set by the registry: leave it out"),
    ({"rotation": "Disabled"}, "body.rotation='Disabled': "),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED, ids=str)
def test_what_is_refused_leaves_nothing_behind(
    body: dict[str, Any], sentence: str, cluster: Cluster, operator: OperatorProcess
) -> None:
    problem = operator.register(422, **body)
    assert sentence in problem["detail"]
    assert problem["status"] == 422
    assert operator.get("/api/v1/select", model="m").status_code == 404
    assert not operator.instances()
    assert operator.metric("registrations_held") == 0
    assert not cluster.instances()
    assert operator.register()["stored"] is True


# -- what others have written --------------------------------------------------------------------


def test_a_weight_that_an_admin_has_set_outlives_every_registration(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    name = registered(cluster, operator, weight=2, aliases=["a"])
    edit(cluster, name, "merge", '{"spec": {"weight": 7}}')
    eventually(lambda: operator.instances()[f"default/{name}"]["weight"] == 0.07)
    assert operator.register(200, weight=2, aliases=["a"])["weight"] == 0.07
    changed = operator.register(200, weight=3, aliases=["b"])
    assert (changed["weight"], changed["aliases"]) == (0.07, ["b"])
    assert operator.register(200, aliases=["b"])["weight"] == 0.07
    assert cluster.get(name)["spec"]["weight"] == 7
    generation = cluster.get(name)["metadata"]["generation"]
    eventually(lambda: cluster.get(name)["status"]["observedGeneration"] == generation)
    mark = cluster.audit_mark()
    operator.register(200, aliases=["b"])
    assert not cluster.writes_on(name, mark)
    assert cluster.get(name)["metadata"]["generation"] == generation


def test_an_admin_who_disables_a_worker_has_the_last_word(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    name = registered(cluster, operator)
    edit(cluster, name, "merge", '{"spec": {"rotation": "Disabled"}}')
    eventually(lambda: operator.phase(name) == "Disabled")
    for weight in (1, 2):
        answer = operator.register(200, weight=weight)
        assert (answer["phase"], answer["weight"]) == ("Disabled", weight)
        operator.beat(answer["incarnation"])
        assert operator.selects("m") is None
        assert cluster.get(name)["spec"]["rotation"] == "Disabled"


def test_what_an_admin_has_taken_away_stays_away_with_the_same_registration(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    body = {"aliases": ["a", "b"], "labels": {"tier": "gold", "zone": "a"}}
    name = registered(cluster, operator, **body)
    edit(cluster, name, "json", '[{"op": "remove", "path": "/spec/aliases/0"}]')
    cluster.kubectl("label", "mi", name, "tier-", "zone=b", "--overwrite")
    eventually(lambda: operator.instances(selector="!tier,zone=b"))
    assert operator.register(200, **body)["aliases"] == ["b"]
    assert operator.selects("a") is None
    assert cluster.get(name)["spec"]["aliases"] == ["b"]
    operator.register(200, **body, weight=2)
    labels = cluster.get(name)["metadata"]["labels"]
    assert labels == {MANAGED_BY: MANAGER, "tier": "gold", "zone": "b"}, "one was taken over"


def test_a_resource_that_an_admin_moved_away_is_a_conflict_until_it_is_set_right(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    name = registered(cluster, operator)
    early = operator.instances()[f"default/{name}"]["incarnation"]
    edit(cluster, name, "merge", '{"spec": {"host": "moved.example"}}')
    eventually(lambda: operator.phase(name) == "Starting")
    operator.beat(early, 404)
    for weight in (1, 2):
        problem = operator.register(409, weight=weight)
        assert f"ModelInstance default/{name} of this worker was edited" in problem["detail"]
        assert "at host moved.example port 8000: delete it, or set it back" in problem["detail"]
        assert cluster.get(name)["spec"]["host"] == "moved.example"
        assert operator.phase(name) == "Starting", "nothing was heard from there"
    assert len(operator.instances()) == 1
    edit(cluster, name, "merge", '{"spec": {"host": "w.example"}}')
    eventually(lambda: operator.instances()[f"default/{name}"]["host"] == "w.example")
    assert operator.register(200)["incarnation"] == early
    assert operator.selects("m") == name


def test_a_resource_that_was_applied_by_hand_is_used_as_it_is(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.add_namespace("elsewhere")
    cluster.apply(cluster.manifest("hand", host="w.example", weight=7))
    cluster.create("not-it", namespace="elsewhere", host="w.example", port=8001)
    eventually(lambda: cluster.phase("hand") and cluster.phase("not-it", "elsewhere"))
    before, mark = cluster.get("hand")["metadata"], cluster.audit_mark()
    for body in ({}, {"weight": 3, "labels": {"tier": "gold"}, "aliases": ["b"]}):
        answer = operator.register(200, **body)
        assert (answer["name"], answer["weight"], answer["phase"]) == ("hand", 0.07, "Healthy")
        assert answer["stored"] is True
        operator.beat(answer["incarnation"])
    assert operator.selects("m") == "hand"
    eventually(lambda: cluster.phase("hand") == "Healthy")
    after = cluster.get("hand")["metadata"]
    written = eventually(lambda: cluster.writes_on("hand", mark))
    assert {e.resource for e in written} == {"modelinstances/status"}
    for field in ("labels", "annotations", "generation"):
        assert after.get(field) == before.get(field)

    other = operator.register(port=8001)
    assert other["namespace"] == "default", "what is in another namespace is not it"
    assert cluster.instances().keys() == {
        "default/hand", "elsewhere/not-it", f"default/{other['name']}",
    }  # fmt: skip


# -- the end -------------------------------------------------------------------------------------


def test_a_worker_that_said_goodbye_returns_by_registering_only(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    answer = operator.register()
    name, incarnation = answer["name"], answer["incarnation"]
    operator.deregister(name, status=409, incarnation="0" * 16)
    assert operator.selects("m") == name, "what is late concerns nobody"
    gone = operator.deregister(name, incarnation=incarnation)
    assert (gone["phase"], gone["reason"]) == ("Unhealthy", "Deregistered")
    condition = eventually(lambda: cluster.condition(name, "Deregistered"))
    assert (condition["status"], condition["reason"]) == ("True", "Deregistered")
    stored = cluster.get(name)
    assert stored["status"]["phase"] == "Unhealthy"
    assert stored["status"]["incarnation"] == {
        "uid": stored["metadata"]["uid"], "modelName": "m", "host": "w.example", "port": 8000,
    }  # fmt: skip

    operator.beat(incarnation, 410)
    cluster.beat(name)
    a_tick_passes(cluster)
    assert operator.selects("m") is None
    assert operator.phase(name) == "Unhealthy"

    assert operator.register(200)["incarnation"] == incarnation
    assert operator.selects("m") == name
    operator.beat(incarnation)
    eventually(lambda: cluster.phase(name) == "Healthy")
    assert [c["type"] for c in cluster.get(name)["status"]["conditions"]] == ["Ready"]


def test_a_drain_is_a_condition_until_it_is_taken_back(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    answer = operator.register()
    name, incarnation = answer["name"], answer["incarnation"]
    assert operator.drain(name)["phase"] == "Draining"
    condition = eventually(lambda: cluster.condition(name, "Draining"))
    assert (condition["status"], condition["reason"]) == ("True", "DrainRequested")
    assert cluster.phase(name) == "Draining"
    operator.beat(incarnation)
    assert operator.selects("m") is None
    assert cluster.get(name)["spec"]["rotation"] == "Active", "the spec is its owner's"
    assert operator.undrain(name)["phase"] == "Healthy"
    assert operator.selects("m") == name
    eventually(lambda: cluster.phase(name) == "Healthy")
    assert [c["type"] for c in cluster.get(name)["status"]["conditions"]] == ["Ready"]
    operator.drain(name)
    assert operator.register(200)["phase"] == "Healthy"


def test_a_worker_whose_resource_was_deleted_never_comes_back_by_a_beat(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    answer = operator.register()
    name, incarnation = answer["name"], answer["incarnation"]
    cluster.kubectl("delete", "mi", name)
    eventually(lambda: not operator.instances())
    same = {"model": "m", "host": "w.example", "port": 8000}
    for body in ({}, {"registration": same}):
        problem = operator.beat(incarnation, 404, **body)
        assert "no such incarnation is known; register" in problem["detail"]
    assert not operator.instances()
    assert not cluster.instances()
    again = operator.register()
    assert again["name"] == name
    assert again["incarnation"] != incarnation
    operator.beat(incarnation, 404)
    operator.beat(again["incarnation"])


def test_a_name_that_is_used_again_has_another_incarnation(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    answer = operator.register()
    name, incarnation = answer["name"], answer["incarnation"]
    cluster.delete(name)
    cluster.create(name, host="w.example")
    eventually(lambda: operator.phase(name) == "Starting")
    operator.beat(incarnation, 404)
    operator.deregister(name, status=409, incarnation=incarnation)
    assert operator.phase(name) == "Starting"
    mark = cluster.audit_mark()
    assert operator.register(200)["incarnation"] != incarnation
    eventually(lambda: cluster.phase(name) == "Healthy")
    written = eventually(lambda: cluster.writes_on(name, mark))
    assert {e.resource for e in written} == {"modelinstances/status"}
