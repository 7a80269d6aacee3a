"""Workers register while the API server is away, refuses, hangs, or is told by two operators."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import yaml

from generate.rbac import HOME as HOME_RULES
from generate.rbac import WATCHED
from support.background import BackgroundLoop
from support.cluster import HOME, Cluster
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.proxy import HOST, TcpProxy
from support.waiting import PATIENCE, eventually

WORKER = {"model": "m", "host": "w.example", "port": 8000}
RESYNC_SECONDS = 2
RESYNC = f"--resync-interval={RESYNC_SECONDS}"
PATIENT = "--heartbeat-timeout=3600"
"""For workers whose beats are not what it is about."""
WRITE_TIMEOUT_SECONDS = 3
REFUSED_SECONDS = 15
"""After so long a registration that was held is not tried any more."""


@pytest.fixture
def line(cluster: Cluster, background: BackgroundLoop) -> Line:
    """A line to the shared API server."""
    return Line(cluster, background)


def registrations(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Match the writes of registrations."""
    return method == "PATCH" and query.get("fieldManager") == "modelinstance-registration"


@contextmanager
def selecting(operator: OperatorProcess) -> Iterator[list[httpx.Response]]:
    """Ask for an instance all the time; gives the answers."""
    answers: list[httpx.Response] = []
    enough = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=operator.http.base_url, timeout=30) as client:
            while not enough.wait(0.01):
                answers.append(client.get("/api/v1/select", params={"model": "m"}))

    asking = threading.Thread(target=ask, name="router")
    asking.start()
    try:
        yield answers
    finally:
        enough.set()
        asking.join()


def held(operator: OperatorProcess, **body: Any) -> dict[str, Any]:
    """The answer to a registration that cannot be stored."""
    answer = operator.register(202, **body)
    assert answer["stored"] is False
    assert "apply ModelInstance default/" in answer["detail"]
    assert answer["healthy"] is True
    return answer


def test_a_registration_during_an_outage_holds_and_is_written_afterwards(
    own_cluster: Cluster, start_operator: Start
) -> None:
    cluster = own_cluster
    operator = start_operator(cluster, RESYNC, PATIENT)
    cluster.plane.kill_apiserver()
    answer = held(operator, weight=2, load={"running": 1})
    name, early = answer["name"], answer["incarnation"]
    assert operator.selects("m") == name
    assert operator.beat(early) == {"incarnation": early, "result": "accepted"}
    again = held(operator, weight=3)
    assert (again["incarnation"], again["weight"]) == (early, 3)
    assert operator.metric("registrations_held") == 1
    with selecting(operator) as answers:
        cluster.plane.start_apiserver()
        eventually(lambda: cluster.get(name), within=5)
        eventually(lambda: operator.metric("registrations_held") == 0, within=5)
        late = operator.beat(early)
        assert late["result"] == "accepted"
        assert late["incarnation"] != early, "the one to name from now on"
        eventually(lambda: cluster.phase(name) == "Healthy", within=5)
        eventually(lambda: operator.readyz()["reason"] == "the view is current", within=5)
        operator.beat(early)
        operator.beat(late["incarnation"])
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["phase"] for answer in answers} == {"Healthy"}
    stored = cluster.get(name)
    assert stored["spec"]["weight"] == 300, "what was said last"
    assert operator.instances()[f"default/{name}"]["incarnation"] == late["incarnation"]
    assert operator.register(200, weight=3)["incarnation"] == late["incarnation"]
    assert cluster.get(name)["metadata"]["generation"] == stored["metadata"]["generation"]
    cluster.delete(name)
    eventually(lambda: not operator.instances())
    for incarnation in (early, late["incarnation"]):
        operator.beat(incarnation, 404, registration=WORKER)
    assert not cluster.instances(), "the early id has ended with the other"


@pytest.mark.parametrize("back", ["before", "after"])
def test_a_restart_during_an_outage_loses_nobody_who_carries_a_registration(
    back: str, cluster: Cluster, line: Line, start_operator: Start
) -> None:
    first = start_operator(cluster, RESYNC, server=line.url)
    line.fall()
    answer = held(first, labels={"tier": "gold"})
    name, early = answer["name"], answer["incarnation"]
    first.kill()
    if back == "before":
        line.rise()
    second = start_operator(cluster, RESYNC, server=line.url, ready=back == "before")
    eventually(lambda: second.get("/livez").status_code == 200, within=5)
    assert second.get("/readyz").status_code == (200 if back == "before" else 503)
    second.beat(early, 404)
    second.beat(early, 404, registration={**WORKER, "port": 8001})
    assert not second.instances()

    said = {**WORKER, "labels": {"tier": "gold"}}
    returned = second.beat(early, registration=said)
    assert returned["result"] == "registered"
    assert second.selects("m") == name
    if back == "after":
        assert returned["incarnation"] == early
        second.beat(early)
        line.rise()
        second.wait_ready(within=5)
    eventually(lambda: cluster.phase(name) == "Healthy", within=5)
    assert cluster.get(name)["metadata"]["labels"]["tier"] == "gold"
    now = second.instances()[f"default/{name}"]["incarnation"]
    assert second.beat(now)["result"] == "accepted"
    assert second.beat(early, registration=said)["incarnation"] == now
    assert len(cluster.instances()) == 1


