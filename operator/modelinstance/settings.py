"""What the operator can be told, and from where.

A flag goes before its environment variable, that before the InstanceRegistry object, and that
before the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

DEFAULT_HEARTBEAT_TIMEOUT_SECONDS = 120.0
DEFAULT_RESYNC_INTERVAL_SECONDS = 60.0
DEFAULT_REMOVE_AFTER_SECONDS = 3600.0
DEFAULT_WRITES_PER_SECOND = 500.0
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of ``modelinstance run``; ``None`` leaves one to the InstanceRegistry object.

    ``namespaces`` are those whose instances are mirrored, none for all. ``default_namespace`` is
    where workers are enrolled that name none. ``allowed_networks`` are those to which the operator
    connects where a user names an address, none for all but what is closed by default. ``pods`` is
    whether labelled pods are followed.
    """

    operator_namespace: str
    namespaces: tuple[str, ...] = ()
    default_namespace: str = DEFAULT_NAMESPACE
    kubeconfig: str | None = None
    heartbeat_timeout: float | None = None
    resync_interval: float | None = None
    remove_after: float | None = None
    status_writes: float | None = None
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    pods: bool = True

    def heartbeat_timeout_with(self, set_in_cluster: float | None) -> float:
        """The timeout in force, in seconds."""
        return self.heartbeat_timeout or set_in_cluster or DEFAULT_HEARTBEAT_TIMEOUT_SECONDS

    def resync_interval_with(self, set_in_cluster: float | None) -> float:
        """The resync interval in force, in seconds."""
        return self.resync_interval or set_in_cluster or DEFAULT_RESYNC_INTERVAL_SECONDS

    def remove_after_with(self, set_in_cluster: float | None) -> float:
        """For how many seconds a worker that registered may be dead before it is removed."""
        return self.remove_after or set_in_cluster or DEFAULT_REMOVE_AFTER_SECONDS

    def status_writes_with(self, set_in_cluster: float | None) -> float:
        """How many statuses are written in a second at the most."""
        return self.status_writes or set_in_cluster or DEFAULT_WRITES_PER_SECOND
