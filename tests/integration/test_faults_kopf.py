"""kopf dies: the endpoint and expiry go on without it, and it is started again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.faulty_operator import with_kopf_deaths
from support.line import Line, instance_watches
from support.operator_process import Start
from support.truth import equals_truth
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 4
RARELY = "--resync-interval=600"
"""What is noticed without kopf is noticed because a deadline comes near."""


def test_without_kopf_silence_still_leaves_select_in_time_and_beats_are_heard(
    cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    operator = start_operator(cluster, RARELY, **with_kopf_deaths(deaths))
    cluster.create("beats", timeout=TIMEOUT_SECONDS)
    cluster.create("falls-silent", timeout=TIMEOUT_SECONDS, host="b.example")
    with Workers(cluster, "beats"):
        with Workers(cluster, "falls-silent"):
            eventually(lambda: len(operator.instances(healthy=True)) == 2)
            eventually(lambda: equals_truth(cluster, operator))
            deaths.write_text("1000", encoding="utf-8")
            eventually(lambda: not operator.readyz()["watching"])
        assert operator.get("/readyz").status_code == 200
        eventually(lambda: operator.phase("falls-silent") == "Unhealthy", within=TIMEOUT_SECONDS)
        stays(lambda: operator.selects("m") == "beats", 1.5 * TIMEOUT_SECONDS)
        assert operator.metric("expiries_total") == 1
        eventually(lambda: operator.metric("view_age_seconds") < TIMEOUT_SECONDS)  # by LISTs
        assert cluster.phase("falls-silent") == "Healthy", "nobody writes statuses now"

        deaths.unlink()
        eventually(lambda: cluster.phase("falls-silent") == "Unhealthy", within=8)
        assert cluster.condition("falls-silent")["reason"] == "HeartbeatExpired"
        cluster.create("new", beat="1", host="c.example")
        eventually(lambda: operator.phase("new") == "Healthy")
        assert operator.phase("beats") == "Healthy"


def test_kopf_is_started_again_with_growing_pauses_and_log_and_metrics_say_so(
    cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    operator = start_operator(cluster, RARELY, **with_kopf_deaths(deaths))
    assert operator.metric("watch_running") == 1
    assert operator.metric("watch_restarts_total") == 0
    deaths.write_text("2", encoding="utf-8")
    eventually(lambda: operator.metric("watch_running") == 0, within=1)
    eventually(lambda: operator.metric("watch_restarts_total") == 2, within=3)
    eventually(lambda: operator.metric("watch_running") == 1)
    assert operator.readyz()["watching"] is True
    said = re.findall(r"kopf ended: (.*); starting it again in (\S+) s", operator.log())
    assert said == [("RuntimeError: kopf was told to die", pause) for pause in ("1", "2")]
    cluster.create("a", beat="1")
    eventually(lambda: cluster.phase("a") == "Healthy")
    assert operator.metric("watch_restarts_total") == 2


def test_a_failure_of_one_watcher_that_kopf_does_not_survive_is_healed(
    cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    """kopf then hangs more often than it ends by itself, and cannot be cancelled at once."""

    def registry_watches(method: str, path: str, query: Mapping[str, str]) -> bool:
        return path.endswith("/instanceregistries") and query.get("watch") == "true"

    line = Line(cluster, background)
    operator = start_operator(cluster, RARELY, server=line.url)
    for died, name in enumerate(("a", "b"), start=1):
        cluster.create(name, beat="1")
        eventually(lambda name=name: cluster.phase(name) == "Healthy", within=5)  # type: ignore[misc]
        line.respond(instance_watches, 400)
        hung = line.hold(registry_watches)
        line.cut()
        eventually(hung.reached.is_set)
        eventually(lambda: not operator.readyz()["watching"])
        line.clear()
        eventually(lambda died=died: operator.metric("watch_restarts_total") == died, within=3)  # type: ignore[misc]
    cluster.create("c", beat="1")
    eventually(lambda: cluster.phase("c") == "Healthy", within=5)
