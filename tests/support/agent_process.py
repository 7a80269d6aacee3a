"""The agent as its users run it: a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.background import BackgroundLoop
from support.engine import FakeEngine
from support.operator_process import OperatorProcess

PERIOD, TIMEOUT, THRESHOLD = 0.3, 1.0, 3
SURE = THRESHOLD * (PERIOD + TIMEOUT)
"""After how many seconds a failure is told for certain."""


def sure_of(trouble: str) -> set[str]:
    """What may be told of a failure: another may come right before it, as of a slow machine."""
    ways = (f"{THRESHOLD} times in a row", f"the last of {THRESHOLD} failures in a row")
    return {f"The worker says: {trouble}, {way}" for way in ways}


class AgentProcess:
    """``modelinstance agent`` beside an engine, with short times unless the flags say otherwise."""

    def __init__(
        self, engine: FakeEngine, log: Path, *flags: str, env: dict[str, str] | None = None
    ) -> None:
        self._log = log
        command = [sys.executable, "-m", "modelinstance", "agent"]
        command += [f"--host={engine.host}", f"--port={engine.port}"]
        command += [f"--period={PERIOD}", f"--timeout={TIMEOUT}", f"--completion-timeout={TIMEOUT}"]
        command += [f"--failure-threshold={THRESHOLD}", "--drain-seconds=0.5", *flags]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **(env or {})}, stdout=output, stderr=output
            )

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def signal(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self, within: float = 3) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.signal()
        return self.process.wait(within * 5)


class Scene:
    """Engines, registries and agents for one test; a context manager that ends them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._agents: list[AgentProcess] = []
        self._servers: list[OperatorProcess] = []

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.loop = self._stack.enter_context(BackgroundLoop())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        statuses = [(agent.stop(), agent.log()) for agent in self._agents]
        for server in self._servers:
            server.stop()
        self._stack.close()
        for status, log in statuses:
            assert status in {0, -signal.SIGKILL}, log
            assert "Traceback" not in log, log

    def engine(self, *models: str | Mapping[str, Any], **settings: Any) -> FakeEngine:
        """An engine that runs; `stop` ends it."""
        engine = FakeEngine("engine", models or ("m",), **settings)
        self.loop.enter(engine)
        return engine

    def stop(self, engine: FakeEngine) -> None:
        """The engine's process is gone."""
        self.loop.run(engine.stop())

    def restart(self, engine: FakeEngine) -> None:
        """It is there again, at the port that it had."""
        self.loop.run(engine.start())

    def registry(self, *flags: str) -> OperatorProcess:
        """``modelinstance serve``, ready."""
        log = self._directory / f"registry-{len(self._servers)}.log"
        server = OperatorProcess(None, log, *flags)
        self._servers.append(server)
        server.wait_ready()
        return server

    def agent(
        self,
        engine: FakeEngine,
        *servers: OperatorProcess | str,
        flags: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> AgentProcess:
        """An agent that tells these registries, or URLs."""
        registries = [f"--registry={where(server)}" for server in servers]
        log = self._directory / f"agent-{len(self._agents)}.log"
        agent = AgentProcess(engine, log, *registries, *flags, env=env)
        self._agents.append(agent)
        return agent


def where(server: OperatorProcess | str) -> str:
    """The URL of a registry."""
    if isinstance(server, str):
        return server
    return f"http://127.0.0.1:{server.http.base_url.port}"
