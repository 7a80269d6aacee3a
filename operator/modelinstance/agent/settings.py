"""What an agent is told by its flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelinstance.client.workers import Pod

VERSION_PREFIX = "/v1"
JITTER = 0.2
"""By which share what is done again and again is earlier or later at random."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the engine is, for routers and for the agent alike.

    ``host`` is an IP address (IPv6 without brackets) or a DNS name; ``base_path`` is what routers
    put before the path of a call, and may end with ``/v1`` or leave that to them.
    """

    host: str
    port: int
    scheme: str = "http"
    base_path: str = ""

    @property
    def root(self) -> str:
        """The URL under which the engine's own routes are, as ``/health`` and ``/metrics``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path.removesuffix(VERSION_PREFIX)}"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """All of it. Times are in seconds; a ``completion_interval`` of 0 asks for no completions."""

    registries: tuple[str, ...]
    target: Target
    engine: str = "auto"
    model: str | None = None
    aliases: tuple[str, ...] = ()
    weight: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None
    pod: Pod | None = None
    heartbeat_timeout: int | None = None
    health_path: str = "/health"
    period: float = 5.0
    timeout: float = 5.0
    failure_threshold: int = 3
    success_threshold: int = 1
    completion_interval: float = 60.0
    completion_timeout: float = 10.0
    drain_seconds: float = 5.0
    token_file: Path | None = None
    engine_token_file: Path | None = None

    @property
    def silence(self) -> float:
        """How long nothing may be said of an engine that fails, until that is sure."""
        slowest = self.completion_timeout if self.completion_interval else 0.0
        period = self.period * (1 + JITTER)
        return period + self.failure_threshold * (max(slowest, self.timeout) + period)
