"""Pods are followed through restarts and outages, and without rights all else goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.agent_process import Scene
from support.audit import AuditEntry
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.engine import FakeEngine
from support.kubelet import GATE, Kubelet
from support.line import Line
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

RESYNC = "--resync-interval=2"


@pytest.mark.parametrize("end", [OperatorProcess.stop, OperatorProcess.kill])
def test_a_restart_writes_nothing(
    end: Callable[[OperatorProcess], object],
    cluster: Cluster,
    kubelet: Kubelet,
    start_operator: Start,
) -> None:
    first = start_operator(cluster)
    kubelet.run("healthy", gates=(GATE,), weight="20")
    kubelet.run("taken-over", ip="10.1.0.2")
    kubelet.create("starting", gates=(GATE,))
    kubelet.report("starting", ip="10.1.0.3", started=False)
    kubelet.create("unready")
    kubelet.report("unready", ip="10.1.0.4")
    kubelet.run("leaving", ip="10.1.0.5")
    eventually(lambda: len(cluster.instances()) == 5)
    kubelet.delete("leaving")
    cluster.patch("taken-over", {"spec": {"weight": 7}})
    phases = {
        "healthy": "Healthy", "taken-over": "Healthy", "starting": "Starting",
        "unready": "Unhealthy", "leaving": "Draining",
    }  # fmt: skip
    eventually(lambda: cluster.phases() == phases)
    edited = cluster.get("taken-over")["metadata"]["generation"]
    eventually(lambda: cluster.get("taken-over")["status"]["observedGeneration"] == edited)
    eventually(lambda: kubelet.gate("healthy")["status"] == "True")
    eventually(lambda: kubelet.gate("starting")["reason"] == "PodStarting")
    eventually(lambda: cluster.registry()["status"]["healthy"] == 2)
    before = cluster.instances()
    end(first)
    mark = cluster.audit_mark()
    second = start_operator(cluster)
    eventually(lambda: second.metric("pods") == 5)
    kubelet.run("later", ip="10.1.0.6")
    eventually(lambda: cluster.phase("later") == "Healthy")
    written = [(e.verb, e.resource, e.name) for e in cluster.writes(mark) if e.name != "later"]
    assert {resource for _, resource, _ in written} <= {"instanceregistries/status"}, written
    assert {key: cluster.instances()[key] for key in before} == before


@pytest.mark.parametrize("late", ["modelinstances", "pods"])
def test_nothing_is_written_before_both_were_listed(
    late: str,
    cluster: Cluster,
    kubelet: Kubelet,
    start_operator: Start,
    background: BackgroundLoop,
) -> None:
    first = start_operator(cluster)
    kubelet.run(gates=(GATE,))
    eventually(lambda: kubelet.gate()["status"] == "True")
    eventually(lambda: cluster.phase("p") == "Healthy")
    assert first.stop() == 0
    line = Line(cluster, background)
    hold = line.hold(lambda method, path, _: method == "GET" and path.endswith(f"/{late}"))
    mark = cluster.audit_mark()
    second = start_operator(cluster, server=line.url, ready=False)
    eventually(hold.reached.is_set, within=5)
    if late == "modelinstances":
        eventually(lambda: second.metric("pods") == 1)
    else:
        eventually(lambda: second.selects() == "p", within=5)
    stays(lambda: not asked_of(cluster, "p", mark), 2)
    line.release(hold)
    second.wait_ready(within=10)
    eventually(lambda: second.metric("pods") == 1)
    eventually(lambda: second.selects() == "p")
    assert not asked_of(cluster, "p", mark)


def asked_of(cluster: Cluster, name: str, since: int) -> list[AuditEntry]:
    """What the operator has read or written of the objects of one name."""
    return [entry for entry in cluster.audit(since) if entry.name == name]


def test_what_happened_while_it_was_down_is_found(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start
) -> None:
    first = start_operator(cluster)
    for number, name in enumerate(("gone", "moved", "remade")):
        kubelet.run(name, model=name, ip=f"10.1.0.{number + 1}")
    eventually(lambda: len(first.instances(healthy=True)) == 3)
    remade = cluster.get("remade")["metadata"]["uid"]
    assert first.stop() == 0
    for name in ("gone", "remade"):
        kubelet.finish(name)
    kubelet.report("moved", ip="10.1.0.20", ready=True)
    kubelet.run("remade", model="remade", ip="10.1.0.30")
    kubelet.run("new", model="new", ip="10.1.0.1")
    second = start_operator(cluster)
    eventually(lambda: cluster.instances().keys() == {
        "default/moved", "default/remade", "default/new"
    })  # fmt: skip
    eventually(lambda: cluster.get("moved")["spec"]["host"] == "10.1.0.20")
    eventually(lambda: cluster.get("remade")["metadata"]["uid"] != remade)
    eventually(lambda: second.selects("new") == "new")
    assert second.selects("gone") is None


def test_the_api_server_is_away_and_comes_back(own_cluster: Cluster, start_operator: Start) -> None:
    cluster, kubelet = own_cluster, Kubelet(own_cluster)
    operator = start_operator(cluster, RESYNC)
    kubelet.run(gates=(GATE,))
    eventually(lambda: operator.selects() == "p")
    eventually(lambda: kubelet.gate()["status"] == "True")
    cluster.plane.kill_apiserver()
    eventually(lambda: operator.readyz()["view"]["stale"], within=5)
    assert operator.selects() == "p", "nothing was heard to the contrary"
    cluster.plane.start_apiserver()
    kubelet.report(ready=False)
    eventually(lambda: operator.selects() is None, within=10)
    eventually(lambda: kubelet.gate()["status"] == "False", within=10)
    kubelet.run("q", model="q", ip="10.1.0.2")
    eventually(lambda: operator.selects("q") == "q", within=10)


def test_the_watch_is_cut(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, background: BackgroundLoop
) -> None:
    line = Line(cluster, background)
    operator = start_operator(cluster, server=line.url)
    kubelet.run()
    eventually(lambda: operator.selects() == "p")
    for ready in (False, True, False):
        line.cut()
        kubelet.report(ready=ready)
        eventually(lambda: (operator.selects() == "p") is ready, within=5)  # noqa: B023


@pytest.fixture
def without_rights(cluster: Cluster) -> Iterator[None]:
    """The operator may read and write nothing of Kubernetes' own."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
    path += "modelinstance-system.modelinstance-operator"
    rules = cluster.request("GET", path).json()["rules"]
    kept = [rule for rule in rules if "" not in rule["apiGroups"]]
    assert len(kept) < len(rules)

    def set_rules(these: object) -> None:
        response = cluster.request(
            "PATCH", path, content=json.dumps({"rules": these}),
            headers={"Content-Type": "application/merge-patch+json"},
        )  # fmt: skip
        assert response.status_code == 200, response.text

    set_rules(kept)
    yield
    set_rules(rules)


