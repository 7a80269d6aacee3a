"""The real routers and the commands that keep them, as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane.ports import free_port
from support.waiting import eventually

ROUTERS = Path(__file__).parents[2] / ".venv-routers" / "bin"
EXAMPLE = Path(__file__).parents[2] / "examples" / "litellm.yaml"
MASTER_KEY = "sk-of-the-tests-0123456789abcdef0123456789"
"""LiteLLM's proxy does not start without one."""
TOKEN = "of-the-tests"
"""What sglang-router asks for; vllm-router asks for nothing."""
STOP_SECONDS = 5


class Process:
    """A program whose output is kept in a file; it is ended by its own id."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(command), env={**os.environ, **(env or {})}, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def says(self, pattern: str, times: int = 1) -> bool:
        """Whether it has said something as often as that; it has to be running."""
        assert self.process.poll() is None, self.log()
        return len(re.findall(pattern, self.log())) >= times

    def stop(self) -> int:
        """SIGTERM, and SIGKILL for what does not end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(5 * STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


class RouterProcess:
    """A router at a port that stays over its restarts."""

    kind = ""

    def __init__(self, folder: Path) -> None:
        if not ROUTERS.is_dir():
            raise RuntimeError(f"{ROUTERS} is missing: run 'make .venv-routers/.installed'")
        self.port = free_port()
        self._log = folder / f"{type(self).__name__}-{self.port}.log"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30)
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        """What starts it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, with no workers, and wait until it answers."""
        self._process = Process(self.command(), self._log)
        eventually(self.listens, within=10)

    def listens(self) -> bool:
        """Whether it answers."""
        assert self._process.process.poll() is None, self._process.log()
        try:
            self.workers()
        except httpx.TransportError:
            return False
        return True

    def kill(self) -> None:
        """End it at once: it keeps nothing."""
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.process.send_signal(number)

    def close(self) -> None:
        """End it for good."""
        self.http.close()
        self.kill()

    def workers(self) -> set[str]:
        """The URLs of its workers."""
        raise NotImplementedError

    def add(self, url: str) -> None:
        """Add a worker by hand."""
        raise NotImplementedError

    def remove(self, url: str) -> None:
        """Remove a worker by hand."""
        raise NotImplementedError

    def empty(self) -> None:
        """Remove all workers, and those that yet come."""

        def is_empty() -> bool:
            for url in self.workers():
                self.remove(url)
            return not self.workers()

        eventually(is_empty)

    def ask(self, model: str = "m", **body: Any) -> httpx.Response:
        """One completion."""
        chat = {"model": model, "messages": [{"role": "user", "content": "Hello."}], **body}
        return self.http.post("/v1/chat/completions", json=chat)


class SGLang(RouterProcess):
    """``sglang-router``."""

    kind = "sglang"

    def command(self) -> list[str | Path]:
        return [
            ROUTERS / "sglang-router", "launch", "--host=127.0.0.1", f"--port={self.port}",
            "--policy=round_robin", f"--prometheus-port={free_port()}", f"--api-key={TOKEN}",
        ]  # fmt: skip

    def workers(self) -> set[str]:
        return {worker["url"] for worker in self._listed()}

    def models(self) -> dict[str, str]:
        """What it takes each of its workers for, by URL."""
        return {worker["url"]: worker["model_id"] for worker in self._listed()}

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.http.get("/workers").json()["workers"]
        return listed

    def add(self, url: str) -> None:
        assert self.http.post("/workers", json={"url": url}).status_code == 202

    def remove(self, url: str) -> None:
        found = [worker for worker in self._listed() if worker["url"] == url]
        assert len(found) == 1, f"{url} is gone already"
        assert self.http.delete(f"/workers/{found[0]['id']}").status_code == 202


class VLLM(RouterProcess):
    """``vllm-router``."""

    kind = "vllm"

    def command(self) -> list[str | Path]:
        return [
            ROUTERS / "vllm-router", "--host=127.0.0.1", f"--port={self.port}",
            "--policy=round_robin", f"--prometheus-port={free_port()}",
        ]  # fmt: skip

    def workers(self) -> set[str]:
        return set(self.http.get("/list_workers").json()["urls"])

    def add(self, url: str) -> None:
        assert self.http.post("/add_worker", params={"url": url}).status_code == 200

    def remove(self, url: str) -> None:
        assert self.http.post("/remove_worker", params={"url": url}).status_code == 200


class LiteLLM(RouterProcess):
    """LiteLLM's proxy with the settings of examples/litellm.yaml, on a file of its models.

    It does not retry: that would hide what fails.
    """

    def __init__(self, folder: Path, models: Path) -> None:
        self._models = models
        self._config = folder / "config.yaml"
        for name, text in settings_of_the_example().items():
            strict = text.replace("num_retries: 2", "num_retries: 0")
            (folder / name).write_text(strict, encoding="utf-8")
        settings = yaml.safe_load(self._config.read_text(encoding="utf-8"))
        assert settings["router_settings"]["num_retries"] == 0
        super().__init__(folder)
        self.http.headers["Authorization"] = f"Bearer {MASTER_KEY}"

    def command(self) -> list[str | Path]:
        return [
            ROUTERS / "litellm", "--config", self._config, "--host=127.0.0.1",
            f"--port={self.port}", "--telemetry=False",
        ]  # fmt: skip

    def start(self) -> None:
        """Start it and wait: it takes 15 s where it has run before."""
        env = {
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "MODELS_FILE": str(self._models),
        }
        self._process = Process(self.command(), self._log, env)
        eventually(self.listens, within=30)

    def listens(self) -> bool:
        """Whether it is ready."""
        assert self._process.process.poll() is None, self._process.log()
        try:
            return self.http.get("/health/readiness").status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> set[str]:
        listed = self.http.get("/model/info").raise_for_status().json()["data"]
        return {model["litellm_params"]["api_base"].removesuffix("/v1") for model in listed}

    def says(self, text: str) -> bool:
        """Whether it has said something."""
        return text in self._process.log()


def settings_of_the_example() -> dict[str, str]:
    """The files by which LiteLLM is set up in the example: its settings and the follower."""
    manifests = yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))
    (found,) = (each for each in manifests if each["kind"] == "ConfigMap")
    data: dict[str, str] = found["data"]
    return data


def modelinstance(log: Path, *arguments: str | Path) -> Process:
    """The command ``modelinstance`` with arguments."""
    return Process([sys.executable, "-m", "modelinstance", *arguments], log)
