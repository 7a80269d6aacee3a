"""How etcd and kube-apiserver are called, and how each is asked whether it is ready."""

import http.client
import json
import ssl
from collections.abc import Sequence
from pathlib import Path

HOST = "127.0.0.1"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}

_PROBE_TIMEOUT = 2.0


def etcd_command(program: Path, data_dir: Path, port: int) -> list[str]:
    """A single etcd member that trusts the machine not to lose power."""
    url = f"http://{HOST}:{port}"
    return [
        str(program),
        f"--data-dir={data_dir}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://{HOST}:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_command(
    program: Path, directory: Path, etcd_port: int, port: int, extra: Sequence[str]
) -> list[str]:
    """An API server over the files in `directory` that `plane` and `access` lay down.

    It has no controllers beside it: namespaces keep terminating, nothing is garbage-collected, no
    service account appears by itself, and the aggregated roles view, edit and admin stay empty.
    The advertised address is from the documentation range: Kubernetes allows no loopback address
    there, and nothing ever connects to it.
    """
    pki = directory / "pki"
    return [
        str(program),
        f"--etcd-servers=http://{HOST}:{etcd_port}",
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        "--advertise-address=192.0.2.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.key'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--audit-policy-file={directory / 'audit-policy.json'}",
        f"--audit-log-path={directory / 'audit.log'}",
        "--audit-log-mode=blocking",
        "--audit-log-maxsize=10000",
        "--profiling=false",
        *extra,
    ]


def etcd_ready(port: int) -> bool:
    """Whether etcd serves reads and writes."""
    return _answers_ok(http.client.HTTPConnection(HOST, port, timeout=_PROBE_TIMEOUT), "/readyz")


def apiserver_ready(port: int, trust: ssl.SSLContext) -> bool:
    """Whether the API server has finished its start, the built-in RBAC roles included."""
    connection = http.client.HTTPSConnection(HOST, port, timeout=_PROBE_TIMEOUT, context=trust)
    return _answers_ok(connection, "/readyz")


def compact_etcd(port: int) -> int:
    """Drop all history up to now through etcd's JSON gateway; the revision that is left."""
    key = {"key": "AA=="}
    header = _post(port, "/v3/kv/range", {**key, "count_only": True})["header"]
    revision = int(header["revision"])
    _post(port, "/v3/kv/compaction", {"revision": revision, "physical": True})
    return revision


def _answers_ok(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _post(port: int, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"{path}: {response.status} {answer!r}")
        parsed: dict[str, dict[str, str]] = json.loads(answer)
        return parsed
    finally:
        connection.close()
