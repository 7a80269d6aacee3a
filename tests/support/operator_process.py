"""The operator as its users run it: a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from support.waiting import eventually


class OperatorProcess:
    """``modelinstance run`` on a free port; without a kubeconfig it is ``modelinstance serve``.

    ``module`` may be another one with the same command.
    """

    def __init__(
        self,
        kubeconfig: Path | None,
        log: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        module: str = "modelinstance",
    ) -> None:
        self._log = log
        self._watches = kubeconfig is not None
        command = ["serve"]
        if self._watches:
            command = ["run", "--operator-namespace=modelinstance-system"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *command, "--port=0", *flags],
                env={**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull), **(env or {})},
                stdout=output,
                stderr=output,
            )
        self._http: httpx.Client | None = None
        self.ended_by_test = False

    @property
    def http(self) -> httpx.Client:
        """A client of its endpoint."""
        if self._http is None:
            port = eventually(self._port, within=5)
            self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        return self._http

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.log()
        found = re.search(r"serving on \S+ port (\d+)", self.log())
        return int(found[1]) if found else None

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8")

    def get(self, path: str, **query: Any) -> httpx.Response:
        """A GET on its endpoint."""
        return self.http.get(path, params=query)

    def wait_ready(self, within: float = 5) -> None:
        """Wait until it is ready, and watches if there is a cluster."""
        eventually(lambda: self._ready() and self.readyz()["watching"] is self._watches, within)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.get("/readyz").status_code == 200

    def readyz(self) -> dict[str, Any]:
        """The body of /readyz, whatever its status."""
        body: dict[str, Any] = self.get("/readyz").json()
        return body

    def instances(self, **query: Any) -> dict[str, dict[str, Any]]:
        """The instances by ``namespace/name``."""
        items = self.get("/api/v1/instances", **query).json()["items"]
        return {f"{item['namespace']}/{item['name']}": item for item in items}

    def phase(self, name: str = "a", namespace: str = "default") -> str:
        """The phase of an instance; raises LookupError for an unknown one."""
        phase: str = self.instances()[f"{namespace}/{name}"]["phase"]
        return phase

    def selects(self, model: str = "m") -> str | None:
        """The name of the instance that select gives, or None."""
        response = self.get("/api/v1/select", model=model)
        return response.json()["name"] if response.status_code == 200 else None

    # -- what workers say; each with the status that is to be answered ---------------------------

    def register(self, status: int = 201, **body: Any) -> dict[str, Any]:
        """Register a worker of model m at w.example, unless the body says otherwise."""
        body = {"model": "m", "host": "w.example", "port": 8000, **body}
        return self._send(status, "POST", "/api/v1/instances", json=body)

    def beat(self, incarnation: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """A heartbeat over HTTP."""
        body = {"incarnation": incarnation, **body}
        return self._send(status, "POST", "/api/v1/heartbeats", json=body)

    def report(
        self, incarnation: str, outcome: str = "failure", status: int = 200, **body: Any
    ) -> dict[str, Any]:
        """A router tells how three calls in a row ended."""
        body = {"reporter": "router-0", "count": 3, **body}
        body |= {"incarnation": incarnation, "outcome": outcome}
        return self._send(status, "POST", "/api/v1/reports", json=body)

    def deregister(
        self, name: str, namespace: str = "default", *, status: int = 200, **query: str
    ) -> dict[str, Any]:
        """A worker says goodbye."""
        return self._send(status, "DELETE", f"/api/v1/instances/{namespace}/{name}", params=query)

    def drain(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """Ask for no new requests."""
        return self._send(200, "POST", f"/api/v1/instances/{namespace}/{name}/drain")

    def undrain(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """Take a drain back."""
        return self._send(200, "DELETE", f"/api/v1/instances/{namespace}/{name}/drain")

    def _send(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self.http.request(method, path, **options)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        return answer

    # -- how it fares ----------------------------------------------------------------------------

    def metric(self, name: str, **labels: str) -> float:
        """The value of one metric; raises LookupError for an unknown one."""
        label = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"modelinstance_{name}" + (f"{{{label}}}" if label else "")
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"{wanted} "):
                return float(line.rsplit(" ", 1)[1])
        raise LookupError(wanted)

    def kill(self) -> None:
        """SIGKILL."""
        self.ended_by_test = True
        self.process.kill()
        self.process.wait()
        self._hang_up()

    def stop(self, within: float = 5) -> int:
        """SIGTERM; returns the exit status."""
        self.ended_by_test = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within * 5)
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None


Start = Callable[..., OperatorProcess]
"""The fixture that starts an operator on a cluster, with flags."""
