"""From an instance's deadline to the listener that hears of its silence: p99 below 50 ms.

The registry is alone in its loop and kept by the operator's own keeping of time. Some instances
fall silent by and by, the others go on beating. Beside them run as many bare timers of the same
loop (`call_at`), set to the same deadlines.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from random import Random

from latencies import holds, show
from modelinstance.cluster.access import Access
from modelinstance.cluster.client import ClusterClient
from modelinstance.cluster.registration import RegistrationWriter
from modelinstance.desk import Desk
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.settings import Settings

BOUND_SECONDS = 0.05
TIMEOUT_SECONDS = 2.0
SPREAD_SECONDS = 10.0
BEAT_SECONDS = 0.5
PER_MODEL = 10


async def measure(instances: int, silences: int, seed: int) -> tuple[list[float], list[float]]:
    """The delays of the listener and of the bare timers, in seconds."""
    random = Random(seed)
    registry = EmbeddedModelRegistry(0, TIMEOUT_SECONDS)
    writer = RegistrationWriter(ClusterClient(Access(None)))
    desk = Desk(registry, Settings(operator_namespace="none"), writer)
    records, loop = registry.records, asyncio.get_running_loop()
    began = time.monotonic()
    stops = {
        number: began + random.uniform(0, SPREAD_SECONDS)
        for number in random.sample(range(instances), silences)
    }
    deadlines: dict[InstanceKey, float] = {}
    listener: list[float] = []
    timers: list[float] = []
    all_heard = asyncio.Event()

    def hear(record: Record) -> None:
        if not record.verdict.ready and record.key in deadlines:
            listener.append(time.monotonic() - deadlines.pop(record.key))
            if len(listener) == silences:
                all_heard.set()

    async def live(number: int) -> None:
        key = InstanceKey("default", f"i-{number}")
        spec = InstanceSpec(f"m-{number // PER_MODEL}", f"10.0.0.{number}", 8000)
        record = records.put(key, f"uid-{number}", spec, created=number)
        end = stops.get(number, float("inf"))
        while (now := time.monotonic()) < end:
            records.beat(record)
            await asyncio.sleep(min(BEAT_SECONDS * random.uniform(0.5, 1.0), max(end - now, 0.0)))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        records.beat(record)
        deadlines[key] = deadline
        loop.call_at(deadline, lambda: timers.append(time.monotonic() - deadline))

    records.on_verdict(hear)
    keeping = asyncio.create_task(desk.keep_time())
    living = [asyncio.create_task(live(number)) for number in range(instances)]
    async with asyncio.timeout(10 * SPREAD_SECONDS):
        await all_heard.wait()
    for task in (keeping, *living):
        task.cancel()
    await asyncio.gather(keeping, *living, return_exceptions=True)
    return listener, timers


def main() -> int:
    """Print the table; returns 1 where the bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--silences", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    listener, timers = asyncio.run(measure(arguments.instances, arguments.silences, arguments.seed))
    rows = {"on_verdict": listener, "bare timers": timers}
    show(f"From a deadline, of {arguments.instances:,} instances", "bare timers", rows)
    return 0 if holds("deadline to listener", listener, BOUND_SECONDS) else 1


if __name__ == "__main__":
    sys.exit(main())
