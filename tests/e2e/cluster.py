"""A whole cluster, as whoever installs something in it sees it: kubectl, helm, and pods."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from support import audit
from support.audit import AuditEntry
from support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "Helm-chart"
CRDS = ("modelinstances.modelinstance.dev", "instanceregistries.modelinstance.dev")
LABEL = "modelinstance.dev/e2e"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", LABEL: "true"}
POD_START_SECONDS = 10
"""A stated bound for a pod to run whose image is on the node."""

ROLES = {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}
POD_END = timedelta(seconds=30)
"""How long after its rights a pod may be there: its grace period, and some time to hear of it."""
GRANT = timedelta(seconds=5)
"""How long it may take until the API server goes by a role, or has decided on a request."""


STOP = """
import os, pathlib, signal
stopped = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    command = (process / "cmdline").read_bytes().split(b"\\0")
    if any(part.endswith(b"/modelinstance") for part in command):
        os.kill(int(process.name), signal.SIGSTOP)
        stopped += 1
assert stopped == 1, stopped
"""
"""Stops the operator, from a process beside it."""


class RealCluster:
    """What the tests do to a cluster. Requests are made as the admin of the kubeconfig.

    ``audit_log`` is None where it cannot be read.
    """

    def __init__(self, kubectl: Path, helm: Path, audit_log: Path | None) -> None:
        self._kubectl = kubectl
        self._helm = helm
        self.audit_log = audit_log
        self._numbers = itertools.count(1)
        self.namespaces: list[str] = []
        """All that were ever made."""

    # -- commands --------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; returns what it printed."""
        return _run(self._kubectl, *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm; returns what it printed."""
        return _run(self._helm, *arguments)

    @property
    def tools(self) -> dict[str, str]:
        """An environment in which ``kubectl`` and ``helm`` are these."""
        folders = (self._kubectl.parent, self._helm.parent)
        return {**os.environ, "PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]])}

    # -- resources -------------------------------------------------------------------------------

    def apply(self, *manifests: dict[str, Any]) -> None:
        """``kubectl apply`` of manifests."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        """A resource; raises LookupError if there is none."""
        found: dict[str, Any] = json.loads(
            self.kubectl(
                "get", kind, name, *_scope(namespace), "--ignore-not-found", "-o", "json",
            )
            or "null"
        )  # fmt: skip
        if found is None:
            raise LookupError(f"{kind} {namespace}/{name}")
        return found

    def all(self, kind: str, *options: str) -> list[dict[str, Any]]:
        """The resources of a kind, of all namespaces unless the options name one."""
        scope = () if "-n" in options else ("-A",)
        found = self.kubectl("get", kind, *scope, *options, "-o", "json")
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    def instance(self, name: str, namespace: str) -> dict[str, Any]:
        """A ModelInstance; raises LookupError if there is none."""
        return self.get("modelinstance", name, namespace)

    def phase(self, name: str, namespace: str) -> str | None:
        """The phase in a ModelInstance's status."""
        phase: str | None = self.instance(name, namespace).get("status", {}).get("phase")
        return phase

    def await_phase(self, phase: str, name: str, namespace: str, within: float = 3) -> None:
        """Wait until a ModelInstance's status tells of a phase."""
        eventually(lambda: self.phase(name, namespace) == phase, within)

    def beat(self, name: str, namespace: str) -> None:
        """A heartbeat by annotation."""
        value = f"modelinstance.dev/heartbeat=beat-{next(self._numbers)}"
        self.kubectl("annotate", "--overwrite", "mi", name, "-n", namespace, value)

    def edit(self, name: str, namespace: str, **spec: Any) -> None:
        """Change fields of a ModelInstance's spec."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "mi", name, "-n", namespace, "--type=merge", "-p", patch)

    def installed_crds(self) -> set[str]:
        """Those of our CRDs that are there."""
        names = self.kubectl("get", "crds", "-o", "name").split()
        return {name.split("/")[1] for name in names} & set(CRDS)

    def leftovers(self) -> list[str]:
        """Whatever carries the chart's label, or is a Lease of ours, in the whole cluster."""
        kinds = self.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        kinds = [kind for kind in kinds if not kind.startswith(("events", "componentstatuses"))]
        found = self.kubectl(
            "get", ",".join(kinds), "-A", "-o", "name", "--ignore-not-found",
            "-l", "app.kubernetes.io/part-of=modelinstance",
        ).split()  # fmt: skip
        leases = [
            f"lease {lease['metadata']['namespace']}/{lease['metadata']['name']}"
            for lease in self.all("leases")
            if lease["metadata"]["namespace"] in self.namespaces
        ]
        return found + leases

    def await_nothing_left(self) -> None:
        """Wait until there are no `leftovers`: what others made of ours goes by itself."""

        def nothing() -> bool:
            assert self.leftovers() == []
            return True

        eventually(nothing, POD_START_SECONDS)

    # -- namespaces ------------------------------------------------------------------------------

    def add_namespace(self, purpose: str) -> str:
        """A new namespace in which the strictest Pod Security Standard is enforced; its name."""
        name = f"e2e-{purpose}-{os.getpid()}-{next(self._numbers)}"
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": RESTRICTED},
            }
        )
        self.namespaces.append(name)
        return name

    @contextmanager
    def clean(self, *others: str) -> Iterator[None]:
        """Leave nothing behind of what is done meanwhile; that it can go is part of the test.

        ``others`` are namespaces that may be made by other means.
        """
        first = len(self.namespaces)
        self.namespaces.extend(others)
        try:
            yield
        finally:
            namespaces = self.namespaces[first:]
            for namespace in namespaces:
                for name in json.loads(self.helm("list", "-n", namespace, "-q", "-o", "json")):
                    Release(self, namespace, name).uninstall()
            self.remove("crds", *self.installed_crds())
            self.remove("namespaces", *namespaces)
            self.remove(
                "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/part-of=modelinstance"
            )

    def remove(self, kind: str, *names: str) -> None:
        """Delete resources, and see that they go by themselves."""
        if names:
            self.kubectl("delete", kind, *names, "--ignore-not-found", "--timeout=120s")

    # -- the audit log ---------------------------------------------------------------------------

    def requests(self) -> list[AuditEntry]:
        """The requests of all ServiceAccounts in the namespaces that were made here."""
        assert self.audit_log is not None
        owners = tuple(f"system:serviceaccount:{name}:" for name in self.namespaces)
        return [entry for entry in audit.read(self.audit_log) if entry.user.startswith(owners)]

    def refusals(self) -> list[AuditEntry]:
        """Those requests to which an account had no right.

        Helm takes away roles, or narrows them, before the pods that had them have ended: what they
        ask for in the time that they have for it is not counted. The log may tell of it first, and
        may tell of a request first that was decided on only then. So it is where a namespace is
        deleted with all that is in it. Nor is counted what is asked before a new role is known.
        """
        assert self.audit_log is not None
        entries = list(audit.read(self.audit_log))
        changed: dict[str, list[tuple[datetime, timedelta]]] = {
            namespace: [] for namespace in self.namespaces
        }
        for entry in entries:
            if entry.resource in ROLES and entry.verb not in {"get", "list", "watch"}:
                excused = GRANT if entry.verb == "create" else POD_END
                for namespace, times in changed.items():
                    if entry.namespace == namespace or entry.name.startswith(f"{namespace}."):
                        times.append((entry.at, excused))
        refused = []
        for entry in entries:
            owner = entry.user.removeprefix("system:serviceaccount:").partition(":")[0]
            if entry.refused and owner in changed:
                times = changed[owner]
                if not any(-GRANT <= entry.at - at <= excused for at, excused in times):
                    refused.append(entry)
        return refused


