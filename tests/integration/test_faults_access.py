"""The API server refuses the operator for a while, or its credentials are changed on the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.background import BackgroundLoop
from support.cluster import OPERATOR, Cluster
from support.line import Line, everything
from support.operator_process import OperatorProcess, Start
from support.truth import equals_truth
from support.waiting import eventually

RESYNC = "--resync-interval=2"


def answers_from_memory(operator: OperatorProcess, why: str, age: float) -> bool:
    answer = operator.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["reason"].startswith("answering from memory: LIST ")
    assert why in answer.json()["reason"]
    assert answer.json()["view"]["stale"] is True
    assert operator.selects("m") == "a"
    return bool(answer.json()["view"]["ageSeconds"] > age)


def check_healed(cluster: Cluster, operator: OperatorProcess) -> None:
    eventually(lambda: equals_truth(cluster, operator), within=5)
    eventually(lambda: operator.readyz()["reason"] == "the view is current")
    cluster.create("b", beat="1", modelName="other")
    eventually(lambda: cluster.phase("b") == "Healthy", within=5)


@pytest.mark.parametrize(("status", "seconds"), [(401, 10), (403, 3), (429, 3), (500, 3)], ids=str)
def test_a_refusal_for_some_time_heals_by_itself(
    status: int,
    seconds: float,
    cluster: Cluster,
    start_operator: Start,
    background: BackgroundLoop,
) -> None:
    line = Line(cluster, background)
    cluster.create("a", beat="1")
    operator = start_operator(cluster, RESYNC, server=line.url)
    eventually(lambda: equals_truth(cluster, operator))
    line.respond(everything, status)
    line.cut()
    cluster.patch("a", {"spec": {"weight": 7}})
    eventually(lambda: answers_from_memory(operator, f"HTTP {status}: ", seconds), within=seconds)
    line.clear()
    check_healed(cluster, operator)


def test_answers_that_are_not_those_of_an_api_server_are_taken_for_none(
    cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    line = Line(cluster, background)
    cluster.create("a", beat="1")
    operator = start_operator(cluster, RESYNC, server=line.url)
    eventually(lambda: equals_truth(cluster, operator))
    line.respond(everything, 200, {"message": "Welcome to our load balancer"})
    line.cut()
    cluster.patch("a", {"spec": {"weight": 7}})
    eventually(lambda: answers_from_memory(operator, "not one of an API server", 4), within=4)
    line.clear()
    check_healed(cluster, operator)


@pytest.mark.parametrize("where", ["in the kubeconfig", "in a token file"])
def test_a_token_that_is_rotated_is_read_anew(
    where: str, own_cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    cluster = own_cluster
    kubeconfig, token_file = tmp_path / "kubeconfig", tmp_path / "token"

    def write_credentials() -> None:
        content = yaml.safe_load(cluster.plane.token_kubeconfig(OPERATOR).read_text())
        if where == "in a token file":
            user = content["users"][0]["user"]
            replace(token_file, user.pop("token"))
            user["tokenFile"] = str(token_file)
        replace(kubeconfig, yaml.safe_dump(content))

    write_credentials()
    cluster.create("a", beat="1")
    operator = start_operator(cluster, RESYNC, kubeconfig=kubeconfig)
    eventually(lambda: equals_truth(cluster, operator))
    cluster.plane.set_token(OPERATOR, "rotated-token-of-the-operator")
    cluster.plane.restart_apiserver()
    eventually(lambda: answers_from_memory(operator, "HTTP 401: ", 2), within=5)
    cluster.patch("a", {"spec": {"weight": 7}})
    write_credentials()
    check_healed(cluster, operator)


def replace(path: Path, content: str) -> None:
    """Write a file in one step, as it is done with mounted secrets."""
    new = path.with_suffix(".new")
    new.write_text(content, encoding="utf-8")
    new.replace(path)
