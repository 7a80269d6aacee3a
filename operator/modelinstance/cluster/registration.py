"""Writes the resources of workers that register, and removes those of the dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelinstance.cluster.client import CONFLICT, NOT_FOUND, ClusterClient, ClusterError
from modelinstance.cluster.translate import observe, registration_body
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.observed import Observed
from modelinstance.registry.registrations import MANAGER, Registration

TRIES = 4
"""How often fields may turn out to be somebody else's; each try leaves out more of them."""


class RegistrationWriter:
    """Each call raises `ClusterError`, and `UnreadableError` for an object not to be understood."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    async def store(self, registration: Registration) -> Observed:
        """Apply the resource of a registration; returns it as it is then.

        A field that somebody else has taken over, for example by ``kubectl edit``, is left alone.
        """
        body = registration_body(registration)
        for _ in range(TRIES):
            try:
                return observe(await self._client.apply(body, MANAGER))
            except ClusterError as error:
                if error.status != CONFLICT or not _leave_out(body, error.fields):
                    raise
        raise ClusterError(f"register {registration.key}", "it changes too often", CONFLICT)

    async def remove(self, key: InstanceKey, uid: str, version: int) -> bool:
        """Delete a resource; returns False if it is another by now, or has changed."""
        try:
            await self._client.delete(key, uid, version)
        except ClusterError as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False
            raise
        return True


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