@pytest.mark.usefixtures("without_rights")
def test_without_rights_on_pods_all_else_goes_on(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    kubelet.run()
    cluster.create("a", beat="1")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.selects() == "a"
    said = eventually(lambda: [
        line for line in operator.log().splitlines() if "grant the operator list and watch" in line
    ])  # fmt: skip
    assert "in all namespaces, or tell it --no-pods" in said[0]
    stays(lambda: operator.log().count("grant the operator list and watch") == 1, 3)
    assert cluster.instances().keys() == {"default/a"}
    assert operator.metric("pods") == 0


def test_pods_that_cannot_be_seen_any_more_empty_nothing_and_are_told_of(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, background: BackgroundLoop
) -> None:
    line = Line(cluster, background)
    operator = start_operator(cluster, RESYNC, server=line.url)
    kubelet.run()
    eventually(lambda: operator.selects() == "p")
    eventually(lambda: operator.readyz()["pods"]["synced"])
    line.respond(lambda _, path, __: path.endswith("/pods"), 403, {"message": "no right to pods"})
    line.cut()
    eventually(lambda: operator.readyz()["pods"]["stale"], within=5)
    readiness = operator.get("/readyz")
    assert (readiness.status_code, readiness.json()["ready"]) == (200, True)
    assert "no right to pods" in readiness.json()["pods"]["failure"]
    assert operator.metric("pods_view_age_seconds") > 0
    assert operator.selects() == "p", "nothing was heard to the contrary"
    assert "the pods were last seen" in why(operator)
    line.clear()
    eventually(lambda: not operator.readyz()["pods"]["stale"], within=20)
    assert "the pods were last seen" not in why(operator)


def test_it_can_be_switched_off(cluster: Cluster, kubelet: Kubelet, start_operator: Start) -> None:
    mark = cluster.audit_mark()
    operator = start_operator(cluster, "--no-pods")
    kubelet.run()
    cluster.create("a", beat="1")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.selects() == "a"
    assert not [entry for entry in cluster.audit(mark) if entry.resource == "pods"]
    assert operator.readyz()["pods"] is None


def test_pods_are_followed_where_instances_are(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start
) -> None:
    for namespace in ("one", "two", "three"):
        cluster.add_namespace(namespace)
    mark = cluster.audit_mark()
    operator = start_operator(cluster, "--namespace=one", "--namespace=two")
    for number, namespace in enumerate(("one", "two", "three")):
        kubelet.run(namespace=namespace, model=namespace, ip=f"10.1.0.{number + 1}")
    eventually(lambda: operator.selects("one") == operator.selects("two") == "p")
    assert operator.metric("pods") == 2

    def asked_for_pods() -> list[AuditEntry]:
        return [entry for entry in cluster.audit(mark) if entry.resource == "pods"]

    ways = {(namespace, verb) for namespace in ("one", "two") for verb in ("list", "watch")}
    eventually(lambda: {(e.namespace, e.verb) for e in asked_for_pods()} >= ways)
    asked = asked_for_pods()
    assert {(entry.namespace, entry.verb) for entry in asked} == ways
    assert not [e.url for e in asked if "labelSelector=modelinstance.dev/model" not in e.url]
    assert cluster.instances().keys() == {"one/p", "two/p"}


# -- names of engines ----------------------------------------------------------------------------


@pytest.fixture
def engine(background: BackgroundLoop) -> FakeEngine:
    """An engine at a loopback address."""
    return background.enter(FakeEngine("e", models=("base", {"id": "lora", "parent": "base"})))


def test_an_engine_is_asked_for_its_names(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, engine: FakeEngine
) -> None:
    flag = "--allowed-network=127.0.0.0/8"
    operator = start_operator(cluster, flag)
    kubelet.create(port=engine.port, discover_names="true", aliases="mine")
    engine.fail("/v1/models", 503)
    kubelet.report(ip="127.0.0.1", ready=True)
    eventually(lambda: operator.instances()["default/p"]["reason"] == "PodStarting")
    eventually(lambda: "it answers 503" in why(operator))
    assert operator.selects() is None, "who knows whether it answers to that name?"
    engine.heal()
    eventually(lambda: operator.selects("base") == "p", within=6)
    assert operator.selects("lora") == operator.selects("mine") == "p"
    assert operator.selects("m") is None
    spec = cluster.get("p")["spec"]
    assert (spec["modelName"], spec["aliases"]) == ("base", ["lora", "mine"])

    eventually(lambda: cluster.phase("p") == "Healthy")
    operator.kill()
    engine.fail("/v1/models", 500)
    mark = cluster.audit_mark()
    second = start_operator(cluster, flag)
    eventually(lambda: second.metric("pods") == 1)
    assert second.selects("base") == "p", "it had said its names"
    stays(lambda: second.selects("lora") == "p", 0.5)
    written = {entry.resource for entry in cluster.writes(mark)}
    assert written <= {"instanceregistries/status"}


def test_an_agent_tells_the_names_of_the_engine_in_its_pod(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, tmp_path: Path
) -> None:
    """Adapters come and go as the engine lists them, and outlive a restart of the operator."""
    operator = start_operator(cluster)
    with Scene(tmp_path) as scene:
        engine = scene.engine("m", {"id": "lora-a", "parent": "m"})
        made = kubelet.create(port=engine.port, aliases="mine", heartbeat_timeout_seconds="60")
        kubelet.report(ip=engine.host, ready=True)
        eventually(lambda: operator.instances()["default/p"]["reason"] == "AwaitingFirstHeartbeat")
        within = {
            "MODELINSTANCE_POD_NAME": "p",
            "MODELINSTANCE_POD_UID": made["metadata"]["uid"],
            "MODELINSTANCE_POD_NAMESPACE": "default",
        }
        scene.agent(engine, operator, flags=["--weight=7"], env=within)
        eventually(lambda: operator.selects("lora-a") == "p")
        assert operator.selects("m") == operator.selects("mine") == "p"
        assert cluster.instances().keys() == {"default/p"}
        assert cluster.get("p")["spec"]["weight"] == 100, "the pod's annotations rule"

        engine.models = ("m", {"id": "lora-b", "parent": "m"})
        eventually(lambda: operator.selects("lora-b") == "p")
        assert operator.selects("lora-a") is None
        assert operator.selects("mine") == "p"

        edited = cluster.get("p")["metadata"]["generation"]
        eventually(lambda: cluster.get("p")["status"]["observedGeneration"] == edited)
        operator.kill()
        mark = cluster.audit_mark()
        second = start_operator(cluster)
        eventually(lambda: second.metric("pods") == 1)
        stays(lambda: second.selects("lora-b") == second.selects("mine") == "p", 0.5)
        written = {entry.resource for entry in cluster.writes(mark)}
        assert written <= {"instanceregistries/status"}

        engine.models = ("m",)
        scene.agent(engine, second, env=within)
        eventually(lambda: second.selects("lora-b") is None)
        assert second.selects("m") == second.selects("mine") == "p"


def test_an_engine_at_a_forbidden_address_is_not_asked(
    cluster: Cluster, kubelet: Kubelet, start_operator: Start, engine: FakeEngine
) -> None:
    operator = start_operator(cluster)
    kubelet.create(port=engine.port, discover_names="true")
    kubelet.report(ip="127.0.0.1", ready=True)
    eventually(lambda: "127.0.0.1" in why(operator) and "names" in why(operator))
    assert operator.instances()["default/p"]["reason"] == "PodStarting"
    assert not engine.requests


def why(operator: OperatorProcess) -> str:
    """What is said of the one instance; LookupError without it."""
    answer = operator.get("/api/v1/instances/default/p/why")
    if answer.status_code != 200:
        raise LookupError("p")
    return answer.text
