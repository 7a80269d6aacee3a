"""A manifest is applied again over an instance that is dead: that is no sign of life."""

from __future__ import annotations

import pytest

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays

MEANS = {
    "kubectl": (),
    "gitops": ("--server-side", "--field-manager=gitops", "--force-conflicts"),
}
"""By which means it is applied, each time in the same way."""


@pytest.mark.parametrize("by", sorted(MEANS))
@replay(without="memory-of-values")
def test_a_manifest_with_its_heartbeat_is_applied_over_a_dead_instance(
    by: str, cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster, "--resync-interval=2")
    manifest = cluster.manifest("a", timeout=60, beat="2026-11-01T08:00:00Z")

    def apply(weight: int) -> None:
        """With an edit, so that it is plain when the operator has seen it.

        It also gives a time to live that is long enough to see it alive, if it is.
        """
        manifest["spec"]["weight"] = weight
        cluster.apply(manifest, *MEANS[by])
        eventually(lambda: operator.instances()["default/a"]["weight"] == weight / 100)

    apply(100)
    cluster.beat("a")
    cluster.patch("a", {"spec": {"heartbeat": {"timeoutSeconds": 1}}})
    eventually(lambda: cluster.condition("a")["reason"] == "HeartbeatExpired")
    with proof:
        for weight in (200, 300):
            apply(weight)
            stays(lambda: check_dead(operator), 0.5)
        cluster.beat("a")
        eventually(lambda: operator.selects() == "a")


def check_dead(operator: OperatorProcess) -> bool:
    assert operator.phase("a") == "Unhealthy"
    assert operator.selects() is None
    return True
