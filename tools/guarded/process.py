"""A program that cannot outlive this process: see `watchdog` for how."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from guarded import watchdog
from guarded.errors import StartError

_TAIL_BYTES = 4096


class GuardedProcess:
    """A running program behind a watchdog of its own.

    `pid` is the program's own pid. Its output is appended to `log`. Signals go to the program,
    never to the watchdog. Not for use from several threads at once.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        with log.open("ab") as sink:
            self._log_start = os.fstat(sink.fileno()).st_size
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__, *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                bufsize=0,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        self._paused = False
        pid = self._next_report()
        if not pid:
            self._watchdog.wait()
            self._close_pipes()
            raise StartError(f"{argv[0]} could not be started", self.log_tail())
        self.pid = int(pid)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the program's end; its exit code (128 + n for signal n), None on time-out."""
        try:
            code = self._watchdog.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self._close_pipes()
        return code

    @property
    def running(self) -> bool:
        """Whether the program has not ended; a paused one is running."""
        return self.wait(0) is None

    def pause(self) -> None:
        """SIGSTOP; returns once the program has stopped or ended."""
        if not self._paused and self.running:
            self._send(signal.SIGSTOP)
            self._paused = self._await_report("stopped")

    def resume(self) -> None:
        """SIGCONT; returns once the program has gone on or ended."""
        if self._paused and self.running:
            self._send(signal.SIGCONT)
            self._await_report("continued")
        self._paused = False

    def kill(self) -> None:
        """SIGKILL; returns once the program has ended."""
        if self.running:
            self._send(signal.SIGKILL)
            self.wait()

    def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds; a paused program is killed at once."""
        if self.running and not self._paused:
            self._send(signal.SIGTERM)
            self.wait(grace)
        self.kill()

    def log_tail(self) -> str:
        """The end of what the program has written since its start."""
        with self._log.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()

    def _send(self, number: signal.Signals) -> None:
        assert self._watchdog.stdin is not None  # noqa: S101 - it was opened as a pipe
        with contextlib.suppress(BrokenPipeError):  # the program, and so its watchdog, has ended
            self._watchdog.stdin.write(bytes([number]))

    def _next_report(self) -> str:
        assert self._watchdog.stdout is not None  # noqa: S101 - it was opened as a pipe
        return self._watchdog.stdout.readline().decode().strip()

    def _await_report(self, wanted: str) -> bool:
        while report := self._next_report():
            if report == wanted:
                return True
        return False

    def _close_pipes(self) -> None:
        for pipe in (self._watchdog.stdin, self._watchdog.stdout):
            if pipe is not None:
                pipe.close()
