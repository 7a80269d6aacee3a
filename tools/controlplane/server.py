"""One server program that keeps its port over restarts, and the faults that can befall it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controlplane.ports import free_port
from guarded.errors import StartError
from guarded.process import GuardedProcess

_POLL = 0.05
_PORT_TRIES = 5


class Server:
    """`command(port)` is what to run, `ready(port)` asks the running server whether it serves."""

    def __init__(
        self,
        name: str,
        log: Path,
        command: Callable[[int], Sequence[str]],
        ready: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._ready = ready
        self._port: int | None = None
        self._process: GuardedProcess | None = None

    @property
    def port(self) -> int:
        """The port of every start since the first; a `StartError` before that."""
        if self._port is None:
            raise StartError(f"{self.name} has not been started yet")
        return self._port

    @property
    def pid(self) -> int:
        """The server's own pid; a `StartError` while it does not run."""
        if self._process is None or not self._process.running:
            raise StartError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; true for a paused one."""
        return self._process is not None and self._process.running

    def start(self, timeout: float) -> None:
        """Start and wait until ready; does nothing when it runs already."""
        if self.running:
            return
        if self._port is not None:
            self._start_on(self._port, timeout)
            return
        for _ in range(_PORT_TRIES):
            port = free_port()
            try:
                self._start_on(port, timeout)
            except StartError as error:
                failure = error
                if "address already in use" not in error.tail:
                    raise
            else:
                self._port = port
                return
        raise failure

    def pause(self) -> None:
        """SIGSTOP; connections stay open and nothing is answered."""
        if self._process is not None:
            self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.resume()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()

    def stop(self, grace: float) -> None:
        """SIGTERM, SIGKILL after `grace` seconds, and wait for the end."""
        if self._process is not None:
            self._process.stop(grace)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the server's end; its exit code, or None on time-out."""
        return self._process.wait(timeout) if self._process is not None else None

    def _start_on(self, port: int, timeout: float) -> None:
        self._process = process = GuardedProcess(self._command(port), log=self.log)
        deadline = time.monotonic() + timeout
        while not self._ready(port):
            if (code := process.wait(_POLL)) is not None:
                raise StartError(f"{self.name} ended with {code}", process.log_tail())
            if time.monotonic() > deadline:
                process.kill()
                raise StartError(
                    f"{self.name} was not ready within {timeout:.0f} s", process.log_tail()
                )
        if not process.running:  # someone else answered on the port
            raise StartError(f"{self.name} ended with {process.wait()}", process.log_tail())
