"""An operator that mirrors some namespaces, and has rights in no others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from generate.rbac import HOME as HOME_RULES
from generate.rbac import PODS, WATCHED
from support.cluster import HOME, Cluster
from support.operator_process import Start
from support.waiting import eventually

USER = "scoped-operator"
SCOPES = ("scope-a", "scope-b")


def role(namespace: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A role in one namespace, bound to the user."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": USER, "namespace": namespace}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": USER},
            "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
        },
    ]


@pytest.fixture
def kubeconfig(cluster: Cluster) -> Path:
    """Of a user who may do in two namespaces, and its own, what the operator has to."""
    for scope in SCOPES:
        cluster.add_namespace(scope)
    manifests = [
        *role(HOME, WATCHED + PODS + HOME_RULES),
        *(manifest for scope in SCOPES for manifest in role(scope, WATCHED + PODS)),
    ]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    for namespace in (HOME, *SCOPES):  # the API server learns of rights a moment after they are set
        eventually(partial(may_list_pods, cluster, namespace))
    return cluster.plane.add_user(USER)


def may_list_pods(cluster: Cluster, namespace: str) -> bool:
    """Whether the API server knows of the user's rights in a namespace."""
    asked = ("auth", "can-i", "list", "pods", f"--namespace={namespace}", f"--as={USER}")
    return cluster.kubectl(*asked, check=False).startswith("yes")


@pytest.mark.parametrize("by", ["flags", "variable"])
def test_only_the_named_namespaces_are_mirrored_and_no_other_right_is_needed(
    by: str, cluster: Cluster, start_operator: Start, kubeconfig: Path
) -> None:
    for namespace in (*SCOPES, "default", HOME):
        cluster.create("early", namespace=namespace, host=f"{namespace}.example", beat="0")
    mark = cluster.audit_mark()
    if by == "flags":
        flags = [f"--namespace={scope}" for scope in SCOPES]
        operator = start_operator(cluster, *flags, kubeconfig=kubeconfig)
    else:
        variable = {"MODELINSTANCE_NAMESPACE": " ".join(SCOPES)}
        operator = start_operator(cluster, kubeconfig=kubeconfig, env=variable)
    assert operator.instances().keys() == {"scope-a/early", "scope-b/early"}
    for namespace in ("default", HOME, *SCOPES):
        cluster.create("late", namespace=namespace, modelName="late", host="10.0.0.5")
    eventually(lambda: len(operator.instances()) == 4)

    cluster.beat("late", namespace="scope-b")
    eventually(lambda: cluster.phase("late", "scope-b") == "Healthy")
    eventually(lambda: cluster.phase("late", "scope-a") == "Conflicted")
    cluster.delete("late", "scope-b")
    eventually(lambda: cluster.phase("late", "scope-a") == "Starting")
    assert operator.instances(model="late").keys() == {"scope-a/late"}
    for scope in SCOPES:
        cluster.delete("early", scope)
    eventually(lambda: operator.instances().keys() == {"scope-a/late"})
    eventually(lambda: cluster.registry()["status"]["instances"] == 1)

    for namespace in ("default", HOME):
        for name in ("early", "late"):
            assert cluster.phase(name, namespace) is None
    requests = [entry for entry in cluster.audit(mark, USER) if entry.resource]
    assert operator.stop() == 0
    assert {entry.code for entry in requests} <= {200, 201, 409}
    assert {entry.namespace for entry in requests} == {*SCOPES, HOME}
    assert {e.namespace for e in requests if "patch" in e.verb} == {*SCOPES, HOME}
