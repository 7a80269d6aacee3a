"""What the operator can be told, and from where.

A flag goes before its environment variable, that before the InstanceRegistry object, and that
before the default.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_HEARTBEAT_TIMEOUT_SECONDS = 120.0
DEFAULT_RESYNC_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of ``modelinstance run``; ``None`` leaves one to the InstanceRegistry object.

    ``namespaces`` are those whose instances are mirrored, none for all.
    """

    operator_namespace: str
    namespaces: tuple[str, ...] = ()
    kubeconfig: str | None = None
    heartbeat_timeout: float | None = None
    resync_interval: float | None = None

    def heartbeat_timeout_with(self, set_in_cluster: float | None) -> float:
        """The timeout in force, in seconds."""
        return self.heartbeat_timeout or set_in_cluster or DEFAULT_HEARTBEAT_TIMEOUT_SECONDS

    def resync_interval_with(self, set_in_cluster: float | None) -> float:
        """The resync interval in force, in seconds."""
        return self.resync_interval or set_in_cluster or DEFAULT_RESYNC_INTERVAL_SECONDS
