"""Latencies as their number, median and 99th percentile, beside a baseline of the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(values, n=100, method="inclusive")[98]


def show(title: str, baseline: str, rows: Mapping[str, Sequence[float]]) -> None:
    """Print milliseconds; the ratio is that of the medians to the row that is the baseline."""
    print(f"\n{title}")
    print(f"{'':36}{'n':>8}{'p50 ms':>12}{'p99 ms':>12}{'ratio':>9}")
    for name, seconds in rows.items():
        ratio = median(seconds) / median(rows[baseline])
        print(
            f"{name:36}{len(seconds):8,}{median(seconds) * 1000:12.2f}{p99(seconds) * 1000:12.2f}"
            f"{ratio:9.2f}"
        )


def holds(what: str, values: Sequence[float], bound: float) -> bool:
    """Print whether the 99th percentile is within a bound, in seconds."""
    found = p99(values) <= bound
    print(f"{what}: p99 within {bound * 1000:g} ms {'holds' if found else 'DOES NOT HOLD'}")
    return found
