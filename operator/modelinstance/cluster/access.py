"""How to reach and to log in to the API server.

Credentials rotate, so they are read anew for each client and each login.
"""

from __future__ import annotations

import os
from pathlib import Path

import kopf
import yaml
from kubernetes_asyncio import client, config

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

UNREADABLE = (yaml.YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What the client library lets through of a file that is no kubeconfig."""


class AccessError(Exception):
    """There is no usable way to an API server; the message says what to set."""


class Access:
    """The way to the API server: a kubeconfig, or else the pod's service account.

    ``kubeconfig`` is a path or several, as in ``KUBECONFIG``; ``None`` means the pod's service
    account, or ``~/.kube/config`` outside of a pod.
    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._logins = 0

    @staticmethod
    def pod_namespace() -> str | None:
        """The namespace of the pod that this runs in; ``None`` outside of a cluster."""
        try:
            return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    async def configuration(self) -> client.Configuration:
        """The client configuration with the credentials of now. Raises `AccessError`."""
        configuration = client.Configuration()
        kubeconfig = self._kubeconfig
        try:
            if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                return configuration
            path = kubeconfig or str(Path.home() / ".kube" / "config")
            if not any(map(os.path.isfile, path.split(os.pathsep))):
                raise AccessError(
                    f"kubeconfig {path!r} does not exist: set KUBECONFIG or --kubeconfig to an "
                    f"existing file, or run in a cluster"
                )
            await config.load_kube_config(
                config_file=path, client_configuration=configuration, persist_config=False
            )
        except config.ConfigException as error:
            raise AccessError(_no_use(str(error))) from error
        except UNREADABLE as error:
            raise AccessError(
                _no_use(f"{kubeconfig or '~/.kube/config'} is no kubeconfig: {error}")
            ) from error
        return configuration

    async def client(self) -> client.ApiClient:
        """A client with the credentials of now; the caller closes it. Raises `AccessError`."""
        configuration = await self.configuration()
        try:
            return client.ApiClient(configuration)
        except OSError as error:  # of the ssl module: a bad certificate or key
            raise AccessError(_no_use(f"their certificates: {error}")) from error

    async def login(self) -> kopf.ConnectionInfo:
        """The same for kopf.

        Each answer differs from the one before: kopf gives up when it is offered credentials
        again that were refused, but what was refused may be accepted a moment later.
        """
        configuration = await self.configuration()
        self._logins += 1
        token = configuration.api_key.get("BearerToken")
        return kopf.ConnectionInfo(
            server=configuration.host or "",
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            username=configuration.username or None,
            password=configuration.password or None,
            scheme="Bearer" if token else None,
            token=token.removeprefix("Bearer ").strip() if token else None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            priority=self._logins,
        )


def _no_use(why: str) -> str:
    """The reason in one line."""
    return f"cannot use the Kubernetes credentials: {' '.join(why.split())}"
