"""The pod that the agent is in, as the downward API tells it by environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelinstance.client.workers import Pod

NAME = "MODELINSTANCE_POD_NAME"
UID = "MODELINSTANCE_POD_UID"
IP = "MODELINSTANCE_POD_IP"
NAMESPACE = "MODELINSTANCE_POD_NAMESPACE"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the pod; each is ``None`` outside of one."""

    ip: str | None = None
    namespace: str | None = None
    pod: Pod | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Surroundings:
        """What the environment says; a variable that is empty says nothing."""
        name, uid = environ.get(NAME), environ.get(UID)
        return cls(
            ip=environ.get(IP) or None,
            namespace=environ.get(NAMESPACE) or None,
            pod=Pod(name, uid) if name and uid else None,
        )

    def pod_in(self, namespace: str | None) -> Pod | None:
        """The pod, if a resource in that namespace may be owned by it."""
        return self.pod if namespace is not None and namespace == self.namespace else None
