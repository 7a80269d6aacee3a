"""wrk, the load generator: where it comes from, and what it saw."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import debian

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
    tool = _find()
    length = f"{math.ceil(seconds)}s"
    done = subprocess.run(
        [
            str(tool.path), "-t1", "--timeout=60s",
            f"-c{CONNECTIONS}", f"-d{length}", f"-s{path}", url,
        ],
        env={**os.environ, **tool.environ}, capture_output=True, text=True, check=True,
        timeout=10 * seconds + 60, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("seen "))
    requests, duration, *errors = map(int, line.split()[1:])
    failed = {kind: count for kind, count in zip(ERRORS, errors, strict=True) if count}
    if failed:
        raise SystemExit(f"requests to {url} failed: {failed}")
    return Seen(requests, duration / 1e6)


@cache
def _find() -> debian.Program:
    try:
        return debian.find("wrk", *PACKAGES)
    except debian.DebianError as error:
        raise SystemExit(str(error)) from error
