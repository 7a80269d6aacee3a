"""What a call of the registry costs when it holds 100,000 instances, against 100.

Microseconds a call. The other instances are of other models, so no ratio should be far above 1
(memory caches make the large registry somewhat slower).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey, InstanceSpec
from modelinstance.registry.records.records import Records
from pairs import compare, show

SMALL, LARGE, CALLS = 100, 100_000, 20_000
INSTANCES_PER_MODEL = 10


def filled(size: int) -> Records:
    """A registry of so many instances, all heard from."""
    records = Records(120.0)
    for number in range(size):
        spec = InstanceSpec(f"model-{number // INSTANCES_PER_MODEL}", f"10.0.0.{number}", 8000)
        key = InstanceKey("default", f"instance-{number}")
        records.beat(records.put(key, "uid", spec, created=number))
    return records


def measure(records: Records) -> dict[str, float]:
    """Microseconds a call."""
    key = InstanceKey("default", "instance-0")
    record = records.get(key)
    assert record is not None

    def come_and_go() -> None:
        spec = InstanceSpec("model-0", "10.9.9.9", 8000)
        records.put(InstanceKey("default", "new"), "uid", spec, created=0)
        records.remove(InstanceKey("default", "new"))

    return {
        "select": timed(lambda: records.select("model-0")),
        "beat": timed(lambda: records.beat(record)),
        "sweep, nothing due": timed(records.expire),
        "add and remove": timed(come_and_go),
        "list one model": timed(lambda: list(records.named("model-0"))),
        "one silence": timed(lambda: fall_silent(records, record)),
    }


def fall_silent(records: Records, record: Record) -> None:
    """One instance expires, and beats again."""
    records.set_age(record, 1e6)
    records.expire()
    records.beat(record)


def timed(call: Callable[[], object]) -> float:
    """Microseconds of one call, over many."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    large, small = filled(LARGE), filled(SMALL)
    table = compare(lambda: measure(large), lambda: measure(small), pairs)
    show("us a call", (f"{LARGE:,}", f"{SMALL:,}"), table)


if __name__ == "__main__":
    main()
