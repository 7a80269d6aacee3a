"""What a sweep costs at 100,000 instances, against 1,000: it grows with what changed alone.

Microseconds: of a sweep when nothing is due, and for each instance of a sweep in which some have
come due. Each instance falls silent once, and those that do are of different models.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

from modelinstance.registry.health.record import Record
from modelinstance.registry.records.records import Records
from pairs import compare, show
from registry_costs import INSTANCES_PER_MODEL, filled

SMALL, LARGE, CALLS, DUE = 1_000, 100_000, 20_000, 50


def measured(size: int) -> Callable[[], dict[str, float]]:
    """A registry of so many instances, and what one round with it gives."""
    records = filled(size)
    those = iter([record for number, record in enumerate(records) if is_used(number)])
    return lambda: {
        "nothing due": idle(records),
        "each that is due": silence(records, [next(those) for _ in range(DUE)]),
    }


def is_used(number: int) -> bool:
    """Three of ten instances of a model, so that no model is lost as a whole."""
    return number % INSTANCES_PER_MODEL < 3


def idle(records: Records) -> float:
    """Microseconds of a sweep in which nothing is due."""
    began = time.perf_counter()
    for _ in range(CALLS):
        records.expire()
    return (time.perf_counter() - began) / CALLS * 1e6


def silence(records: Records, those: list[Record]) -> float:
    """Microseconds for each that falls silent."""
    for record in those:
        records.set_age(record, 1e6)
    began = time.perf_counter()
    records.expire()
    took = time.perf_counter() - began
    assert not any(record.verdict.ready for record in those)
    return took / len(those) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="at most 6")
    pairs = parser.parse_args().pairs
    large, small = measured(LARGE), measured(SMALL)
    gc.collect()
    gc.freeze()  # as the operator does
    table = compare(large, small, pairs)
    show(f"us; {DUE} are due at a time", (f"{LARGE:,}", f"{SMALL:,}"), table)


if __name__ == "__main__":
    main()
