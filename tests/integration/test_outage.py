"""What becomes of statuses that could not be written, or were not taken."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from support.audit import AuditEntry
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.proxy import HoldingProxy
from support.truth import equals_truth
from support.waiting import eventually, stays

WINDOW = 20
"""How many writes are under way at a time."""
RATE = 25
INSTANCES = 300
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelinstances.modelinstance.dev"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/modelinstance-system.modelinstance-operator"


def status_writes(cluster: Cluster, mark: int) -> list[AuditEntry]:
    return [e for e in cluster.writes(mark) if e.resource == "modelinstances/status"]


def settled(cluster: Cluster, operator: OperatorProcess) -> bool:
    """Whether the operator knows all that the API server holds, and has nothing left to write."""
    return equals_truth(cluster, operator) and operator.metric("status_writes_pending") == 0


def is_status_patch(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Match the writes of ModelInstances' statuses."""
    return method == "PATCH" and "/modelinstances/" in path and path.endswith("/status")


def beat(operator: OperatorProcess, numbers: Iterable[int]) -> None:
    """Heartbeats over HTTP, in one request."""
    shown = operator.instances()
    beats = [{"incarnation": shown[f"default/i-{number}"]["incarnation"]} for number in numbers]
    operator.http.post("/api/v1/heartbeats", json={"items": beats}).raise_for_status()


def test_after_an_outage_each_status_is_written_once_and_no_faster_than_allowed(
    own_cluster: Cluster, start_operator: Start
) -> None:
    cluster = own_cluster
    cluster.add_namespace("leaving")
    cluster.create("last", namespace="leaving", modelName="other")
    cluster.request("DELETE", "/api/v1/namespaces/leaving")
    for number in range(INSTANCES):
        cluster.create(f"i-{number}", timeout=10 if number < 30 else 600)
    operator = start_operator(cluster)

    def all_are_healthy() -> bool:
        beat(operator, range(INSTANCES))
        phases = cluster.phases()
        return settled(cluster, operator) and Counter(phases.values())["Healthy"] == INSTANCES

    eventually(all_are_healthy, within=20)
    generation = cluster.patch_registry({"statusWritesPerSecond": RATE})["metadata"]["generation"]
    eventually(lambda: cluster.registry()["status"]["observedGeneration"] == generation)

    eventually(all_are_healthy)
    cluster.plane.kill_apiserver()
    mark = cluster.audit_mark()
    drained, gone, unchanged = range(30, 90), range(90, 150), range(150, 200)
    for say in (operator.drain, operator.undrain, operator.drain):
        for number in drained:
            say(f"i-{number}")
    for number in gone:
        operator.drain(f"i-{number}")
        operator.undrain(f"i-{number}")
        operator.deregister(f"i-{number}")
    for number in unchanged:
        operator.drain(f"i-{number}")
        operator.undrain(f"i-{number}")
    operator.drain("last", "leaving")
    changed = {f"i-{number}" for number in range(150)} | {"last"}
    silent = [f"default/i-{number}" for number in range(30)]
    eventually(
        lambda: {operator.instances()[key]["phase"] for key in silent} == {"Unhealthy"}, within=10
    )
    assert not status_writes(cluster, mark)

    cluster.plane.start_apiserver()
    eventually(lambda: settled(cluster, operator), within=len(changed) / RATE + 10)
    phases = Counter(cluster.phases().values())
    assert phases == {"Healthy": 150, "Draining": 61, "Unhealthy": 90}
    writes = status_writes(cluster, mark)
    assert Counter(w.name for w in writes if w.code == 200) == dict.fromkeys(changed, 1)
    assert {w.name for w in writes} == changed
    assert len(writes) < len(changed) + WINDOW, "it was not stormed"
    at = sorted(write.at for write in writes)
    for seconds in (2, 4):
        most = RATE * seconds + RATE * 0.1 + WINDOW
        for first in at:
            within = [each for each in at if first <= each < first + timedelta(seconds=seconds)]
            assert len(within) <= most
    assert (at[-1] - at[0]).total_seconds() > 0.8 * (len(changed) - WINDOW) / RATE


# -- answers of the API server that are caused for real ------------------------------------------