@dataclass
class Release:
    """An installation of the chart. Its name is that of the Deployment and of the Service."""

    cluster: RealCluster
    namespace: str
    name: str = "registry"
    install_as: str = ""
    """The user who installs it; the admin of the kubeconfig when empty."""

    @property
    def url(self) -> str:
        """The endpoint, for pods of any namespace."""
        return f"http://{self.name}.{self.namespace}"

    @property
    def account(self) -> str:
        """Who the operator is to the API server."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    @staticmethod
    def of_image(image: str) -> tuple[str, ...]:
        """Values for an image, which is told by its tag or by its digest."""
        name, _, digest = image.partition("@")
        head, _, last = name.rpartition("/")
        last, _, tag = last.partition(":")
        repository = f"{head}/{last}" if head else last
        about = f"digest={digest}" if digest else f"tag={tag}"
        return f"--set=image.repository={repository}", f"--set=image.{about}"

    def install(self, *values: str, chart: Path = CHART) -> None:
        """``helm install --wait`` with values, each as one argument of helm."""
        self._helm("install", self.name, str(chart), *values, "--wait")

    def upgrade(self, *values: str, chart: Path = CHART) -> None:
        """``helm upgrade --wait`` that keeps the values of before, but for those given."""
        self._helm("upgrade", self.name, str(chart), "--reset-then-reuse-values", *values, "--wait")

    def rollback(self, revision: int) -> None:
        """``helm rollback --wait``."""
        self._helm("rollback", self.name, str(revision), "--wait")

    def uninstall(self) -> None:
        """``helm uninstall``, and wait for the pod's end."""
        self._helm("uninstall", self.name, "--wait")
        eventually(lambda: not self.pods(), POD_START_SECONDS)

    def _helm(self, *arguments: str) -> str:
        user = (f"--kube-as-user={self.install_as}",) if self.install_as else ()
        try:
            return self.cluster.helm(*arguments, *user, "-n", self.namespace, "--timeout=120s")
        except AssertionError as error:
            error.add_note(self.cluster.kubectl("get", "events", "-n", self.namespace))
            raise

    def test(self) -> str:
        """``helm test``; returns what it printed."""
        return self._helm("test", self.name, "--logs")

    def pods(self) -> list[dict[str, Any]]:
        """The operator's pods."""
        label = (
            f"app.kubernetes.io/name=modelinstance-operator,app.kubernetes.io/instance={self.name}"
        )
        return self.cluster.all("pods", "-n", self.namespace, "-l", label)

    def pod(self) -> str:
        """The name of the one pod; raises LookupError until there is one, and ready."""
        pods = [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]
        ready = [pod["metadata"]["name"] for pod in pods if is_ready(pod)]
        if len(pods) != 1 or not ready:
            raise LookupError(f"ready pods: {ready} of {len(pods)}")
        name: str = ready[0]
        return name

    def kill(self) -> None:
        """End all pods by SIGKILL, with no chance to tidy up, and let none come after them."""
        pod = self.pod()
        self.cluster.kubectl(
            "patch", "deployment", self.name, "-n", self.namespace, "-p",
            '{"spec": {"template": {"spec": {"shareProcessNamespace": true}}}}',
        )  # fmt: skip
        pod = self.next_pod(pod)
        for kind in ("deployments", "replicasets"):
            self.cluster.kubectl("delete", kind, "--all", "-n", self.namespace, "--cascade=orphan")
        # Stopped, it does not hear SIGTERM; SIGKILL is all that ends it.
        self.cluster.kubectl("exec", pod, "-n", self.namespace, "--", "python", "-c", STOP)
        self.cluster.kubectl(
            "delete", "pod", pod, "-n", self.namespace, "--grace-period=0", "--force"
        )
        eventually(lambda: not self.pods(), POD_START_SECONDS)  # the one before may be ending yet

    def next_pod(self, old: str) -> str:
        """Wait for the pod that comes after one; its name."""

        def another() -> str | None:
            name = self.pod()
            return name if name != old else None

        found = eventually(another, POD_START_SECONDS)
        assert found is not None
        return found


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready."""
    return any(
        (condition["type"], condition["status"]) == ("Ready", "True")
        for condition in pod["status"].get("conditions", ())
    )


def _scope(namespace: str) -> tuple[str, ...]:
    return ("-n", namespace) if namespace else ()


def _run(*command: str | Path, stdin: str | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, text=True, check=False, timeout=400
    )
    if done.returncode != 0:
        told = f"{done.stdout}{done.stderr}".strip()
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}: {told}")
    return done.stdout