def test_who_says_goodbye_during_an_outage_is_never_written(
    cluster: Cluster, line: Line, start_operator: Start
) -> None:
    operator = start_operator(cluster, RESYNC, server=line.url)
    line.fall()
    answer = held(operator)
    stays = held(operator, port=8001)
    operator.deregister(answer["name"])
    operator.beat(answer["incarnation"], 404, registration=WORKER)
    line.rise()
    eventually(lambda: cluster.phase(stays["name"]) == "Healthy", within=5)
    assert cluster.instances().keys() == {f"default/{stays['name']}"}
    assert operator.instances().keys() == {f"default/{stays['name']}"}


def test_what_is_known_is_used_during_an_outage_and_what_was_changed_is_written_afterwards(
    cluster: Cluster, line: Line, start_operator: Start
) -> None:
    operator = start_operator(cluster, RESYNC, server=line.url)
    cluster.create("hand", host="hand.example")
    changed, moved = operator.register(), operator.register(port=8001)
    cluster.patch(moved["name"], {"spec": {"port": 9001}})
    eventually(lambda: operator.phase(moved["name"]) == "Starting")
    eventually(lambda: operator.phase("hand") == "Starting")
    line.fall()
    assert operator.register(200, host="hand.example")["name"] == "hand"
    assert operator.register(200)["stored"] is True
    answer = held(operator, weight=3)
    assert answer["incarnation"] == changed["incarnation"]
    operator.beat(answer["incarnation"])
    problem = operator.register(409, port=8001)
    assert "was edited, and is now about model m at host w.example port 9001" in problem["detail"]
    assert operator.phase(moved["name"]) == "Starting", "nothing was heard from there"
    line.rise()
    eventually(lambda: cluster.get(changed["name"])["spec"]["weight"] == 300, within=5)
    eventually(lambda: operator.metric("registrations_held") == 0)
    eventually(lambda: cluster.phase("hand") == "Healthy", within=5)
    assert len(cluster.instances()) == 3
    assert operator.beat(answer["incarnation"])["incarnation"] == answer["incarnation"]


def test_an_operator_that_has_not_listed_yet_makes_no_second_object_for_an_address(
    cluster: Cluster, line: Line, start_operator: Start
) -> None:
    """It cannot know of what was applied by hand."""
    cluster.create("hand", host="w.example")

    def lists(method: str, path: str, query: Mapping[str, str]) -> bool:
        return method == "GET" and path.endswith("/modelinstances")

    line.respond(lists, 500)
    operator = start_operator(cluster, server=line.url, ready=False)
    answer = operator.register(202)
    assert answer["stored"] is False
    assert operator.selects("m") == answer["name"]
    with selecting(operator) as answers:
        line.clear()
        operator.wait_ready(within=5)
        eventually(lambda: operator.metric("registrations_held") == 0, within=5)
        eventually(lambda: cluster.phase("hand") == "Healthy", within=5)
    assert {answer.status_code for answer in answers} == {200}
    assert cluster.instances().keys() == {"default/hand"}
    assert operator.instances().keys() == {"default/hand"}
    operator.beat(answer["incarnation"], 404, registration=WORKER)
    assert operator.register(200)["name"] == "hand"


def test_a_stalled_api_server_holds_up_a_registration_for_a_moment_only(
    cluster: Cluster, background: BackgroundLoop, start_operator: Start
) -> None:
    line = background.enter(TcpProxy(HOST, cluster.plane.port))
    operator = start_operator(cluster, RESYNC, server=line.url)
    background.call(line.stall)
    began = time.monotonic()
    answer = held(operator)
    assert time.monotonic() - began < PATIENCE * WRITE_TIMEOUT_SECONDS
    assert f"no answer within {WRITE_TIMEOUT_SECONDS} s" in answer["detail"]
    assert operator.selects("m") == answer["name"]
    operator.beat(answer["incarnation"])
    background.call(line.resume)
    eventually(lambda: cluster.phase(answer["name"]) == "Healthy", within=10)
    assert operator.beat(answer["incarnation"])["incarnation"] != answer["incarnation"]


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_an_api_server_in_trouble_holds_up_nobody(
    status: int, cluster: Cluster, line: Line, start_operator: Start
) -> None:
    """A 404 that does not say what is missing is one of the resource type itself."""
    operator = start_operator(cluster, RESYNC, server=line.url)
    line.respond(registrations, status)
    answer = held(operator)
    assert f"HTTP {status}: answered by the test's proxy" in answer["detail"]
    assert operator.selects("m") == answer["name"]
    line.clear()
    eventually(lambda: cluster.phase(answer["name"]) == "Healthy", within=5)


