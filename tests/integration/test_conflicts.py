"""Resources with one model, host and port: who holds the address, and when it changes hands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

SAME: dict[str, Any] = {"host": "10.0.0.5"}


def holder(operator: OperatorProcess) -> str:
    """The one that is not in conflict."""
    free = [key for key, it in operator.instances().items() if it["phase"] != "Conflicted"]
    assert len(free) == 1
    return free[0].removeprefix("default/")


def create_apart(cluster: Cluster, *names: str, **options: Any) -> None:
    """Create instances one after the other, each in a second of its own."""
    last = ""
    for name in names:
        eventually(lambda last=last: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > last, within=1)  # type: ignore[misc]
        made = cluster.create(name, **SAME, **options)["metadata"]["creationTimestamp"]
        assert made > last
        last = made


def create_at_once(cluster: Cluster, *places: tuple[str, str]) -> None:
    """Create instances, by namespace and name, within one second."""

    def within_one_second() -> bool:
        times = {
            cluster.create(name, namespace=namespace, **SAME)["metadata"]["creationTimestamp"]
            for namespace, name in places
        }
        if len(times) > 1:
            for namespace, name in places:
                cluster.delete(name, namespace)
        return len(times) == 1

    eventually(within_one_second, within=2)


@pytest.mark.parametrize("order", ["older first", "younger first"])
def test_the_one_heard_from_holds_and_among_two_heard_from_the_older(
    order: str, cluster: Cluster, operator: OperatorProcess
) -> None:
    create_apart(cluster, "z-older", "a-younger")
    eventually(lambda: len(operator.instances()) == 2)
    assert holder(operator) == "z-older", "nobody was heard from"
    if order == "older first":
        cluster.beat("z-older")
        eventually(lambda: operator.selects("m") == "z-older")
        cluster.beat("a-younger")
    else:
        cluster.beat("a-younger")
        eventually(lambda: operator.selects("m") == "a-younger")
        assert holder(operator) == "a-younger"
        eventually(lambda: cluster.phase("a-younger") == "Healthy")
        cluster.beat("z-older")
    eventually(lambda: operator.selects("m") == "z-older")
    assert holder(operator) == "z-older"
    eventually(lambda: cluster.condition("a-younger")["reason"] == "AddressConflict")
    ready = cluster.condition("a-younger")
    assert ready["status"] == "False"
    assert "ModelInstance z-older" in ready["message"]
    assert "10.0.0.5" in ready["message"]
    assert cluster.condition("a-younger", "Conflicted")["status"] == "True"
    assert {operator.selects("m") for _ in range(20)} == {"z-older"}


def test_after_the_holders_silence_the_other_takes_over_and_the_status_says_so(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    create_apart(cluster, "a")
    create_apart(cluster, "b")
    cluster.beat("b")
    eventually(lambda: holder(operator) == "b")
    eventually(lambda: cluster.phase("b") == "Healthy")
    cluster.beat("a")
    eventually(lambda: cluster.phase("b") == "Conflicted")
    assert operator.selects("m") == "a"
    cluster.patch("a", {"spec": {"heartbeat": {"timeoutSeconds": 2}}})
    eventually(lambda: operator.selects("m") == "b")
    assert operator.phase("a") == "Conflicted"
    eventually(lambda: cluster.phase("b") == "Healthy")
    with pytest.raises(LookupError):
        cluster.condition("b", "Conflicted")
    eventually(lambda: cluster.phase("a") == "Conflicted")


def test_after_the_holders_deletion_the_other_takes_over(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    create_apart(cluster, "a", "b", beat="0")
    eventually(lambda: cluster.phase("b") == "Conflicted")
    cluster.delete("a")
    eventually(lambda: operator.selects("m") == "b")
    eventually(lambda: cluster.phase("b") == "Healthy")


@pytest.mark.parametrize(
    "edit",
    [{"rotation": "Draining"}, {"rotation": "Disabled"}, {"port": 8001}, {"modelName": "other"}],
    ids=str,
)
def test_a_holder_that_is_taken_out_frees_the_address(
    edit: dict[str, Any], cluster: Cluster, operator: OperatorProcess
) -> None:
    create_apart(cluster, "a", "b", beat="0")
    eventually(lambda: operator.phase("b") == "Conflicted")
    cluster.patch("a", {"spec": edit})
    eventually(lambda: operator.selects("m") == "b")
    cluster.patch("a", {"spec": {"rotation": "Active", "port": 8000, "modelName": "m"}})
    if "rotation" in edit:
        eventually(lambda: operator.selects("m") == "a")
    else:
        eventually(lambda: operator.phase("a") == "Conflicted")
        assert operator.selects("m") == "b", "a new incarnation was not heard from"


def test_a_tie_goes_by_namespace_and_name(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.add_namespace("aaa")
    create_at_once(cluster, ("default", "b"), ("default", "a"), ("aaa", "z"))
    eventually(lambda: len(operator.instances()) == 3 and holder(operator) == "aaa/z")
    cluster.delete("z", "aaa")
    eventually(lambda: len(operator.instances()) == 2)
    assert holder(operator) == "a"


def test_a_holder_in_another_namespace_is_not_named(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.add_namespace("secret")
    cluster.create("a", **SAME)
    cluster.create("classified", namespace="secret", beat="0", **SAME)
    eventually(lambda: cluster.condition("a")["reason"] == "AddressConflict")
    assert "another namespace" in cluster.condition("a")["message"]
    for text in (str(cluster.get("a")["status"]), str(operator.instances()["default/a"])):
        assert "classified" not in text
        assert "secret" not in text


def test_one_taken_at_its_word_loses_to_one_heard_from(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    create_apart(cluster, "word", heartbeat={"required": False})
    create_apart(cluster, "heard")
    eventually(lambda: operator.phase("heard") == "Conflicted")
    assert operator.selects("m") == "word"
    cluster.beat("heard")
    eventually(lambda: operator.selects("m") == "heard")
    assert operator.phase("word") == "Conflicted"
    cluster.patch("heard", {"spec": {"heartbeat": {"timeoutSeconds": 2}}})
    eventually(lambda: operator.selects("m") == "word")
    assert operator.phase("heard") == "Conflicted"


def test_spellings_of_one_host_are_one_address(cluster: Cluster, operator: OperatorProcess) -> None:
    for name, host in (("a", "gpu.example"), ("b", "GPU.example"), ("c", "gpu.example.")):
        cluster.create(name, host=host, beat="0")
    eventually(lambda: len(operator.instances()) == 3)
    assert holder(operator) == "a"
    cluster.create("d", host="gpu.example", modelName="other", beat="0")
    eventually(lambda: operator.selects("other") == "d")
