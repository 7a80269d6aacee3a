"""Our kopf settings against kopf's own, on the real API server.

Each run mirrors objects whose heartbeat annotation is patched at a fixed rate, and prints the time
from the PATCH to the registry's thread (milliseconds), the CPU time of the process (per cent of a
core), and the API requests that it made on users' objects (from the audit log).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import kopf

from controlplane import binaries
from modelinstance.cluster import watch
from modelinstance.cluster.access import Access
from modelinstance.registry.health.observed import Observed
from pairs import compare, show
from support.cluster import HEARTBEAT, OPERATOR, Cluster


class Stopwatch:
    """A desk that takes the time of every heartbeat."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def instance_changed(self, run: int, observed: Observed, listed: bool) -> None:
        """Note how old the heartbeat is."""
        del run
        if observed.heartbeat and not listed:
            self.delays.append((time.monotonic() - float(observed.heartbeat)) * 1000)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def mirror(kubeconfig: str, seconds: float, *, tuned: bool) -> dict[str, float]:
    """Run kopf for some time, in this process."""
    desk, stop = Stopwatch(), asyncio.Event()

    async def nothing() -> None:
        return

    access = Access(kubeconfig)
    handlers = watch.build_handlers(
        access, desk, lambda call, *args: call(*args), nothing, run=1, namespace="none"
    )
    if not tuned:
        default = kopf.OperatorSettings()
        default.posting.enabled = False
        default.scanning.disabled = True
        watch.settings = lambda: default
    asyncio.get_running_loop().call_later(seconds, stop.set)
    began = time.process_time()
    await watch.operate(handlers, stop, scopes=())
    delays = desk.delays
    return {
        "p50 ms": median(delays),
        "p99 ms": quantiles(delays, n=100)[98],
        "CPU %": (time.process_time() - began) / seconds * 100,
        "events": len(delays),
    }


def one_run(cluster: Cluster, arguments: argparse.Namespace, *, tuned: bool) -> dict[str, float]:
    """One run in a process of its own, under load."""
    kubeconfig = cluster.plane.token_kubeconfig(OPERATOR)
    command = [sys.executable, __file__, "--kubeconfig", str(kubeconfig)]
    command += ["--seconds", str(arguments.seconds), *(["--tuned"] if tuned else [])]
    stop = threading.Event()
    load = threading.Thread(target=beat, args=(cluster, arguments, stop))
    load.start()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        stop.set()
        load.join()
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def beat(cluster: Cluster, arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Patch heartbeats at the wanted rate, for twice the time of a run at the most."""
    client = httpx.Client(
        base_url=cluster.plane.url, verify=cluster.tls, headers=cluster.admin_headers
    )
    began, sent = time.monotonic(), 0
    with client:
        while not stop.is_set() and time.monotonic() < began + 2 * arguments.seconds + 10:
            stop.wait(max(began + sent / arguments.rate - time.monotonic(), 0))
            body = {"metadata": {"annotations": {HEARTBEAT: str(time.monotonic())}}}
            client.patch(
                cluster.path(f"i-{sent % arguments.objects}"), content=json.dumps(body),
                headers={"Content-Type": "application/merge-patch+json"},
            )  # fmt: skip
            sent += 1


def main() -> None:
    """Print the table; with ``--kubeconfig`` do one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--kubeconfig", help=argparse.SUPPRESS)
    parser.add_argument("--tuned", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kubeconfig:
        run = mirror(arguments.kubeconfig, arguments.seconds, tuned=arguments.tuned)
        print(json.dumps(asyncio.run(run)))
        return
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(binaries.ensure(), Path(directory))
        cluster.start()
        try:
            for number in range(arguments.objects):
                cluster.create(f"i-{number}")
            table = compare(
                lambda: one_run(cluster, arguments, tuned=True),
                lambda: one_run(cluster, arguments, tuned=False),
                arguments.pairs,
            )
        finally:
            cluster.stop()
    show(f"{arguments.objects} objects, {arguments.rate:g} heartbeats/s", ("ours", "kopf's"), table)


if __name__ == "__main__":
    main()
