"""Interleaved pairs: run two things by turns, and compare their medians."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median


def compare(
    first: Callable[[], dict[str, float]], second: Callable[[], dict[str, float]], pairs: int
) -> dict[str, tuple[float, float, float]]:
    """The medians of both and the median of the ratios first/second, for each figure."""
    results = [(first(), second()) for _ in range(pairs)]
    return {
        figure: (
            median(one[figure] for one, _ in results),
            median(other[figure] for _, other in results),
            median(one[figure] / other[figure] for one, other in results),
        )
        for figure in results[0][0]
    }


def show(title: str, names: tuple[str, str], table: dict[str, tuple[float, float, float]]) -> None:
    """Print a comparison."""
    print(f"\n{title}")
    print(f"{'':24}{names[0]:>16}{names[1]:>16}{'ratio':>9}")
    for figure, (one, other, ratio) in table.items():
        print(f"{figure:24}{one:16.3f}{other:16.3f}{ratio:9.2f}")
