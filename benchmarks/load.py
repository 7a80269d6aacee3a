"""Servers on one core, wrk on another, by turns, and a table of the ratios.

All servers of a benchmark are up at once and idle but for the one that is under load. Each round
loads each of them once; a ratio is the median over the rounds of the ratios within a round.

Beside the ratio of the rates stands that of the CPU times a request: on a shared machine other
programs take part of the core, and the second ratio does not see them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import wrk
from cpu import TICK_SECONDS, cpu_seconds
from peers.fleet import Fleet

BENCHMARKS = Path(__file__).parent
PEERS_PYTHON = BENCHMARKS.parent / ".venv-bench" / "bin" / "python"
START_SECONDS = 180.0
"""How long a server may take to fill its registry."""
SETTLE_SECONDS = 30.0
BUSY = 0.9
"""The share of its core that a server under load should get."""
HINT = """
us: CPU time of our server for each. ratio: of the rates, the median over the rounds. by CPU: of the
CPU times, baseline/ours. ~: a server got less than 90% of its core, so other programs took part of
it; believe the ratio by CPU."""


@dataclass(frozen=True)
class Call:
    """A request."""

    path: str
    body: str | None = None

    @property
    def method(self) -> str:
        """GET, or POST when there is a body."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True)
class Answer:
    """An answer."""

    headers: list[tuple[str, str]]
    body: str


@dataclass(frozen=True)
class Server:
    """A server that is up."""

    port: int
    pid: int

    def ask(self, call: Call, *statuses: int) -> Answer:
        """One request. Its answer has to have one of the statuses, by default 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {} if call.body is None else {"Content-Type": "application/json"}
            connection.request(call.method, call.path, call.body, headers)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status not in (statuses or (200,)):  # how fast it fails is of no interest
            raise SystemExit(f"{call.method} {call.path} answered {response.status}: {body}")
        return Answer(response.getheaders(), body)

    def settle(self) -> None:
        """Wait until it has done what it was asked: a slow one would take the next one's time."""
        until, used = time.monotonic() + SETTLE_SECONDS, -1.0
        while time.monotonic() < until and self.cpu_seconds() - used > 1.5 * TICK_SECONDS:
            used = self.cpu_seconds()
            time.sleep(0.2)

    def cpu_seconds(self) -> float:
        """The CPU time that its process has used."""
        return cpu_seconds(self.pid)


@dataclass(frozen=True)
class Rate:
    """What a run showed."""

    per_second: float
    cpu_us: float
    """CPU time of the server for each."""

    @property
    def busy(self) -> float:
        """The share of its core that the server got."""
        return self.per_second * self.cpu_us / 1e6