@contextmanager
def replaced(
    cluster: Cluster, path: str, change: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """An object of the API server as it is after a change, and as it was in the end."""

    def put(content: dict[str, Any]) -> None:
        answer = cluster.request("PUT", path, json=content)
        assert answer.status_code == 200, answer.text

    before = cluster.request("GET", path).json()
    changed = copy.deepcopy(before)
    change(changed)
    put(changed)
    try:
        yield
    finally:
        before["metadata"] = cluster.request("GET", path).json()["metadata"]
        put(before)


def complaints(operator: OperatorProcess, code: int) -> list[str]:
    return re.findall(rf"(ERROR .*apply status of .*HTTP {code}.*)", operator.log())


def without_status_patch(role: dict[str, Any]) -> None:
    role["rules"] = [r for r in role["rules"] if r["resources"] != ["modelinstances/status"]]


def test_a_right_that_was_taken_away_is_complained_of_once_and_used_once_it_is_back(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    names = [f"i-{number}" for number in range(12)]
    for name in names:
        cluster.create(name)
    eventually(lambda: settled(cluster, operator))
    with replaced(cluster, ROLE, without_status_patch):
        eventually(lambda: not may_patch(cluster))
        mark = cluster.audit_mark()
        for name in names:
            cluster.beat(name)
        forbidden = {"result": "forbidden"}
        eventually(lambda: operator.metric("status_writes_total", **forbidden) >= 3 * len(names))
        assert {cluster.phase(name) for name in names} == {"Starting"}
        assert operator.readyz()["reason"] == "the view is current"
        tries = Counter(w.name for w in status_writes(cluster, mark))
        assert max(tries.values()) <= 5, "ever later"
    eventually(lambda: {cluster.phase(name) for name in names} == {"Healthy"}, within=8)
    written = Counter(w.name for w in status_writes(cluster, mark) if w.code == 200)
    assert written == dict.fromkeys(names, 1)
    assert len(complaints(operator, 403)) == 1, operator.log()


def may_patch(cluster: Cluster) -> bool:
    """Whether the operator may patch statuses now, in the eyes of the API server."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:modelinstance-system:modelinstance-operator",
            "resourceAttributes": {
                "group": "modelinstance.dev", "resource": "modelinstances",
                "subresource": "status", "verb": "patch", "namespace": "default",
            },
        },
    }  # fmt: skip
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    allowed: bool = cluster.request("POST", path, json=review).json()["status"]["allowed"]
    return allowed


def status_schema(crd: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields: dict[str, Any] = schema["properties"]["status"]["properties"]
    return fields


def without_healthy(crd: dict[str, Any]) -> None:
    status_schema(crd)["phase"]["enum"] = ["Starting", "Draining"]


def without_address(crd: dict[str, Any]) -> None:
    del status_schema(crd)["address"]


def takes(cluster: Cluster, **status: str) -> bool:
    """Whether the API server takes that for a status now."""
    answer = cluster.request(
        "PATCH", f"{cluster.path('probe')}/status?dryRun=All&fieldManager=test&force=true",
        json={
            "apiVersion": "modelinstance.dev/v1alpha1", "kind": "ModelInstance",
            "metadata": {"name": "probe", "namespace": "default"}, "status": status,
        },
        headers={"Content-Type": "application/apply-patch+yaml"},
    )  # fmt: skip
    return answer.status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code", "named"),
    [
        (without_healthy, {"phase": "Healthy"}, 422, "status.phase: Unsupported value"),
        (without_address, {"address": "http://a"}, 500, ".status.address: field not declared"),
    ],
    ids=["a value", "a field"],
)
def test_a_status_that_the_installed_crd_does_not_take_is_not_tried_on_and_on(
    change: Callable[[dict[str, Any]], None],
    status: dict[str, str],
    code: int,
    named: str,
    cluster: Cluster,
    start_operator: Start,
) -> None:
    """As after an upgrade that left the CRDs as they were."""
    operator = start_operator(cluster)
    names = [f"i-{number}" for number in range(5)]
    for name in ["probe", *names]:
        cluster.create(name)
    eventually(lambda: settled(cluster, operator))
    with replaced(cluster, CRD, change):
        eventually(lambda: not takes(cluster, **status), within=10)
        for name in names:
            cluster.beat(name)

        def refused() -> float:
            return operator.metric("status_writes_total", result="invalid")

        eventually(lambda: refused() == len(names))
        for name in names:
            cluster.beat(name)
        if status == {"phase": "Healthy"}:
            cluster.patch("probe", {"spec": {"rotation": "Draining"}})
            eventually(lambda: cluster.phase("probe") == "Draining")
        stays(lambda: refused() == len(names), 2)
        assert operator.metric("status_writes_total", result="unavailable") == 0
    (complaint,) = complaints(operator, code)
    assert named in complaint
    assert "the installed CRD is not of this version" in complaint
    eventually(lambda: takes(cluster, **status), within=10)
    mark = cluster.audit_mark()
    for name in names:
        cluster.patch(name, {"spec": {"weight": 7}})
    eventually(lambda: settled(cluster, operator))
    written = Counter(w.name for w in status_writes(cluster, mark) if w.code == 200)
    assert written == dict.fromkeys(names, 1)


# -- answers that are given in its stead ---------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "headers", "result"),
    [
        (429, {"Retry-After": "3"}, "throttled"),
        (503, {}, "unavailable"),
        (500, {}, "unavailable"),
    ],
    ids=["429", "503", "500"],
)
def test_an_api_server_in_trouble_is_left_alone_and_asked_by_one_write_at_a_time(
    code: int,
    headers: dict[str, str],
    result: str,
    cluster: Cluster,
    start_operator: Start,
    background: BackgroundLoop,
) -> None:
    proxy = background.enter(HoldingProxy.before(cluster.plane))
    operator = start_operator(cluster, server=proxy.url)
    names = [f"i-{number}" for number in range(3 * WINDOW)]
    for name in names:
        cluster.create(name)
    eventually(lambda: settled(cluster, operator))
    mark = cluster.audit_mark()
    seen = len(proxy.requests)

    def asked() -> int:
        return sum(is_status_patch(r.method, r.path, r.query) for r in proxy.requests[seen:])

    background.call(proxy.respond, is_status_patch, code, None, headers)
    for name in names:
        cluster.beat(name)
    eventually(asked)
    stays(lambda: asked() <= WINDOW + 4, 2.5)
    first = asked()
    eventually(lambda: asked() > first)
    assert {cluster.phase(name) for name in names} == {"Starting"}
    background.call(proxy.clear)
    eventually(lambda: settled(cluster, operator), within=8)
    assert operator.metric("status_writes_total", result=result) == asked() - len(names)
    written = Counter(w.name for w in status_writes(cluster, mark))
    assert written == dict.fromkeys(names, 1)
    warnings = [line for line in operator.log().splitlines() if f"HTTP {code}: " in line]
    assert len([line for line in warnings if "apply status of ModelInstance" in line]) == 1
