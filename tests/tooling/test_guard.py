"""A guarded program obeys its owner and does not outlive it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from guarded.errors import StartError
from guarded.process import GuardedProcess
from tooling.processes import Exit

STUBBORN = "trap '' TERM; echo up > fifo; read -r _ < fifo"
OWNER = """
import sys
from pathlib import Path
from guarded.process import GuardedProcess
guarded = GuardedProcess(["cat", sys.argv[1]], log=Path(sys.argv[2]))
print(guarded.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Something that a program can wait for without end."""
    subprocess.run(["mkfifo", tmp_path / "fifo"], check=True)
    return tmp_path / "fifo"


def test_tells_the_exit_code_and_keeps_the_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from an earlier start\n", encoding="utf-8")
    process = GuardedProcess(["sh", "-c", "echo hello; echo trouble >&2; exit 3"], log=log)
    assert process.wait(30) == 3
    assert process.log_tail() == "hello\ntrouble"
    assert log.read_text(encoding="utf-8").startswith("from an earlier start\n")


def test_a_program_that_does_not_exist_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="could not be started"):
        GuardedProcess([str(tmp_path / "nothing")], log=tmp_path / "log")


def test_kill_pause_and_resume_reach_the_program(
    fifo: Path, exit_of: Callable[[int], Exit]
) -> None:
    process = GuardedProcess(["cat", str(fifo)], log=fifo.parent / "log")
    ended = exit_of(process.pid)
    state = Path(f"/proc/{process.pid}/stat")
    for _ in range(2):
        process.pause()
        process.pause()
        assert state.read_text(encoding="ascii").split()[2] == "T"
        process.resume()
        process.resume()
        assert state.read_text(encoding="ascii").split()[2] != "T"
    assert process.running
    process.kill()
    process.kill()
    assert ended.wait(0)
    assert process.wait() == 128 + signal.SIGKILL
    assert not process.running


def test_stop_is_gentle_first(fifo: Path) -> None:
    process = GuardedProcess(["cat", str(fifo)], log=fifo.parent / "log")
    process.stop(grace=30)
    assert process.wait(0) == 128 + signal.SIGTERM


@pytest.mark.parametrize("paused", [False, True])
def test_stop_ends_what_ignores_it(fifo: Path, paused: bool) -> None:
    process = GuardedProcess(["sh", "-c", STUBBORN], log=fifo.parent / "log", cwd=fifo.parent)
    assert fifo.read_text(encoding="ascii") == "up\n"
    if paused:
        process.pause()
    process.stop(grace=0.05)
    assert process.wait(0) == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_the_program_ends_with_its_owner(
    how: signal.Signals | None,
    fifo: Path,
    tool_environ: Mapping[str, str],
    exit_of: Callable[[int], Exit],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, fifo, fifo.parent / "log"],
        env=tool_environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        ended = exit_of(int(owner.stdout.readline()))
        if how is not None:
            owner.send_signal(how)
    assert ended.wait()
