"""Run one program and end it when whoever started the watchdog is gone, however it went.

    python watchdog.py PROGRAM [ARGUMENT...]

A kill that cannot be caught still closes the dying process's pipes, so the pipe on standard
input is the lifeline: at its end the program's process group is killed. Each byte that arrives
on it before is a signal number for the program. Standard output reports the program's pid, then
`stopped` and `continued` as they happen. The program writes to the watchdog's standard error.

One thread both signals and reaps the program, so a signal can never reach a reused pid. Only the
standard library is used: the file is run by path, in isolated mode.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Run the program until it ends; its exit code, or 128 + n for one that signal n ended."""
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGCHLD, *_FORWARDED):
        signal.signal(number, lambda _number, _frame: None)
    program = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=2, stderr=2, start_new_session=True
    )
    _report(str(program.pid))
    code = _watch(program.pid, wake_read)
    program.returncode = code
    return code if code >= 0 else 128 - code


def _watch(pid: int, wakeups: int) -> int:
    """Pass signals on and reap the program; its exit code, negative for a signal."""
    lifeline = sys.stdin.fileno()
    with selectors.DefaultSelector() as ready:
        ready.register(lifeline, selectors.EVENT_READ)
        ready.register(wakeups, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                numbers = os.read(key.fd, 4096)
                if key.fd == lifeline and not numbers:
                    ready.unregister(lifeline)
                    _kill_group(pid)
                for number in numbers:
                    if number != signal.SIGCHLD:
                        os.kill(pid, number)
                    elif (code := _reap(pid)) is not None:
                        return code


def _reap(pid: int) -> int | None:
    """Report every change of the program's state; its exit code once it has ended."""
    while True:
        changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if changed == 0:
            return None
        if os.WIFSTOPPED(status):
            _report("stopped")
        elif os.WIFCONTINUED(status):
            _report("continued")
        else:
            return os.waitstatus_to_exitcode(status)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _report(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
