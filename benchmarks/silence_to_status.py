"""From an instance's deadline to its status in the API: p99 within one sweep plus one second.

On a real API server with 1,000 instances that beat, of which half fall silent by and by. A deadline
is the moment at which the last heartbeat was sent, plus the timeout; a status is there when a watch
shows it. Beside it: how long the same watch takes for a label that is written by hand.

With ``--channel=annotation`` the heartbeats of those that fall silent are annotations. Then time
runs only as the view of the cluster is proven current, by a LIST each second if by nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from controlplane import binaries
from latencies import holds, show
from modelinstance.cluster.watch import TIMER_INTERVAL_SECONDS
from support.cluster import API, OPERATOR, Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

TIMEOUT_SECONDS = 10.0
SPREAD_SECONDS = 40.0
BEAT_SECONDS = 2.5
PER_MODEL = 20
PROBE_SECONDS = 0.5
GRACE_SECONDS = 6.0
BY_HAND = "by-hand"
BOUND_SECONDS = TIMER_INTERVAL_SECONDS + 1.0
"""One sweep, which is the rest between two ticks of the timer, and a second."""


class Watcher:
    """Notes when a watch shows an instance as silent, and what is written by hand."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.silent: dict[str, float] = {}
        self.by_hand: dict[str, float] = {}
        self._version = cluster.request("GET", f"{API}/modelinstances").json()["metadata"][
            "resourceVersion"
        ]

    def follow(self) -> None:
        """Watch until the server ends it."""
        query = {"watch": "true", "resourceVersion": self._version, "timeoutSeconds": "600"}
        with (
            httpx.Client(
                base_url=self._cluster.plane.url,
                verify=self._cluster.tls,
                headers=self._cluster.admin_headers,
                timeout=None,
            ) as client,
            client.stream("GET", f"{API}/modelinstances", params=query) as response,
        ):
            try:
                for line in response.iter_lines():
                    self._see(json.loads(line)["object"])
            except httpx.TransportError:
                return

    def _see(self, shown: dict[str, Any]) -> None:
        now, name = time.monotonic(), shown["metadata"]["name"]
        if name == BY_HAND:
            self.by_hand.setdefault(shown["metadata"].get("labels", {}).get("number", ""), now)
        elif shown.get("status", {}).get("phase") == "Unhealthy":
            self.silent.setdefault(name, now)


class Fleet:
    """Instances that beat over HTTP, all in batches; some stop by and by."""

    def __init__(
        self, operator: OperatorProcess, cluster: Cluster, stops: dict[str, float]
    ) -> None:
        self._operator = operator
        self._cluster = cluster
        self._stops = stops
        self.deadlines: dict[str, float] = {}

    def live(self, *, by_annotation: bool) -> None:
        """Beat until all have stopped that are to."""
        incarnations = {
            shown["name"]: shown["incarnation"]
            for shown in self._operator.instances().values()
            if shown["name"] != BY_HAND
        }
        due = {
            name: time.monotonic() + BEAT_SECONDS * Random(name).random() for name in incarnations
        }
        end = time.monotonic() + SPREAD_SECONDS + TIMEOUT_SECONDS + GRACE_SECONDS
        while time.monotonic() < end:
            now = time.monotonic()
            items = []
            for name, at in list(due.items()):
                if at > now:
                    continue
                if now >= self._stops.get(name, float("inf")):
                    del due[name]
                    self._beat_last(name, incarnations[name], by_annotation=by_annotation)
                else:
                    items.append({"incarnation": incarnations[name]})
                    due[name] = now + BEAT_SECONDS
            if items:
                body = {"items": items}
                self._operator.http.post("/api/v1/heartbeats", json=body).raise_for_status()
            time.sleep(0.05)

    def _beat_last(self, name: str, incarnation: str, *, by_annotation: bool) -> None:
        self.deadlines[name] = time.monotonic() + TIMEOUT_SECONDS
        if by_annotation:
            self._cluster.beat(name)
        else:
            self._operator.beat(incarnation)


