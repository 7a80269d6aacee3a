"""What routers get for their questions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

MODELS = ("vicuna@llm", "meta-llama/Llama-3.1-8B", "a:b c/d?e&f=ü")


def test_an_instance_of_weight_zero_is_listed_and_never_selected(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a", weight=0, beat="0")
    eventually(lambda: operator.phase("a") == "Healthy")
    refused = operator.get("/api/v1/select", model="m")
    assert refused.status_code == 503, "it is known, and cannot be picked"
    cluster.create("b", weight=1, beat="0")
    eventually(lambda: operator.selects("m") == "b")
    assert {operator.selects("m") for _ in range(30)} == {"b"}
    assert operator.instances(healthy=True).keys() == {"default/a", "default/b"}


def test_two_models_are_kept_apart(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.create("a", modelName="one", beat="0")
    cluster.create("b", modelName="two", beat="0")
    cluster.create("c", modelName="two")
    eventually(lambda: len(operator.instances()) == 3 and operator.selects("two"))
    eventually(lambda: operator.selects("one") == "a")
    assert {operator.selects("two") for _ in range(20)} == {"b"}
    questions: list[tuple[Mapping[str, str], set[str]]] = [
        ({"model": "one"}, {"default/a"}),
        ({"model": "two"}, {"default/b", "default/c"}),
        ({"model": "two", "healthy": "true"}, {"default/b"}),
        ({"model": "two", "healthy": "false"}, {"default/c"}),
        ({"healthy": "true"}, {"default/a", "default/b"}),
        ({"model": "three"}, set()),
    ]
    for query, answer in questions:
        assert operator.instances(**query).keys() == answer, query


def test_a_model_name_may_hold_anything_and_so_may_an_alias(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    first, second, third = MODELS
    cluster.create("a", modelName=first, aliases=[second], beat="0")
    eventually(lambda: operator.selects(first) == "a")
    assert operator.selects(second) == "a"
    assert operator.instances(model=second).keys() == {"default/a"}
    assert operator.get("/api/v1/select", model=third).status_code == 404
    cluster.patch("a", {"spec": {"aliases": [third]}})
    eventually(lambda: operator.selects(third) == "a")
    assert operator.get("/api/v1/select", model=second).status_code == 404
    assert operator.phase("a") == "Healthy", "an alias is no part of the incarnation"


def test_an_unknown_model_and_one_without_a_healthy_instance_are_told_apart(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("a")
    eventually(operator.instances)
    unavailable = operator.get("/api/v1/select", model="m")
    assert unavailable.status_code == 503
    assert unavailable.headers["Retry-After"] == "1"
    unknown = operator.get("/api/v1/select", model="who")
    assert unknown.status_code == 404
    assert "Retry-After" not in unknown.headers
    for answer, model in ((unavailable, "'m'"), (unknown, "'who'")):
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert model in problem["detail"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/select", "query.model"),
        ("/api/v1/select?model=", "query.model"),
        (f"/api/v1/select?model={'x' * 254}", "query.model"),
        ("/api/v1/instances?healthy=perhaps", "query.healthy"),
    ],
)
def test_a_bad_question_is_answered_with_a_problem_that_names_the_field(
    path: str, field: str, operator: OperatorProcess
) -> None:
    answer = operator.http.get(path)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(field)


def test_an_unknown_route_is_answered_with_a_problem(operator: OperatorProcess) -> None:
    answer = operator.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert operator.http.post("/api/v1/select").status_code == 405


def test_every_answer_says_how_far_it_can_be_trusted(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    def revision() -> int:
        return int(operator.get("/api/v1/instances").headers["Modelinstance-Revision"])

    before = revision()
    cluster.create("a")
    eventually(operator.instances)
    created = revision()
    assert created > before
    cluster.beat("a")
    eventually(lambda: operator.selects("m") == "a")
    assert revision() > created
    for path in ("/api/v1/instances", "/api/v1/select?model=m", "/api/v1/select?model=who"):
        headers = operator.http.get(path).headers
        assert headers["Modelinstance-View-Stale"] == "false"
        assert 0 <= float(headers["Modelinstance-View-Age"]) < 90
