"""Workers that go: what is known of it after a restart, and what is removed in the end."""

from __future__ import annotations

from typing import Any

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually, stays

BRIEFLY: dict[str, Any] = {"heartbeat": {"timeoutSeconds": 1}}
REMOVE_SECONDS = 4
REMOVE = f"--remove-after={REMOVE_SECONDS}"


def test_a_restart_knows_who_said_goodbye_and_who_is_drained(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)
    there, gone, drained = (
        first.register(model=model, host=f"{model}.example") for model in ("m", "gone", "drained")
    )
    cluster.create("hand", modelName="hand", beat="0")
    eventually(lambda: first.selects("hand"))
    first.deregister(gone["name"])
    first.drain(drained["name"])
    first.deregister("hand")
    expected = {
        there["name"]: "Healthy", gone["name"]: "Unhealthy", drained["name"]: "Draining",
        "hand": "Unhealthy",
    }  # fmt: skip
    eventually(lambda: cluster.phases() == expected)
    before = cluster.instances()
    first.kill()
    mark = cluster.audit_mark()

    second = start_operator(cluster)
    assert {item["name"]: item["phase"] for item in second.instances().values()} == expected
    second.beat(there["incarnation"])
    second.beat(gone["incarnation"], 410)
    second.beat(drained["incarnation"])
    for model in ("gone", "drained", "hand"):
        assert second.selects(model) is None
    cluster.create("later", modelName="later")
    eventually(lambda: cluster.phase("later") == "Starting")
    assert not [e for e in cluster.writes(mark) if e.name in expected], "a restart writes nothing"
    assert {key: cluster.instances()[key] for key in before} == before

    registered = second.register(200, model="gone", host="gone.example")
    assert (registered["phase"], registered["incarnation"]) == ("Healthy", gone["incarnation"])
    assert second.undrain(drained["name"])["phase"] == "Healthy"
    assert second.register(200, model="hand", host="hand.example")["name"] == "hand"
    expected = {**dict.fromkeys(expected, "Healthy"), "later": "Starting"}
    eventually(lambda: cluster.phases() == expected)
    for name in (gone["name"], drained["name"], "hand"):
        conditions = cluster.get(name)["status"]["conditions"]
        assert [condition["type"] for condition in conditions] == ["Ready"]


def test_the_dead_that_had_registered_are_removed_and_nobody_else(
    cluster: Cluster, start_operator: Start
) -> None:
    operator = start_operator(cluster, REMOVE)
    mark = cluster.audit_mark()

    def register(port: int, **body: Any) -> dict[str, Any]:
        return operator.register(port=port, **{**BRIEFLY, **body})

    silent, disabled = register(1), register(3)
    cluster.patch(disabled["name"], {"spec": {"rotation": "Disabled"}})
    gone = register(4, heartbeat={"timeoutSeconds": 600})
    trusted = register(5, heartbeat={"required": False})
    drained = register(6, heartbeat={"timeoutSeconds": 600})
    back = register(7, heartbeat={"timeoutSeconds": 600})
    heard = [register(port, heartbeat={"timeoutSeconds": 600}) for port in (8, 9)]
    cluster.create("hand", beat="0", timeout=1)
    cluster.create("used", host="w.example", timeout=1)
    eventually(lambda: operator.phase("used"))
    assert operator.register(200)["name"] == "used"
    for goodbye in (gone, back):
        operator.deregister(goodbye["name"])
    operator.register(200, port=7, heartbeat={"timeoutSeconds": 600})
    operator.drain(drained["name"])
    beats = register(2)

    living = {each["name"] for each in (beats, disabled, trusted, drained, back, *heard)}
    living |= {"hand", "used"}

    def known() -> set[str]:
        operator.beat(beats["incarnation"])
        return {name.removeprefix("default/") for name in cluster.instances()}

    eventually(lambda: known() == living, within=REMOVE_SECONDS + 3)
    eventually(lambda: known() and operator.phase("hand") == operator.phase("used") == "Unhealthy")
    stays(lambda: known() == living, REMOVE_SECONDS + 1)
    assert operator.instances().keys() == {f"default/{name}" for name in living}
    assert operator.metric("removals_total") == 2
    removed = [e.name for e in cluster.writes(mark) if (e.verb, e.code) == ("delete", 200)]
    assert sorted(removed) == sorted([silent["name"], gone["name"]])
    operator.beat(silent["incarnation"], 404)
    operator.beat(gone["incarnation"], 404)
    assert register(1)["incarnation"] != silent["incarnation"]


def test_the_registry_object_says_when_the_dead_are_removed_where_no_flag_does(
    cluster: Cluster, start_operator: Start
) -> None:
    first = start_operator(cluster)

    def dies(operator: OperatorProcess) -> str:
        name: str = operator.register(**BRIEFLY)["name"]
        eventually(lambda: cluster.phase(name) == "Unhealthy")
        return name

    dies(first)
    cluster.patch_registry({"registration": {"removeAfterSeconds": 1}})
    eventually(lambda: not cluster.instances())
    eventually(lambda: not first.instances())
    assert first.stop() == 0
    second = start_operator(cluster, "--remove-after=600")
    name = dies(second)
    stays(lambda: name in cluster.phases(), REMOVE_SECONDS)
    second.kill()
    start_operator(cluster)
    eventually(lambda: not cluster.instances())


def test_what_an_operator_does_not_look_after_it_enrols_nobody_into(
    cluster: Cluster, start_operator: Start
) -> None:
    cluster.add_namespace("looked-after")
    operator = start_operator(
        cluster, "--namespace=looked-after", "--default-namespace=looked-after"
    )
    problem = operator.register(422, namespace="default")
    assert problem["detail"] == (
        "namespace='default': this registry does not look after it; register in one of looked-after"
    )
    assert not operator.instances()
    assert not cluster.instances()
    answer = operator.register()
    assert cluster.instances().keys() == {f"looked-after/{answer['name']}"}