def write_by_hand(cluster: Cluster, stop: threading.Event) -> Iterator[tuple[str, float]]:
    """Write a label every now and then; what and when."""
    for number in map(str, itertools.count()):
        if stop.wait(PROBE_SECONDS):
            return
        sent = time.monotonic()
        cluster.patch(BY_HAND, {"metadata": {"labels": {"number": number}}})
        yield number, sent


@contextmanager
def operated(instances: int) -> Iterator[tuple[Cluster, OperatorProcess]]:
    """A cluster with that many instances, and its operator."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(binaries.ensure(), Path(directory))
        cluster.start()
        operator = None
        try:
            for number in range(instances):
                cluster.create(
                    f"i-{number}", modelName=f"m-{number // PER_MODEL}",
                    timeout=int(TIMEOUT_SECONDS), host=f"10.0.{number // 250}.{number % 250}",
                )  # fmt: skip
            kubeconfig = cluster.plane.token_kubeconfig(OPERATOR)
            operator = OperatorProcess(kubeconfig, Path(directory) / "operator.log")
            operator.wait_ready(30)
            yield cluster, operator
        finally:
            if operator is not None:
                operator.stop()
            cluster.stop()


def silences(arguments: argparse.Namespace) -> dict[str, float]:
    """Which instances fall silent, and after how many seconds.

    Those of one model do so one after the other: many at once would be taken for an outage.
    """
    random = Random(arguments.seed)
    models = arguments.instances // PER_MODEL
    each = arguments.silences // models
    return {
        f"i-{model * PER_MODEL + number}": (number + random.random()) / each * SPREAD_SECONDS
        for model in range(models)
        for number in range(each)
    }


def measure(
    cluster: Cluster, operator: OperatorProcess, arguments: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """The delays from deadline to status, and those of what is written by hand."""
    shown = [{"incarnation": it["incarnation"]} for it in operator.instances().values()]

    def all_beat_and_are_written() -> bool:
        operator.http.post("/api/v1/heartbeats", json={"items": shown}).raise_for_status()
        healthy = list(cluster.phases().values()).count("Healthy")
        return healthy == len(shown) and operator.metric("status_writes_pending") == 0

    eventually(all_beat_and_are_written, within=60)
    cluster.create(BY_HAND, modelName=BY_HAND, heartbeat={"required": False})
    began, stops = time.monotonic(), silences(arguments)
    fleet = Fleet(operator, cluster, {name: began + at for name, at in stops.items()})
    watcher, stop, sent = Watcher(cluster), threading.Event(), dict[str, float]()
    by_annotation = arguments.channel == "annotation"
    writing = threading.Thread(target=lambda: sent.update(write_by_hand(cluster, stop)))
    watching = threading.Thread(target=watcher.follow, daemon=True)
    watching.start()
    writing.start()
    fleet.live(by_annotation=by_annotation)
    stop.set()
    writing.join()
    assert fleet.deadlines.keys() == stops.keys()
    eventually(lambda: not fleet.deadlines.keys() - watcher.silent.keys(), within=5)
    delays = [watcher.silent[name] - deadline for name, deadline in fleet.deadlines.items()]
    return delays, [watcher.by_hand[of] - at for of, at in sent.items() if of in watcher.by_hand]


def main() -> int:
    """Print the table; returns 1 where the bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--silences", type=int, default=500)
    parser.add_argument("--channel", choices=("http", "annotation"), default="http")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with operated(arguments.instances) as (cluster, operator):
        delays, baseline = measure(cluster, operator, arguments)
    rows = {f"silence to status ({arguments.channel})": delays, "by hand": baseline}
    show(f"To a status, of {arguments.instances:,} instances", "by hand", rows)
    return 0 if holds("silence to status", delays, BOUND_SECONDS) else 1


if __name__ == "__main__":
    sys.exit(main())