def cores() -> tuple[int, int]:
    """The core of the servers, and that of wrk."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise SystemExit("two cores are needed, one for the server and one for wrk")
    return available[0], available[-1]


def of_ours(module: str, fleet: Fleet) -> list[str]:
    """The command of a launcher in our environment."""
    return [sys.executable, "-m", f"peers.{module}", *fleet.options]


def of_peer(module: str, fleet: Fleet) -> list[str]:
    """The command of a launcher in the environment of the real packages."""
    if not PEERS_PYTHON.exists():
        raise SystemExit("the peers are not installed: run this by `make bench NAME=...`")
    return [str(PEERS_PYTHON), "-m", f"peers.{module}", *fleet.options]


@contextmanager
def serving(
    command: Sequence[str], *, answer: Answer | None = None, environment: Mapping[str, str] = {}
) -> Iterator[Server]:
    """A server, pinned to its core; the command gets ``--port`` and, if any, an answer to give."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=directory, text=True,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": _python_path(), "LOGDIR": "", **environment},
        )  # fmt: skip
        try:
            os.sched_setaffinity(process.pid, {cores()[0]})
            assert process.stdin is not None
            if answer is not None:
                json.dump({"headers": _own(answer.headers), "body": answer.body}, process.stdin)
            process.stdin.close()
            _wait(process, port, log.fileno())
            yield Server(port, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # FastChat's controller does not stop its thread
                process.kill()
                process.wait()


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH"))))


def _own(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that are not uvicorn's."""
    return [(name, value) for name, value in headers if name.lower() not in ("date", "server")]


def _wait(process: subprocess.Popen[str], port: int, log: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    os.lseek(log, 0, os.SEEK_SET)
    said = os.read(log, 1 << 20).decode(errors="replace")[-4000:]
    raise SystemExit(f"{' '.join(map(str, process.args))} did not start:\n{said}")  # type: ignore[arg-type]


@contextmanager
def script(calls: Sequence[Call]) -> Iterator[Path]:
    """A script with which wrk sends these requests by turns."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "load.lua")
        path.write_text(wrk.script((call.method, call.path, call.body) for call in calls))
        yield path


@dataclass(frozen=True)
class Contender:
    """A server under some requests. ``each``: how many things one request does."""

    server: Server
    calls: Sequence[Call]
    each: int = 1

    def run(self, seconds: float) -> Rate:
        """One run."""
        with script(self.calls) as path:
            before = self.server.cpu_seconds()
            seen = wrk.run(f"http://127.0.0.1:{self.server.port}", path, seconds, core=cores()[1])
            used = self.server.cpu_seconds() - before
        self.server.settle()
        if not seen.requests:
            raise SystemExit(f"no answer to {self.calls[0].path} within {seconds:g} s")
        done = seen.requests * self.each
        return Rate(done / seen.seconds, used / done * 1e6)


Rates = dict[str, list[Rate]]


def measure(contenders: Mapping[str, Contender], arguments: argparse.Namespace) -> Rates:
    """Load each of them once a round, after one short run each that is not counted."""
    for contender in contenders.values():
        contender.server.ask(contender.calls[0])
        contender.run(min(1.0, arguments.seconds))
    rates: Rates = {name: [] for name in contenders}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        names = list(contenders)
        for name in names if number % 2 == 0 else reversed(names):
            rates[name].append(contenders[name].run(arguments.seconds))
    return rates


def ratio(ours: Sequence[Rate], other: Sequence[Rate], figure: Callable[[Rate], float]) -> float:
    """The median of the ratios within the rounds."""
    return median(figure(one) / figure(two) for one, two in zip(ours, other, strict=True))


@dataclass(frozen=True)
class Row:
    """A line of the table: the name, and the contenders. ``least`` is the least ratio wanted."""

    name: str
    ours: str
    other: str
    least: float | None = None
    least_rate: float | None = None


def show(title: str, rows: Sequence[Row], rates: Rates) -> None:
    """Print the table."""
    print(f"\n{title}")
    heads = ("ours /s", "baseline /s", "us", "ratio ", "by CPU")
    print(f"{'':46}" + "".join(f"{head:>12}" for head in heads) + f"{'target':>13}")
    for row in rows:
        ours, other = rates[row.ours], rates[row.other]
        rate = median(one.per_second for one in ours)
        by_rate = ratio(ours, other, lambda one: one.per_second)
        by_cpu = ratio(other, ours, lambda one: one.cpu_us)
        disturbed = min(median(one.busy for one in runs) for runs in (ours, other)) < BUSY
        mark, target, verdict = "~" if disturbed else " ", "", ""
        if row.least is not None:
            target = f">= {row.least:g}"
            verdict = "ok" if by_rate >= row.least else "MISSED"
        elif row.least_rate is not None:
            target = f">= {row.least_rate:,.0f}/s"
            verdict = "ok" if rate >= row.least_rate else "MISSED"
        print(
            f"{row.name:46}{rate:12,.0f}{median(one.per_second for one in other):12,.0f}"
            f"{median(one.cpu_us for one in ours):12.1f}{by_rate:11.2f}{mark}{by_cpu:12.2f}"
            f"{target:>13}  {verdict}"
        )
    print(HINT)


def options(description: str | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--quick", action="store_true", help="three rounds of one second")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 3, 1.0
    return arguments
