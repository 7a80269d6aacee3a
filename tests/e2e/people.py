"""Who uses the registry from pods of their own: model servers and a router."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import POD_START_SECONDS, RealCluster, Release, is_ready
from support.waiting import eventually

SCRIPTS = Path(__file__).parent / "pods"
ENGINE = Path(__file__).parents[1] / "support/engine.py"
STRICT = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass
class Town:
    """A namespace of users, with the image of the operator as their Python."""

    cluster: RealCluster
    release: Release
    namespace: str
    image: str
    token: str = ""

    def __post_init__(self) -> None:
        paths = [*SCRIPTS.glob("*.py"), ENGINE]
        scripts = {path.name: path.read_text(encoding="utf-8") for path in paths}
        self.cluster.apply(
            {
                "apiVersion": "v1", "kind": "ConfigMap", "data": scripts,
                "metadata": {"name": "scripts", "namespace": self.namespace},
            }
        )  # fmt: skip

    def pod_spec(self, *command: str, **environ: str) -> dict[str, Any]:
        """The spec of a pod that runs Python."""
        fields = {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name",
                  "POD_IP": "status.podIP"}  # fmt: skip
        given = {"REGISTRY": self.release.url, "TOKEN": self.token, **environ}
        container = {
            "name": "python",
            "image": self.image,
            "command": ["python", *command],
            "env": [
                *({"name": key, "value": value} for key, value in given.items()),
                *(
                    {"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                    for key, path in fields.items()
                ),
            ],
            "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}],
            "securityContext": STRICT,
        }
        return {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }

    def add(self, name: str, *command: str, **environ: str) -> None:
        """A pod that runs Python; wait until it is ready."""
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": self.pod_spec(*command, **environ),
            }
        )
        eventually(
            lambda: is_ready(self.cluster.get("pod", name, self.namespace)), POD_START_SECONDS
        )

    def add_worker(self, name: str, model: str, *, timeout: int = 5) -> None:
        """A pod that serves a model, registers and beats; it may be silent for that long."""
        self.add(name, "/scripts/worker.py", MODEL=model, TIMEOUT_SECONDS=f"{timeout}")

    def add_engine(self, name: str, model: str) -> None:
        """A pod with a fake LLM engine, of which the registry is told nothing."""
        self.add(name, "/scripts/engine.py", "--host=0.0.0.0", "--port=8000",
                 f"--model={model}", f"--name={name}")  # fmt: skip

    def add_router(self) -> None:
        """A pod from which the registry is asked."""
        self.add("router", "-c", "import signal; signal.pause()")

    def remove(self, name: str) -> None:
        """Delete a pod, without a word to it."""
        self.cluster.kubectl(
            "delete", "pod", name, "-n", self.namespace, "--grace-period=0", "--force"
        )

    def _router(self, pod: str, *command: str) -> tuple[int, str]:
        told = self.cluster.kubectl(
            "exec", pod, "-n", self.namespace, "--", "python", "/scripts/router.py", *command
        )
        status, text = json.loads(told)
        return status, text

    def get(self, path: str, of: str = "router") -> tuple[int, Any]:
        """The registry's answer to a pod: the status and the JSON."""
        status, text = self._router(of, "get", path)
        return status, json.loads(text) if status else text

    def call(self, model: str) -> tuple[int, str]:
        """Have a model answer the router: the status and the text."""
        return self._router("router", "call", model)

    def complete(self, model: str) -> tuple[int, str]:
        """Have the router send a completion to whom select names: the status, and who answered."""
        return self._router("router", "complete", model)

    def chat(self, proxy: str, model: str, key: str) -> tuple[int, str]:
        """Have the router ask a proxy, with its key: the status, and which engine answered."""
        return self._router("router", "chat", proxy, model, key)

    def selects(self, model: str) -> str | None:
        """The name of the instance that the router is given, or None."""
        status, answer = self.get(f"/api/v1/select?model={model}")
        return answer["name"] if status == 200 else None


def instance(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """A ModelInstance as a user writes it."""
    return {
        "apiVersion": "modelinstance.dev/v1alpha1",
        "kind": "ModelInstance",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"modelName": "m", "host": f"{name}.example", "port": 8000, **spec},
    }
