"""etcd is restored to an older state while the operator runs: the cluster's word counts.

Resync comes every two seconds until all is healed, and hardly ever afterwards, so that what is
seen then was told by events.
"""

from __future__ import annotations

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.proxy import HOST, TcpProxy
from support.truth import equals_truth
from support.waiting import eventually

RESYNC_SECONDS = 2
SAID = "the cluster was restored to an earlier state: taking it as the truth"


def live_on(cluster: Cluster, operator: OperatorProcess) -> None:
    """What happens between the backup and the restore."""
    cluster.patch("changed", {"spec": {"weight": 7}})
    cluster.delete("deleted")
    cluster.delete("reborn")
    cluster.create("reborn", beat="2")
    cluster.create("created", beat="1")
    cluster.patch("silent", {"spec": {"heartbeat": {"timeoutSeconds": 1}}})
    eventually(lambda: cluster.phase("silent") == "Unhealthy", within=5)
    cluster.patch("silent", {"spec": {"heartbeat": {"timeoutSeconds": 3600}}})
    eventually(lambda: equals_truth(cluster, operator), within=RESYNC_SECONDS + 3)


def check_restored(cluster: Cluster, operator: OperatorProcess, uids: dict[str, str]) -> bool:
    assert equals_truth(cluster, operator)
    shown = operator.instances()
    assert {key.removeprefix("default/") for key in shown} >= {*uids}
    assert "default/created" not in shown
    assert shown["default/changed"]["weight"] == 1.0
    assert cluster.get("reborn")["metadata"]["uid"] == uids["reborn"]
    assert shown["default/silent"]["phase"] == "Unhealthy", "its silence was observed"
    assert cluster.condition("silent")["reason"] == "HeartbeatExpired", "though the backup had not"
    return True


def start_with_history(cluster: Cluster, operator: OperatorProcess) -> dict[str, str]:
    eventually(cluster.registry)
    cluster.patch_registry({"resyncIntervalSeconds": RESYNC_SECONDS})
    names = ("changed", "deleted", "reborn", "silent")
    for name in names:
        cluster.create(name, beat="1")
    eventually(lambda: len(operator.instances(healthy=True)) == len(names))
    eventually(lambda: equals_truth(cluster, operator))
    return {name: cluster.get(name)["metadata"]["uid"] for name in names}


def check_events(cluster: Cluster, operator: OperatorProcess) -> None:
    """Events and status writes work, as they come long before the next resync."""
    eventually(lambda: operator.metric("watch_restarts_total") == 1)
    changed = cluster.patch_registry({"resyncIntervalSeconds": 600})["metadata"]
    eventually(lambda: cluster.registry()["status"]["observedGeneration"] == changed["generation"])
    repairs = operator.metric("resync_repairs_total", kind="added")
    cluster.create("afterwards", beat="1")
    eventually(lambda: cluster.phase("afterwards") == "Healthy", within=4)
    cluster.delete("afterwards")
    eventually(lambda: "default/afterwards" not in operator.instances())
    cluster.beat("silent", "heard again")
    eventually(lambda: cluster.phase("silent") == "Healthy", within=4)
    assert operator.metric("resync_repairs_total", kind="added") == repairs
    assert operator.log().count(SAID) == 1


def test_a_restored_cluster_is_believed_and_watched_again(
    own_cluster: Cluster, start_operator: Start
) -> None:
    cluster = own_cluster
    operator = start_operator(cluster)
    uids = start_with_history(cluster, operator)
    backup = cluster.plane.backup_etcd()
    eventually(lambda: newest_version(cluster), within=5)
    live_on(cluster, operator)
    cluster.plane.restore_etcd(backup)
    eventually(lambda: check_restored(cluster, operator, uids), within=4 + 2 * RESYNC_SECONDS)
    check_events(cluster, operator)


def test_a_restored_cluster_is_known_even_when_its_versions_have_grown_past_all_that_was_seen(
    own_cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    cluster = own_cluster
    line = background.enter(TcpProxy(HOST, cluster.plane.port))
    operator = start_operator(cluster, server=line.url)
    uids = start_with_history(cluster, operator)
    backup = cluster.plane.backup_etcd()
    eventually(lambda: newest_version(cluster), within=5)
    live_on(cluster, operator)
    highest = newest_version(cluster)

    background.call(line.refuse)
    background.call(line.cut)
    cluster.plane.restore_etcd(backup)
    eventually(lambda: newest_version(cluster), within=5)
    assert newest_version(cluster) < highest
    cluster.create("busy")
    while newest_version(cluster) <= highest:
        cluster.patch("busy", {"metadata": {"labels": {"n": str(newest_version(cluster))}}})
    background.run(line.accept())
    eventually(lambda: check_restored(cluster, operator, uids), within=4 + 2 * RESYNC_SECONDS)
    check_events(cluster, operator)


def newest_version(cluster: Cluster) -> int:
    """The version of the cluster; raises LookupError while its resources are not served yet."""
    listed = cluster.request("GET", "/apis/modelinstance.dev/v1alpha1/modelinstances")
    if listed.status_code != 200:
        raise LookupError(listed.text)
    return int(listed.json()["metadata"]["resourceVersion"])
