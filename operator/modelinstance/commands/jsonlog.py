"""The log as JSON, an object a line."""

from __future__ import annotations

from typing import Any

from pythonjsonlogger.json import JsonFormatter

SHOWN = ("level", "logger", "message", "exc_info", "stack_info")


class JsonLines(JsonFormatter):
    """The time, the level, the logger and the message of an entry, and the ``fields`` of its extra.

    What libraries put beside them is left out: their objects are no text.
    """

    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """The entry as it is written."""
        return {
            "timestamp": log_data["timestamp"].isoformat(timespec="milliseconds"),
            **{field: log_data[field] for field in SHOWN if field in log_data},
            **log_data.get("fields", {}),
        }
