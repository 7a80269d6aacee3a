"""What routers and workers import to speak to a registry. It knows nothing of the operator."""

from modelinstance.client.connection import Answer, Connection
from modelinstance.client.errors import RegistryUnavailableError
from modelinstance.client.reports import RouterReports
from modelinstance.client.workers import (
    Heard,
    Load,
    Pod,
    Registered,
    Registration,
    WorkerClient,
)

__all__ = [
    "Answer",
    "Connection",
    "Heard",
    "Load",
    "Pod",
    "Registered",
    "Registration",
    "RegistryUnavailableError",
    "RouterReports",
    "WorkerClient",
]
