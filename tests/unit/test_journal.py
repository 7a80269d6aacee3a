"""The log of changes: a line each, bounded; and the log as JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from modelinstance.commands.jsonlog import JsonLines
from modelinstance.journal import BURST, RATE, SUMMARY_SECONDS, Journal
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, live, put
from unit.clock import FakeClock

LOGGER = "modelinstance.instances"


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Lines of all levels are caught."""
    with caplog.at_level(logging.INFO, LOGGER):
        yield


def look(journal: Journal) -> None:
    """Let all be told."""
    while journal.look():
        pass


def test_each_change_is_a_line(
    records: Records, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(records)
    record = put(records)
    look(journal)
    assert not caplog.records
    records.beat(record)
    look(journal)
    live(records, clock, TIMEOUT + 1)
    look(journal)
    lines = caplog.records
    assert [(line.name, line.levelname) for line in lines] == [
        (LOGGER, "INFO"),
        (LOGGER, "WARNING"),
    ]
    assert lines[0].getMessage() == (
        "prod/vicuna-0 of model vicuna is Healthy: HeartbeatReceived: Heartbeats arrive in time"
    )
    entry = json.loads(JsonLines().format(lines[1]))
    assert datetime.fromisoformat(entry.pop("timestamp")).tzinfo == UTC
    assert entry.pop("message").startswith("prod/vicuna-0 of model vicuna is Unhealthy: ")
    assert entry == {
        "level": "WARNING", "logger": LOGGER, "namespace": "prod", "name": "vicuna-0",
        "model": "vicuna", "phase": "Unhealthy", "reason": "HeartbeatExpired",
    }  # fmt: skip


def test_many_at_once_are_a_number(
    records: Records, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    journal, many = Journal(records), 3000
    for number in range(many):
        records.beat(put(records, f"i-{number}", host=f"10.0.{number >> 8}.{number & 255}"))
    look(journal)
    lines = caplog.records
    assert len(lines) == BURST + 1
    assert lines[-1].getMessage() == f"… and {many - BURST} more changes"
    caplog.clear()
    for number in range(200):
        records.beat(put(records, f"j-{number}", host=f"10.1.0.{number}"))
        live(records, clock, 0.05)
        look(journal)
    assert len(caplog.records) <= 10 * RATE + 1 + 10 / SUMMARY_SECONDS


def entry_of(message: str, *arguments: object, **extra: object) -> dict[str, object]:
    logger = logging.getLogger("some.library")
    try:
        int("why\nnot")
    except ValueError:
        record = logger.makeRecord(
            logger.name, logging.ERROR, "file.py", 1, message, arguments, sys.exc_info(),
            extra=extra,
        )  # fmt: skip
    line = JsonLines().format(record)
    assert not {"\n", "\r", "\u2028", "\x1b"} & {*line}
    entry: dict[str, object] = json.loads(line)
    return entry


def test_whatever_is_logged_is_one_line_of_json() -> None:
    entry = entry_of("a %s\n{}\u2028\x1b", 'b"c', k8s_skip=object(), settings=Records(1.0))
    assert entry.keys() == {"timestamp", "level", "logger", "message", "exc_info"}
    assert entry["message"] == 'a b"c\n{}\u2028\x1b'
    assert "ValueError: invalid literal" in str(entry["exc_info"])
