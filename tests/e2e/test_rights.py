"""That the operator has the rights which it needs and no others, by the API server's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.cluster import POD_START_SECONDS, RealCluster, Release, is_ready
from e2e.people import Town, instance
from modelinstance.registry.telling.events import UPDATE_SECONDS
from support.audit import AuditEntry, Rule, rules_of
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)


SCOPES: dict[str, tuple[str, ...]] = {"all": (), "own": ("home",), "another": ("users",)}


@pytest.fixture(params=SCOPES)
def town(cluster: RealCluster, image: str, request: pytest.FixtureRequest) -> Iterator[Town]:
    """The users of an operator that mirrors all namespaces, its own, or another."""
    if cluster.audit_log is None:
        pytest.skip("E2E_AUDIT_LOG names no audit log of this cluster's API server")
    with cluster.clean():
        namespaces = {name: cluster.add_namespace(name) for name in ("home", "users")}
        scope = SCOPES[request.param]
        release = Release(cluster, namespaces["home"])
        release.install(
            *release.of_image(image),
            "--set=removeAfterSeconds=1",
            f"--set-json=namespaces={json.dumps([namespaces[name] for name in scope])}",
        )
        town = Town(cluster, release, namespaces[scope[0] if scope else "users"], image)
        town.add_router()
        yield town


def requests(release: Release) -> list[AuditEntry]:
    """What the operator asked for."""
    return [entry for entry in release.cluster.requests() if entry.user == release.account]


def granted(release: Release) -> list[Rule]:
    """What the roles that are bound to the operator's account let it do."""
    roles = []
    for kind in ("rolebindings", "clusterrolebindings"):
        for binding in release.cluster.all(kind):
            for subject in binding.get("subjects", ()):
                if (subject.get("namespace"), subject["name"]) == (release.namespace, release.name):
                    about = binding["roleRef"]
                    namespace = binding["metadata"].get("namespace", "")
                    roles.append(release.cluster.get(about["kind"], about["name"], namespace))
    return list(rules_of(roles))


def add_pods(town: Town) -> None:
    """Pods with the label: one with the readiness gate, one with a wrong annotation."""
    gate = "modelinstance.dev/routable"
    for name, settings in {"gated": {}, "wrong": {"modelinstance.dev/port": "http"}}.items():
        spec = town.pod_spec("/scripts/server.py")
        spec["readinessGates"] = [{"conditionType": gate}]
        spec["containers"][0]["ports"] = [{"name": "http", "containerPort": 8000}]
        metadata = {
            "name": name, "namespace": town.namespace, "annotations": settings,
            "labels": {"modelinstance.dev/model": "from-a-pod"},
        }  # fmt: skip
        town.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    eventually(
        lambda: is_ready(town.cluster.get("pod", "gated", town.namespace)), POD_START_SECONDS
    )
    eventually(lambda: "InvalidAnnotation" in town.cluster.kubectl(
        "get", "events", "-n", town.namespace, "--field-selector=involvedObject.name=wrong"
    ))  # fmt: skip


def told_of(release: Release, name: str) -> list[str]:
    """What was done to Events on an object: what is said again raises the count of one."""
    return [
        entry.verb
        for entry in requests(release)
        if entry.resource == "events" and entry.name.startswith(f"{name}.")
    ]


def is_for_an_outage(rule: Rule, release: Release, town: Town) -> bool:
    """Whether a right is to Events on the InstanceRegistry: there is one when many fall silent."""
    elsewhere = release.namespace != town.namespace
    return rule.resource == "events" and rule.namespace == release.namespace and elsewhere


def test_every_right_is_used_and_no_other_is_asked_for(town: Town) -> None:
    cluster, release = town.cluster, town.release
    town.add_worker("worker-0", "served")
    eventually(lambda: town.call("served") == (200, "worker-0"), POD_START_SECONDS)
    (registered,) = town.get("/api/v1/instances?model=served")[1]["items"]
    cluster.await_phase("Healthy", registered["name"], town.namespace)
    town.remove("worker-0")
    eventually(lambda: town.get("/api/v1/instances?model=served")[1]["items"] == [], 10)

    add_pods(town)

    cluster.apply(instance("contended", town.namespace))

    def has_read_again() -> bool:
        """Race with its status writes, until one is late and it has to look again."""
        for weight in range(1, 11):
            cluster.edit("contended", town.namespace, weight=weight)
        return any((e.verb, e.name) == ("get", "contended") for e in requests(release))

    eventually(has_read_again, 20)
    for verb in ("create", "patch"):
        for rotation, phase in (("Draining", "Draining"), ("Active", "Starting")):
            cluster.edit("contended", town.namespace, rotation=rotation)
            cluster.await_phase(phase, "contended", town.namespace)
        # What is said again before its Event is made would be in the count that it is made with.
        eventually(lambda: told_of(release, "contended").count(verb) == 2, 2 * UPDATE_SECONDS)  # noqa: B023
    eventually(lambda: cluster.get("instanceregistry", "default", release.namespace)["status"])

    made = [entry for entry in requests(release) if entry.resource]
    rules = granted(release)
    assert not [entry for entry in cluster.refusals() if entry.user == release.account]
    assert not [e for e in made if not any(rule.allows(e) for rule in rules)]
    unused = [rule for rule in rules if not any(rule.is_needed_for(e) for e in made)]
    assert not [rule for rule in unused if not is_for_an_outage(rule, release, town)]
