"""Pods on an API server that has no kubelet: tests say what one would say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from support.cluster import Cluster

NODE = "node-1"
LABEL = "modelinstance.dev/model"
GATE = "modelinstance.dev/routable"
PREFIX = "modelinstance.dev/"
MERGE = {"Content-Type": "application/strategic-merge-patch+json"}


class Kubelet:
    """Makes pods, and sets their statuses. Requests are made as an admin."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._namespaces: set[str] = set()

    def path(self, name: str = "", namespace: str = "default") -> str:
        """The API path of a pod, or of all."""
        return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")

    def create(
        self,
        name: str = "p",
        *,
        model: str | None = "m",
        namespace: str = "default",
        port: int = 8000,
        gates: tuple[str, ...] = (),
        labels: dict[str, str] | None = None,
        **settings: str,
    ) -> dict[str, Any]:
        """A pod as a controller would make it, bound to a node; ``settings`` are annotations."""
        self._prepare(namespace)
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {**({LABEL: model} if model is not None else {}), **(labels or {})},
            "annotations": {
                PREFIX + setting.replace("_", "-"): value for setting, value in settings.items()
            },
        }
        body = {
            "metadata": metadata,
            "spec": {
                "nodeName": NODE,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 30,
                "readinessGates": [{"conditionType": gate} for gate in gates],
                "containers": [
                    {
                        "name": "engine",
                        "image": "engine",
                        "ports": [{"name": "http", "containerPort": port}],
                    }
                ],
            },
        }
        response = self._cluster.request("POST", self.path(namespace=namespace), json=body)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    def _prepare(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            account = {"metadata": {"name": "default"}}
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            assert self._cluster.request("POST", path, json=account).status_code in {201, 409}
            self._namespaces.add(namespace)

    def get(self, name: str = "p", namespace: str = "default") -> dict[str, Any]:
        """A pod as it is; raises LookupError if there is none."""
        response = self._cluster.request("GET", self.path(name, namespace))
        if response.status_code == 404:
            raise LookupError(name)
        found: dict[str, Any] = response.json()
        return found

    def patch(
        self, body: dict[str, Any], name: str = "p", namespace: str = "default", *, of: str = ""
    ) -> dict[str, Any]:
        """A strategic merge patch of a pod, or with ``of="/status"`` of its status."""
        response = self._cluster.request(
            "PATCH", self.path(name, namespace) + of, content=json.dumps(body), headers=MERGE
        )
        assert response.status_code == 200, response.text
        patched: dict[str, Any] = response.json()
        return patched

    def report(
        self,
        name: str = "p",
        *,
        namespace: str = "default",
        ip: str | None = "10.1.0.1",
        started: bool = True,
        ready: bool = False,
        phase: str = "Running",
        others: Mapping[str, bool] | None = None,
    ) -> dict[str, Any]:
        """What the kubelet says of a pod; ``others`` are more conditions."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"ContainersReady": ready, **(others or {})}
        status: dict[str, Any] = {
            "phase": phase,
            "hostIP": "192.0.2.10",
            "conditions": [
                {
                    "type": kind,
                    "status": str(holds),
                    "lastTransitionTime": now,
                    "message": "" if holds else "containers with unready status: [engine]",
                }
                for kind, holds in told.items()
            ],
            "containerStatuses": [
                {
                    "name": "engine", "image": "engine", "imageID": "", "ready": ready,
                    "restartCount": 0, "started": started,
                    "state": {"running": {"startedAt": now}},
                }
            ],
        }  # fmt: skip
        if ip is not None:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}, {"$patch": "replace"}]}
        return self.patch({"status": status}, name, namespace, of="/status")

    def run(self, name: str = "p", *, ip: str = "10.1.0.1", **options: Any) -> dict[str, Any]:
        """A pod that is up and ready, from the start."""
        made = self.create(name, **options)
        self.report(name, namespace=options.get("namespace", "default"), ip=ip, ready=True)
        return made

    def delete(self, name: str = "p", namespace: str = "default") -> None:
        """Begin to delete a pod: it has its grace period."""
        response = self._cluster.request("DELETE", self.path(name, namespace))
        assert response.status_code == 200, response.text

    def finish(self, name: str = "p", namespace: str = "default") -> None:
        """Let a pod be gone, as the kubelet does once its containers have ended."""
        path = f"{self.path(name, namespace)}?gracePeriodSeconds=0"
        response = self._cluster.request("DELETE", path)
        assert response.status_code == 200, response.text

    def gate(self, name: str = "p", namespace: str = "default") -> dict[str, Any]:
        """Our readiness gate; raises LookupError if it was not set."""
        for condition in self.get(name, namespace).get("status", {}).get("conditions", ()):
            if condition["type"] == GATE:
                found: dict[str, Any] = condition
                return found
        raise LookupError(GATE)

    def events(self, name: str = "p", namespace: str = "default") -> list[tuple[str, str]]:
        """The reasons and messages of the events on a pod; raises LookupError if there is none."""
        events = self._cluster.events(self.get(name, namespace)["metadata"]["uid"], namespace)
        return [(event["reason"], event["message"]) for event in events]

    def clear(self) -> None:
        """Leave no pod and no event."""
        for namespace in self._namespaces:
            self._cluster.request(
                "DELETE", f"{self.path(namespace=namespace)}?gracePeriodSeconds=0"
            )
            self._cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/events")
