"""Status writes per second at full speed after an outage, against batches that are waited for.

The API server is killed, all instances are drained or taken back over HTTP, and the API server is
started. From the audit log: how many statuses were written in a second from the first to the last,
and how many requests each took; and the CPU time that the operator used for each.

Both writers have no bound to their rate; the other one is that of version 0.2: it writes twenty,
waits for all of them, and begins the next twenty, for a second, and then rests for a second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane import binaries
from cpu import cpu_seconds
from pairs import compare, show
from support.cluster import OPERATOR, Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually


class Side:
    """One way of writing, in an operator on a cluster of its own."""

    def __init__(self, directory: Path, instances: int, *, batches: bool) -> None:
        self._instances = instances
        self._drained = False
        self.cluster = Cluster(binaries.ensure(), directory)
        self.cluster.start()
        for number in range(instances):
            self.cluster.create(f"i-{number}", modelName=f"m-{number % 100}")
        module = "batch_writer" if batches else "modelinstance"
        self.operator = OperatorProcess(
            self.cluster.plane.token_kubeconfig(OPERATOR),
            directory / "operator.log",
            "--status-writes-per-second=10000",
            module=module,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        self.operator.wait_ready(30)
        self._settled(30)

    def _settled(self, within: float) -> None:
        def is_settled() -> bool:
            time.sleep(0.5)  # being asked takes of the time that is measured
            return self.operator.metric("status_writes_pending") == 0

        eventually(is_settled, within)

    def run(self) -> dict[str, float]:
        """One outage; the writes of a second after it."""
        cluster, mark = self.cluster, self.cluster.audit_mark()
        cluster.plane.kill_apiserver()
        self._drained = not self._drained
        for number in range(self._instances):
            say = self.operator.drain if self._drained else self.operator.undrain
            say(f"i-{number}")
        used = cpu_seconds(self.operator.process.pid)
        cluster.plane.start_apiserver()
        self._settled(30)
        used = cpu_seconds(self.operator.process.pid) - used
        writes = [w for w in cluster.writes(mark) if w.resource == "modelinstances/status"]
        good = sorted(w.at for w in writes if w.code == 200)
        assert len(good) == len({w.name for w in writes}) == self._instances, len(good)
        return {
            "statuses/s": (len(good) - 1) / (good[-1] - good[0]).total_seconds(),
            "requests/status": len(writes) / len(good),
            "CPU ms/status": used * 1000 / len(good),
        }

    def stop(self) -> None:
        """End all of it."""
        self.operator.stop()
        self.cluster.stop()


@contextmanager
def sides(instances: int) -> Iterator[tuple[Side, Side]]:
    """Both, to be run by turns."""
    with tempfile.TemporaryDirectory() as directory:
        made = []
        try:
            for name, batches in (("window", False), ("batches", True)):
                made.append(Side(Path(directory) / name, instances, batches=batches))
            yield made[0], made[1]
        finally:
            for side in made:
                side.stop()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--instances", type=int, default=1000)
    arguments = parser.parse_args()
    with sides(arguments.instances) as (window, batches):
        table = compare(window.run, batches.run, arguments.pairs)
    show(f"{arguments.instances:,} statuses after an outage", ("window", "batches"), table)


if __name__ == "__main__":
    main()
