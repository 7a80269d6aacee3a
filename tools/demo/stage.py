"""What the demo plays on: a control plane, the operator, workers that beat, and a router."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from controlplane.binaries import Binaries
from controlplane.plane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
HOME = "modelinstance-system"
OPERATOR = f"system:serviceaccount:{HOME}:modelinstance-operator"
HEARTBEAT = "modelinstance.dev/heartbeat"


T = TypeVar("T")


class DemoError(Exception):
    """Something did not go as said."""


class Worker(threading.Thread):
    """A model server that says once a second that it is alive, until it is told to be silent."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        super().__init__(name=f"worker {name}", daemon=True)
        self._plane = plane
        self._instance = name
        self._ended = threading.Event()
        self._speaking = threading.Event()
        self._speaking.set()
        self.start()

    def run(self) -> None:
        """Beat until ended; a beat that does not get through is simply lost."""
        while not self._ended.wait(1.0):
            if self._speaking.is_set():
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                self._plane.kubectl(
                    "annotate", "--overwrite", "modelinstance", self._instance,
                    f"{HEARTBEAT}={now}", "--request-timeout=2s", check=False,
                )  # fmt: skip

    def fall_silent(self) -> None:
        """Stop beating."""
        self._speaking.clear()

    def speak(self) -> None:
        """Beat again."""
        self._speaking.set()

    def end(self) -> None:
        """Be gone."""
        self._ended.set()
        self.join()


class Stage:
    """Everything that runs during the demo; leaving it ends everything."""

    def __init__(self, binaries: Binaries, directory: Path) -> None:
        self.plane = ControlPlane(
            binaries, directory, token_users={OPERATOR: ("system:serviceaccounts",)}
        )
        self.directory = directory
        self.binaries = binaries
        self.workers: dict[str, Worker] = {}
        self.url = ""
        self.operator: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.end()
        self._stack.close()

    def start_cluster(self) -> None:
        """Start etcd and the API server, and install what ``kubectl apply -k deploy/`` would."""
        self._stack.enter_context(self.plane)
        self.plane.kubectl("apply", "-k", str(ROOT / "crds"))
        for name in ("namespace", "common/serviceaccount", "cluster-wide/rbac"):
            self.plane.kubectl("apply", "-f", str(ROOT / f"deploy/{name}.yaml"))
        self.plane.kubectl("wait", "--for=condition=Established", "crd", "--all")

    def start_operator(self) -> None:
        """Start ``modelinstance run`` with exactly the rights of its service account."""
        log = self.directory / "operator.log"
        with log.open("wb") as output:
            self.operator = subprocess.Popen(
                [
                    sys.executable, "-m", "modelinstance", "run",
                    "--port=0", f"--operator-namespace={HOME}",
                ],
                env={**os.environ, "KUBECONFIG": str(self.plane.token_kubeconfig(OPERATOR))},
                stdout=output, stderr=output,
            )  # fmt: skip
        self._stack.callback(self.stop_operator)

        def find_port() -> str | None:
            found = re.search(r"serving on \S+ port (\d+)", log.read_text(encoding="utf-8"))
            return found[1] if found else None

        self.url = f"http://127.0.0.1:{wait_for('the operator to serve', find_port)}"
        wait_for("the operator to be ready", lambda: self.ask("/readyz")[0] == 200)

    def stop_operator(self) -> int:
        """SIGTERM the operator and wait for its end; returns its exit status."""
        return 0 if self.operator is None else stop(self.operator)

    def start_agent(self, port: int) -> tuple[list[str], subprocess.Popen[bytes]]:
        """Start ``modelinstance agent`` beside an engine; returns its arguments as well.

        A second signal cuts its drain short.
        """
        arguments = [
            "agent", f"--registry={self.url}", "--host=127.0.0.1", f"--port={port}",
            "--period=1", "--completion-interval=1", "--drain-seconds=20",
        ]  # fmt: skip
        with (self.directory / "agent.log").open("wb") as output:
            agent = subprocess.Popen(
                [sys.executable, "-m", "modelinstance", *arguments], stdout=output, stderr=output
            )
        self._stack.callback(stop, agent)
        return arguments, agent

    def explain(self, instance: str) -> str:
        """What ``modelinstance why`` prints of an instance."""
        done = subprocess.run(
            [sys.executable, "-m", "modelinstance", "why", instance, f"--registry={self.url}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise DemoError(f"modelinstance why: {done.stderr}")
        return done.stdout

    def ask(self, path: str, **query: str) -> tuple[int, Any]:
        """What a router does: a GET on the endpoint; returns the status and the JSON."""
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self._request(urllib.request.Request(f"{self.url}{path}{text}"))  # noqa: S310

    def tell(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """What a worker does: a request with a JSON body; returns the status and the JSON."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._request(
            urllib.request.Request(f"{self.url}{path}", content, headers, method=method)  # noqa: S310
        )

    @staticmethod
    def _request(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (urllib.error.URLError, TimeoutError) as error:
            return 0, {"detail": str(error)}

    def phase(self, name: str) -> str:
        """The phase that kubectl shows, or ``""``."""
        done = self.plane.kubectl(
            "get", "modelinstance", name, "-o", "jsonpath={.status.phase}", check=False
        )
        return done.stdout

    def selected(self, model: str, times: int = 30) -> set[str]:
        """The names that so many selections give."""
        answers = [self.ask("/api/v1/select", model=model) for _ in range(times)]
        return {body["name"] for status, body in answers if status == 200}


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM a process and wait for its end; returns its exit status."""
    process.terminate()
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(what: str, condition: Callable[[], T], seconds: float = 60) -> T:
    """Wait until a condition holds and return what it gave; raises `DemoError` if it does not."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)
    return value
