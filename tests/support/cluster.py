"""A real control plane with our resources and the operator's RBAC in it, as tests see it."""

from __future__ import annotations

import itertools
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane.binaries import Binaries
from controlplane.plane import ControlPlane
from support import audit
from support.audit import AuditEntry, Mark
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
HOME = "modelinstance-system"
OPERATOR = f"system:serviceaccount:{HOME}:modelinstance-operator"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{HOME}")
ADMIN = "test-admin"
API = "/apis/modelinstance.dev/v1alpha1"
HEARTBEAT = "modelinstance.dev/heartbeat"


API_SERVERS = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["192.0.2.1"]}, {"addresses": ["192.0.2.2"]}],
    "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
}
"""What API servers keep up themselves, but for the one here, of two of them.

Kubernetes wants no loopback address in it.
"""


class Cluster:
    """What a test does to a cluster. Requests are made as an admin."""

    def __init__(self, binaries: Binaries, directory: Path) -> None:
        self.plane = ControlPlane(
            binaries, directory, token_users={OPERATOR: GROUPS, ADMIN: ("system:masters",)}
        )
        self._values = itertools.count()

    def start(self) -> None:
        """Start the servers and install what `kubectl apply -k deploy/` would, but for the pod."""
        self.plane.start()
        self._api = httpx.Client(
            base_url=self.plane.url,
            headers=self.admin_headers,
            verify=self.tls,
            timeout=30,
        )
        self.install()

    @property
    def tls(self) -> ssl.SSLContext:
        """What to verify the API server with."""
        return ssl.create_default_context(cafile=self.plane.ca_file)

    @property
    def admin_headers(self) -> dict[str, str]:
        """The headers of an admin's request."""
        return {"Authorization": f"Bearer {self.plane.token_user(ADMIN)}"}

    def stop(self) -> None:
        """End the servers."""
        self._api.close()
        self.plane.stop()

    def install(self) -> None:
        """Apply the CRDs, the operator's namespace and its RBAC, exactly as in ``deploy/``."""
        self.kubectl("apply", "-k", str(ROOT / "crds"))
        self.kubectl("apply", "-f", "-", stdin=json.dumps(API_SERVERS))
        for name in ("namespace", "common/serviceaccount", "cluster-wide/rbac"):
            self.kubectl("apply", "-f", str(ROOT / f"deploy/{name}.yaml"))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        eventually(lambda: self._served("modelinstances") and self._served("instanceregistries"))

    def _served(self, plural: str) -> bool:
        return self.request("GET", f"{API}/{plural}").status_code == 200

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as admin; returns what it printed, on either stream."""
        done = self.plane.kubectl(*arguments, input=stdin, check=check)
        return done.stdout + done.stderr

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A plain request to the API server."""
        return self._api.request(method, path, **options)

    # -- ModelInstances --------------------------------------------------------------------------

    def manifest(
        self,
        name: str = "a",
        *,
        namespace: str = "default",
        beat: str | None = None,
        timeout: int | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """A ModelInstance as a user writes it; ``beat`` is the annotation, the rest the spec."""
        if timeout is not None:
            spec["heartbeat"] = {**spec.get("heartbeat", {}), "timeoutSeconds": timeout}
        metadata: dict[str, Any] = {"name": name, "namespace": namespace}
        if beat is not None:
            metadata["annotations"] = {HEARTBEAT: beat}
        return {
            "apiVersion": "modelinstance.dev/v1alpha1",
            "kind": "ModelInstance",
            "metadata": metadata,
            "spec": {"modelName": "m", "host": f"{name}.example", "port": 8000, **spec},
        }

    def create(self, name: str = "a", **options: Any) -> dict[str, Any]:
        """Create a ModelInstance by a plain POST; see `manifest`."""
        body = self.manifest(name, **options)
        path = f"{API}/namespaces/{body['metadata']['namespace']}/modelinstances"
        response = self.request("POST", path, json=body)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    def apply(self, manifest: dict[str, Any], *options: str) -> str:
        """``kubectl apply`` of a manifest."""
        return self.kubectl("apply", *options, "-f", "-", stdin=yaml.safe_dump(manifest))

    def path(self, name: str, namespace: str = "default") -> str:
        """The API path of a ModelInstance."""
        return f"{API}/namespaces/{namespace}/modelinstances/{name}"

    def get(self, name: str = "a", namespace: str = "default") -> dict[str, Any]:
        """A ModelInstance as it is; raises LookupError if there is none."""
        response = self.request("GET", self.path(name, namespace))
        if response.status_code == 404:
            raise LookupError(name)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def patch(self, name: str, body: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        """A merge patch of a ModelInstance."""
        response = self.request(
            "PATCH", self.path(name, namespace), content=json.dumps(body),
            headers={"Content-Type": "application/merge-patch+json"},
        )  # fmt: skip
        assert response.status_code == 200, response.text
        patched: dict[str, Any] = response.json()
        return patched

    def beat(
        self, name: str = "a", value: str | None = None, namespace: str = "default"
    ) -> dict[str, Any]:
        """A worker's heartbeat: a value that it has not shown before, unless one is given."""
        value = f"beat-{next(self._values)}" if value is None else value
        return self.patch(name, {"metadata": {"annotations": {HEARTBEAT: value}}}, namespace)

    def delete(self, name: str = "a", namespace: str = "default") -> None:
        """Delete a ModelInstance."""
        response = self.request("DELETE", self.path(name, namespace))
        assert response.status_code == 200, response.text

    def phase(self, name: str = "a", namespace: str = "default") -> str | None:
        """The phase in the status, or None before there is one."""
        phase: str | None = self.get(name, namespace).get("status", {}).get("phase")
        return phase

    def phases(self) -> dict[str, str | None]:
        """The phases in the statuses of all ModelInstances by name."""
        return {
            item["metadata"]["name"]: item.get("status", {}).get("phase")
            for item in self.instances().values()
        }

    def condition(
        self, name: str = "a", kind: str = "Ready", namespace: str = "default"
    ) -> dict[str, Any]:
        """A condition; raises LookupError if there is none."""
        for condition in self.get(name, namespace).get("status", {}).get("conditions", ()):
            if condition["type"] == kind:
                found: dict[str, Any] = condition
                return found
        raise LookupError(kind)

    def instances(self) -> dict[str, dict[str, Any]]:
        """All ModelInstances by ``namespace/name``."""
        items = self.request("GET", f"{API}/modelinstances").json()["items"]
        return {f"{i['metadata']['namespace']}/{i['metadata']['name']}": i for i in items}

    def events(self, uid: str, namespace: str = "default") -> list[dict[str, Any]]:
        """The Events on the object with that uid."""
        path = f"/api/v1/namespaces/{namespace}/events"
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        found: list[dict[str, Any]] = self.request("GET", path, params=query).json()["items"]
        return found

    registry_path = f"{API}/namespaces/{HOME}/instanceregistries/default"

    def registry(self) -> dict[str, Any]:
        """The InstanceRegistry; raises LookupError if there is none."""
        response = self.request("GET", self.registry_path)
        if response.status_code != 200:
            raise LookupError("InstanceRegistry default")
        found: dict[str, Any] = response.json()
        return found

    def patch_registry(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A merge patch of the InstanceRegistry's settings."""
        response = self.request(
            "PATCH", self.registry_path, content=json.dumps({"spec": spec}),
            headers={"Content-Type": "application/merge-patch+json"},
        )  # fmt: skip
        assert response.status_code == 200, response.text
        patched: dict[str, Any] = response.json()
        return patched

    def add_namespace(self, name: str) -> None:
        """A namespace; it may be there already, for without controllers none ever goes."""
        body = {"metadata": {"name": name}}
        assert self.request("POST", "/api/v1/namespaces", json=body).status_code in {201, 409}

    def clear(self, *, registry: bool = True) -> None:
        """Delete all ModelInstances, finalizers or not, and the InstanceRegistry."""
        found = self.instances()
        for key, instance in found.items():
            if "finalizers" in instance["metadata"]:
                self.patch(key.split("/")[1], {"metadata": {"finalizers": None}}, key.split("/")[0])
        for namespace in {key.split("/")[0] for key in found}:
            self.request("DELETE", f"{API}/namespaces/{namespace}/modelinstances")
        if registry:
            self.request("DELETE", f"{API}/namespaces/{HOME}/instanceregistries")
        eventually(lambda: not self.instances())

    # -- the audit log ---------------------------------------------------------------------------

    def audit_mark(self) -> Mark:
        """A place in the audit log, to read on from: what came before it is not told after it."""
        return Mark.of(self.plane.audit_log)

    def audit(self, since: int, user: str = OPERATOR) -> list[AuditEntry]:
        """The requests of a user since a mark, watches included."""
        return [e for e in audit.read(self.plane.audit_log, since) if e.user == user]

    def writes(self, since: int, user: str = OPERATOR) -> list[AuditEntry]:
        """The requests of a user since a mark that change anything, but for Events."""
        return [e for e in self._writes(since, user) if e.resource != "events"]

    def events_written(self, since: int) -> list[AuditEntry]:
        """The operator's writes of Events since a mark."""
        return [entry for entry in self._writes(since, OPERATOR) if entry.resource == "events"]

    def _writes(self, since: int, user: str) -> list[AuditEntry]:
        return [e for e in self.audit(since, user) if e.verb not in {"get", "list", "watch"}]

    def writes_on(self, name: str, since: int) -> list[AuditEntry]:
        """The operator's writes on the objects of one name since a mark."""
        return [entry for entry in self.writes(since) if entry.name == name]
