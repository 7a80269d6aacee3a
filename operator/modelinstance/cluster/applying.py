"""Server-side apply that leaves alone what others have taken over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelinstance.cluster.client import CONFLICT, ClusterClient, ClusterError
from modelinstance.cluster.translate import RawObject

TRIES = 4
"""How often fields may turn out to be somebody else's; each try leaves out more of them."""


async def apply_around(client: ClusterClient, body: dict[str, Any], manager: str) -> RawObject:
    """Apply a ModelInstance, but for the fields that are somebody else's; returns it as it is then.

    ``body`` loses those fields. Raises `ClusterError`, also for a conflict that is about no field.
    """
    for _ in range(TRIES):
        try:
            return await client.apply(body, manager)
        except ClusterError as error:
            if error.status != CONFLICT or not _leave_out(body, error.fields):
                raise
    metadata = body["metadata"]
    what = f"apply ModelInstance {metadata['namespace']}/{metadata['name']}"
    raise ClusterError(what, "it changes too often", CONFLICT)


def _leave_out(body: dict[str, Any], fields: Iterable[str]) -> bool:
    """Take fields out of a body, given as ``.spec.weight``; returns whether there were any."""
    taken = set(fields)
    found = False
    for part in (
        ("spec",),
        ("spec", "heartbeat"),
        ("metadata", "labels"),
        ("metadata", "annotations"),
    ):
        values: dict[str, Any] = body
        for step in part:
            values = values.get(step, {})
        prefix = "".join(f".{step}" for step in part)
        for name in tuple(values):
            if f"{prefix}.{name}" in taken:
                del values[name]
                found = True
    return found
