"""Writes the resources of workers that register, and removes those of the dead."""

from __future__ import annotations

from modelinstance.cluster.applying import apply_around
from modelinstance.cluster.client import ClusterClient
from modelinstance.cluster.translate import observe, registration_body
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.registrations import MANAGER, Registration


class RegistrationWriter:
    """Each call raises `ClusterError`, and `UnreadableError` for an object not to be understood."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    async def store(self, registration: Registration) -> Observed:
        """Apply the resource of a registration; returns it as it is then.

        A field that somebody else has taken over, for example by ``kubectl edit``, is left alone.
        """
        return observe(await apply_around(self._client, registration_body(registration), MANAGER))

    async def remove(self, key: InstanceKey, uid: str, version: int) -> bool:
        """Delete a resource; returns False if it is another by now, or has changed."""
        return await self._client.delete(key, uid, version)
