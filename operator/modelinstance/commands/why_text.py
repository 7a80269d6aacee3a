"""What a registry answers to ``/why``, as a text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

DECIDES = "decides"
INDENT = "  "


class UnreadableError(Exception):
    """An answer that is not one of a registry, or not of one that explains itself."""


def staleness(headers: Mapping[str, str]) -> str:
    """That an answer comes from memory, by its headers; empty if it does not."""
    if headers.get("Modelinstance-View-Stale") != "true":
        return ""
    age = headers.get("Modelinstance-View-Age", "")
    try:
        seconds = float(age)
    except ValueError:
        seconds = math.nan
    since = f": it was last proven {ago(seconds)}" if math.isfinite(seconds) else ""
    return f"The registry's view of the cluster is not current{since}. What follows is from memory."


def rendered(body: Any) -> str:
    """An explanation. Raises `UnreadableError`."""
    try:
        return "\n".join(map(_clean, _lines(body)))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise UnreadableError(
            "the answer is none of a registry that explains itself: it has to be of this version"
        ) from error


def ago(seconds: float) -> str:
    """How long ago something was, in the two units that matter."""
    for name, size, smaller, part in (
        ("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1),
    ):  # fmt: skip
        if seconds >= size:
            return f"{int(seconds // size)} {name} {int(seconds % size // part)} {smaller} ago"
    return f"{seconds:.1f} s ago"


def _lines(body: dict[str, Any]) -> list[str]:
    shown = body["instance"]
    since = datetime.fromisoformat(body["since"])
    fields = [
        ("since", f"{since:%FT%TZ} ({ago(float(body['sinceSeconds']))})"),
        ("model", _names(shown)),
        ("address", shown["address"]),
        ("message", shown["message"]),
        ("meaning", body["meaning"]),
    ]
    checks = [(c["check"], c["result"], _seen(c)) for c in body["checks"]]
    return [
        f"{shown['namespace']}/{shown['name']} is {shown['phase']}: {shown['reason']}",
        *_table(fields),
        "",
        *_table([("CHECK", "RESULT", "EVIDENCE"), *checks]),
        "",
        "What would change it:",
        *(f"{INDENT}- {change}" for change in body["changes"]),
        "",
        "What to do:",
        f"{INDENT}{body['action']}",
    ]


def _names(shown: Mapping[str, Any]) -> str:
    aliases = ", ".join(shown["aliases"])
    return f"{shown['model']} (also {aliases})" if aliases else str(shown["model"])


def _seen(check: Mapping[str, Any]) -> str:
    """What a check sees, with the reason where it decides."""
    if check["result"] == DECIDES:
        return f"{check['reason']}: {check['evidence']}"
    return str(check["evidence"])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows in columns, the last of them as long as it is."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return [
        INDENT + "".join(f"{cell:{width}}   " for cell, width in zip(row, widths, strict=False))
        + row[-1]
        for row in rows
    ]  # fmt: skip


def _clean(line: str) -> str:
    """What workers sent must not be taken for other lines, nor for orders to a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
