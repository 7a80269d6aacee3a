"""wrk, the load generator: where it comes from, and what it saw."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common", "libssl3")
"""The package of Debian 12, and what it needs beyond the C library."""
CONNECTIONS = 32
ERRORS = ("connect", "read", "write", "status", "timeout")

SCRIPT = """
local calls = {{
{calls}
}}
local ready, turn = {{}}, 0
function init()
  for number, call in ipairs(calls) do
    local headers = call[3] and {{["Content-Type"] = "application/json"}} or nil
    ready[number] = wrk.format(call[1], call[2], headers, call[3])
  end
end
function request()
  turn = turn % #ready + 1
  return ready[turn]
end
function done(summary)
  local e = summary.errors
  print(string.format("seen %d %d %d %d %d %d %d", summary.requests, summary.duration,
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


@dataclass(frozen=True)
class Seen:
    """What a run showed."""

    requests: int
    seconds: float


def script(calls: Iterable[tuple[str, str, str | None]]) -> str:
    """A script of wrk that sends these by turns: method, path and body, in ASCII."""
    lines = (
        f"  {{{json.dumps(method)}, {json.dumps(path)}, "
        f"{'nil' if body is None else json.dumps(body)}}},"
        for method, path, body in calls
    )
    return SCRIPT.format(calls="\n".join(lines))


def run(url: str, path: Path, seconds: float, *, core: int) -> Seen:
    """Load a server for some time. Every answer has to be 2xx or 3xx."""
    program, libraries = _find()
    length = f"{math.ceil(seconds)}s"
    done = subprocess.run(
        [str(program), "-t1", "--timeout=60s", f"-c{CONNECTIONS}", f"-d{length}", f"-s{path}", url],
        env={**os.environ, **libraries}, capture_output=True, text=True, check=True,
        timeout=10 * seconds + 60, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("seen "))
    requests, duration, *errors = map(int, line.split()[1:])
    failed = {kind: count for kind, count in zip(ERRORS, errors, strict=True) if count}
    if failed:
        raise SystemExit(f"requests to {url} failed: {failed}")
    return Seen(requests, duration / 1e6)


@cache
def _find() -> tuple[Path, dict[str, str]]:
    """The program, and what its environment has to hold."""
    if found := shutil.which("wrk"):
        return Path(found), {}
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cached / "modelinstance-operator" / "wrk"
    program = directory / "usr" / "bin" / "wrk"
    if not program.exists():
        _download(directory)
    libraries = ":".join(map(str, sorted((directory / "usr" / "lib").glob("*-linux-gnu*"))))
    return program, {"LD_LIBRARY_PATH": libraries}


def _download(directory: Path) -> None:
    """Unpack wrk from Debian's archive into the cache, for which nobody has to be root."""
    print("==> Getting wrk from Debian's archive", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    scratch = directory.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        subprocess.run(
            ["apt-get", "download", "-qq", *PACKAGES],
            cwd=scratch, check=True, capture_output=True, text=True,
        )  # fmt: skip
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package.name, "."], cwd=scratch, check=True)
            package.unlink()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise SystemExit(
            f"wrk is needed and could not be had: {said}\nInstall it (apt-get install wrk, or "
            f"another system's package), or run `apt-get update` and try again."
        ) from error
    scratch.rename(directory)