def test_an_answer_that_is_not_one_of_an_api_server_is_none(
    cluster: Cluster, line: Line, start_operator: Start
) -> None:
    operator = start_operator(cluster, RESYNC, server=line.url)
    line.respond(registrations, 200, {"message": "Welcome to our load balancer"})
    answer = held(operator)
    assert "the answer is not one of an API server" in answer["detail"]
    eventually(lambda: "registrations wait" in operator.log())
    line.clear()
    eventually(lambda: cluster.phase(answer["name"]) == "Healthy", within=5)


def test_what_is_refused_once_the_api_server_is_back_is_given_up_and_the_worker_learns_of_it(
    cluster: Cluster, line: Line, start_operator: Start
) -> None:
    """At once if it cannot be; but an API server that has just started may know of no rights."""
    operator = start_operator(cluster, RESYNC, server=line.url)
    line.fall()
    forbidden, invalid = held(operator), held(operator, port=8001)
    refusals = {forbidden["name"]: (403, "no right"), invalid["name"]: (422, "no sense")}
    for name, (status, message) in refusals.items():

        def is_about(method: str, path: str, query: Mapping[str, str], name: str = name) -> bool:
            return registrations(method, path, query) and path.endswith(name)

        line.respond(is_about, status, {"message": message, "code": status})
    line.rise()
    eventually(lambda: operator.instances().keys() == {f"default/{forbidden['name']}"}, within=5)
    assert operator.selects("m") == forbidden["name"]
    operator.beat(invalid["incarnation"], 404, registration={**WORKER, "port": 8001})
    assert "HTTP 422: no sense" in operator.register(422, port=8001)["detail"]

    eventually(lambda: not operator.instances(), within=REFUSED_SECONDS)
    assert operator.metric("registrations_held") == 0
    operator.beat(forbidden["incarnation"], 404, registration=WORKER)
    assert "HTTP 403: no right" in operator.register(403)["detail"]
    assert not operator.instances()
    line.clear()
    assert operator.register()["stored"] is True


@pytest.mark.parametrize("verb", ["create", "patch"])
def test_an_operator_without_the_right_says_so(
    verb: str, cluster: Cluster, start_operator: Start
) -> None:
    user = f"operator-that-may-not-{verb}"
    rules = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]}
        if rule["resources"] == ["modelinstances"]
        else rule
        for rule in WATCHED
    ]
    group, metadata = "rbac.authorization.k8s.io", {"name": user}
    manifests: list[dict[str, Any]] = []
    for namespace, granted in (("default", rules), (HOME, rules + HOME_RULES)):
        inside = {**metadata, "namespace": namespace}
        subject = {"apiGroup": group, "kind": "User", "name": user}
        reference = {"apiGroup": group, "kind": "Role", "name": user}
        manifests += [
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": inside, "rules": granted},
            {
                "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": inside,
                "roleRef": reference, "subjects": [subject],
            },
        ]  # fmt: skip
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    kubeconfig = cluster.plane.add_user(user)
    operator = start_operator(cluster, "--namespace=default", kubeconfig=kubeconfig)
    problem = operator.register(403)
    assert "HTTP 403: modelinstances" in problem["detail"]
    assert f'User "{user}" cannot {verb} resource "modelinstances"' in problem["detail"]
    assert not operator.instances()
    assert operator.metric("registrations_held") == 0
    assert not cluster.instances()


def test_two_operators_that_are_told_at_once_make_one_object(
    cluster: Cluster, start_operator: Start
) -> None:
    operators = [start_operator(cluster, RESYNC, PATIENT) for _ in range(2)]
    urls = [f"{operator.http.base_url}/api/v1/instances" for operator in operators]
    count = 10

    def send(port: int, url: str) -> httpx.Response:
        return httpx.post(url, json={**WORKER, "model": f"m-{port}", "port": port}, timeout=30)

    with ThreadPoolExecutor(2) as pool:
        for port in range(8000, 8000 + count):
            sent: list[Callable[[], httpx.Response]] = [
                pool.submit(send, port, url).result for url in urls
            ]
            answers = [wait() for wait in sent]
            assert {answer.status_code for answer in answers} <= {200, 201}, answers[0].text
            assert len({answer.json()["incarnation"] for answer in answers}) == 1
            name = answers[0].json()["name"]
            for operator in operators:
                eventually(
                    lambda operator=operator, port=port, name=name: (  # type: ignore[misc]
                        operator.selects(f"m-{port}") == name
                    ),
                    within=RESYNC_SECONDS,
                )
    assert len(cluster.instances()) == count
    eventually(lambda: set(cluster.phases().values()) == {"Healthy"})
