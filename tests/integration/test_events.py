"""What people are told: Events on resources, a line in the log for each change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from modelinstance.registry.telling.events import UPDATE_SECONDS
from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.proxy import HoldingProxy
from support.waiting import eventually, stays

ENDING = "ending"
"""A namespace that is being deleted; without controllers it never ends."""
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/modelinstance-system.modelinstance-operator"


def told(cluster: Cluster, name: str = "a") -> dict[str, tuple[str, int]]:
    """The Events on an instance by reason, with their type and count; each reason has one."""
    events = cluster.events(cluster.get(name)["metadata"]["uid"])
    found = {event["reason"]: (event["type"], event["count"]) for event in events}
    assert len(found) == len(events), events
    return found


def test_describe_shows_what_became_of_an_instance(cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(cluster)
    mark = cluster.audit_mark()
    cluster.create("a")
    eventually(lambda: cluster.phase("a") == "Starting")
    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Healthy")
    cluster.patch("a", {"spec": {"heartbeat": {"timeoutSeconds": 3}}})
    eventually(lambda: cluster.phase("a") == "Unhealthy")
    eventually(lambda: len(told(cluster)) == 2)
    cluster.patch("a", {"spec": {"rotation": "Draining"}})
    expected = {
        "HeartbeatReceived": ("Normal", 1),
        "HeartbeatExpired": ("Warning", 1),
        "Draining": ("Normal", 1),
    }
    eventually(lambda: told(cluster) == expected)
    shown = cluster.kubectl("describe", "mi", "a").partition("\nEvents:")[2]
    for kind, reason, message in (
        ("Normal", "HeartbeatReceived", "Heartbeats arrive in time"),
        ("Warning", "HeartbeatExpired", "No heartbeat within 3 s; look at the worker"),
        ("Normal", "Draining", "spec.rotation is Draining"),
    ):
        (line,) = (line for line in shown.splitlines() if f" {reason} " in line)
        assert line.split()[0] == kind
        assert "modelinstance-operator" in line
        assert message in line
    written = [(entry.verb, entry.code) for entry in cluster.events_written(mark)]
    assert written == [("create", 201)] * 3
    eventually(lambda: operator.metric("kubernetes_events_total", result="written") == 3)


def test_what_comes_and_goes_raises_the_count_of_its_events(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    cluster.create("a", heartbeat={"required": False})
    eventually(lambda: set(told(cluster)) == {"HeartbeatNotRequired"})
    eventually(lambda: operator.metric("kubernetes_events_total", result="written") == 1)
    mark, flaps = cluster.audit_mark(), 5
    for _ in range(flaps):
        operator.drain("a")
        eventually(lambda: cluster.phase("a") == "Draining")
        operator.undrain("a")
        eventually(lambda: cluster.phase("a") == "Healthy")
    assert len(cluster.events_written(mark)) <= 1, "the counts are not raised yet"
    eventually(
        lambda: told(cluster) == {
            "HeartbeatNotRequired": ("Normal", flaps + 1),
            "DrainRequested": ("Normal", flaps),
        },
        within=2 * UPDATE_SECONDS,
    )  # fmt: skip
    written = [(entry.verb, entry.code) for entry in cluster.events_written(mark)]
    assert written[0] == ("create", 201)
    assert set(written[1:]) == {("patch", 200)}
    assert len(written) <= 4
    for event in cluster.events(cluster.get("a")["metadata"]["uid"]):
        lasted = at(event["lastTimestamp"]) - at(event["firstTimestamp"])
        assert lasted < timedelta(minutes=1)
    made = len(told(cluster))
    assert operator.metric("kubernetes_events_total", result="written") == made
    assert operator.metric("kubernetes_events_total", result="aggregated") == 2 * flaps - 1


def at(time: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(time)


@pytest.mark.parametrize("end", [OperatorProcess.stop, OperatorProcess.kill], ids=["stop", "kill"])
def test_a_restart_tells_nothing(
    end: Callable[[OperatorProcess], object], cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    cluster.create("healthy", beat="0")
    cluster.create("silent", beat="0", timeout=1)
    cluster.create("disabled", rotation="Disabled")
    cluster.create("trusted", heartbeat={"required": False})
    cluster.create("a-loser", host="10.0.0.5")
    cluster.create("holder", host="10.0.0.5", beat="0")
    names = {
        "healthy": "HeartbeatReceived", "silent": "HeartbeatExpired", "disabled": "Disabled",
        "trusted": "HeartbeatNotRequired", "a-loser": "AddressConflict",
        "holder": "HeartbeatReceived",
    }  # fmt: skip
    for name, reason in names.items():
        eventually(lambda: reason in told(cluster, name))  # noqa: B023
        eventually(lambda: cluster.condition(name)["reason"] == reason)  # noqa: B023
    end(first)
    mark = cluster.audit_mark()
    second = start_operator(cluster)
    cluster.create("later", beat="0")
    eventually(lambda: told(cluster, "later") == {"HeartbeatReceived": ("Normal", 1)})
    assert len(cluster.events_written(mark)) == 1
    lines = [line for line in second.log().splitlines() if "modelinstance.instances" in line]
    assert [line.partition("instances: ")[2].split()[0] for line in lines] == ["default/later"]


@pytest.fixture
def without_events(cluster: Cluster) -> Iterator[None]:
    """The operator may write no Events."""
    rules = cluster.request("GET", ROLE).json()["rules"]
    kept = [rule for rule in rules if rule["resources"] != ["events"]]
    assert len(kept) == len(rules) - 1
    set_rules(cluster, kept)
    yield
    set_rules(cluster, rules)


def set_rules(cluster: Cluster, rules: list[dict[str, Any]]) -> None:
    """Change what the operator may do."""
    response = cluster.request(
        "PATCH", ROLE, content=json.dumps({"rules": rules}),
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    assert response.status_code == 200, response.text


@pytest.mark.usefixtures("without_events")
def test_without_the_right_it_is_said_once_and_all_else_goes_on(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster)
    mark = cluster.audit_mark()
    for number in range(5):
        cluster.create(f"i-{number}", host=f"10.0.0.{number}", beat="0")
        eventually(lambda: cluster.phase(f"i-{number}") == "Healthy")  # noqa: B023
    hint = "grant the operator create and patch of events"
    eventually(lambda: hint in operator.log())
    stays(lambda: operator.log().count(hint) == 1, 3)
    assert "default/i-4 of model m is Healthy" in operator.log()
    refused = cluster.events_written(mark)
    assert {entry.code for entry in refused} == {403}
    assert len(refused) <= 5
    assert operator.metric("kubernetes_events_total", result="failed") == len(refused)


def test_in_a_namespace_that_ends_nothing_is_tried_again(
    cluster: Cluster, start_operator: Start
) -> None:
    cluster.add_namespace(ENDING)
    cluster.create("a", namespace=ENDING)
    cluster.request("DELETE", f"/api/v1/namespaces/{ENDING}")
    eventually(lambda: cluster.request("GET", f"/api/v1/namespaces/{ENDING}").json()["status"] == {
        "phase": "Terminating"
    })  # fmt: skip
    operator = start_operator(cluster)
    mark = cluster.audit_mark()
    cluster.beat("a", namespace=ENDING)
    eventually(lambda: operator.metric("kubernetes_events_total", result="dropped") == 1)
    eventually(lambda: cluster.phase("a", ENDING) == "Healthy")
    cluster.create("b", beat="0")
    eventually(lambda: told(cluster, "b") == {"HeartbeatReceived": ("Normal", 1)})
    assert [entry.code for entry in cluster.events_written(mark)] == [403, 201]
    assert "grant the operator" not in operator.log()


def test_events_never_hold_up_statuses_and_wait_for_the_api_server(
    cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    proxy = background.enter(HoldingProxy.before(cluster.plane))
    operator = start_operator(cluster, server=proxy.url)
    hold = background.call(
        proxy.hold, lambda method, path, _: method == "POST" and path.endswith("/events")
    )
    cluster.create("a", beat="0")
    eventually(hold.reached.is_set)
    for name in ("b", "c"):
        cluster.create(name, host=f"{name}.example", beat="0")
        eventually(lambda: cluster.phase(name) == "Healthy", within=1)  # noqa: B023
    background.call(hold.release)
    for name in ("a", "b", "c"):
        expected = {"HeartbeatReceived": ("Normal", 1)}
        eventually(lambda: told(cluster, name) == expected, within=10)  # noqa: B023
    eventually(lambda: operator.metric("kubernetes_events_total", result="written") == 3)


def test_the_log_as_json_is_an_object_a_line_with_what_changed(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster, "--log-format=json", "--log-level=debug")
    odd = "m\u2028\u0085/ünï"
    cluster.create("a", modelName=odd, beat="0", timeout=1)
    eventually(lambda: "HeartbeatExpired" in operator.log())
    operator.http.request("PATCH", "/a%0Ab")
    assert operator.stop() == 0
    entries = [json.loads(line) for line in operator.log().splitlines()]
    for entry in entries:
        assert entry.keys() >= {"timestamp", "level", "logger", "message"}
        assert at(entry["timestamp"]).utcoffset() == timedelta(0)
    changes = [entry for entry in entries if entry["logger"] == "modelinstance.instances"]
    about = {"namespace": "default", "name": "a", "model": odd}
    assert [
        {key: entry[key] for key in (*about, "level", "phase", "reason")} for entry in changes
    ] == [
        {**about, "level": "INFO", "phase": "Healthy", "reason": "HeartbeatReceived"},
        {**about, "level": "WARNING", "phase": "Unhealthy", "reason": "HeartbeatExpired"},
    ]
