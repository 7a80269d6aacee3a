from __future__ import annotations

from dataclasses import replace

import pytest

from modelinstance.registry.mirror.summary import (
    Mode,
    RegistryObject,
    RegistryObjectMirror,
    Summary,
    SummaryWrite,
)
from modelinstance.registry.records.census import Totals

TOTALS = Totals(models=2, instances=5, healthy=3)
CURRENT = Summary(generation=1, mode="Live", models=2, instances=5, healthy=3)
SHOWN = RegistryObject("uid-1", 10, 1, None, None, None, None, None, None)


@pytest.fixture
def home() -> RegistryObjectMirror:
    home = RegistryObjectMirror()
    home.seen(SHOWN)
    return home


def test_without_an_object_there_is_nothing_to_write() -> None:
    assert RegistryObjectMirror().plan_write(TOTALS, Mode.LIVE) is None


def test_a_summary_is_written_where_there_is_none(home: RegistryObjectMirror) -> None:
    assert home.plan_write(TOTALS, Mode.LIVE) == SummaryWrite(10, CURRENT)


def test_an_equal_summary_is_not_written_again(home: RegistryObjectMirror) -> None:
    home.seen(replace(SHOWN, version=11, summary=CURRENT))
    assert home.plan_write(TOTALS, Mode.LIVE) is None


@pytest.mark.parametrize(
    ("totals", "mode", "generation", "summary"),
    [
        (TOTALS, Mode.STALE, 1, replace(CURRENT, mode="Stale")),
        (replace(TOTALS, models=3), Mode.LIVE, 1, replace(CURRENT, models=3)),
        (replace(TOTALS, instances=6), Mode.LIVE, 1, replace(CURRENT, instances=6)),
        (replace(TOTALS, healthy=0), Mode.LIVE, 1, replace(CURRENT, healthy=0)),
        (TOTALS, Mode.LIVE, 2, replace(CURRENT, generation=2)),
    ],
)
def test_each_difference_is_written(
    home: RegistryObjectMirror, totals: Totals, mode: Mode, generation: int, summary: Summary
) -> None:
    home.seen(replace(SHOWN, version=11, generation=generation, summary=CURRENT))
    assert home.plan_write(totals, mode) == SummaryWrite(11, summary)


def test_an_older_state_never_overwrites_a_newer(home: RegistryObjectMirror) -> None:
    home.seen(replace(SHOWN, version=9, timeout_seconds=5))
    assert home.current == SHOWN


def test_a_list_is_believed_after_a_restore(home: RegistryObjectMirror) -> None:
    restored = replace(SHOWN, version=3, timeout_seconds=5)
    home.gone()
    home.seen(restored)
    assert home.current == restored


def test_a_deletion_counts_for_its_uid_alone(home: RegistryObjectMirror) -> None:
    home.gone("another")
    assert home.current == SHOWN
    home.gone("uid-1")
    assert home.current is None


def test_a_list_without_it_says_that_it_is_gone(home: RegistryObjectMirror) -> None:
    home.gone()
    assert home.current is None
