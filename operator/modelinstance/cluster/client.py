"""The few requests that the operator makes by itself, with their limits.

Every failure comes out as one exception that says what the API server answered.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kubernetes_asyncio import client

from modelinstance import api
from modelinstance.cluster import FIELD_MANAGER
from modelinstance.cluster.access import Access, AccessError
from modelinstance.cluster.translate import RawObject, registry_body
from modelinstance.registry.instance import InstanceKey

PAGE_SIZE = 500
LIST_TIMEOUT_SECONDS = 10.0
WRITE_TIMEOUT_SECONDS = 3.0

GONE, CONFLICT, NOT_FOUND, FORBIDDEN = 410, 409, 404, 403
APPLY = "application/apply-patch+yaml"


class ClusterError(Exception):
    """A request failed. ``status`` is the HTTP status, or ``None`` when there was no answer."""

    def __init__(self, what: str, why: str, status: int | None = None) -> None:
        super().__init__(f"{what}: {why}")
        self.status = status


class ClusterClient:
    """Requests on the two resources. Use it in one event loop; close it in the end.

    Each call raises `ClusterError`. After a failure the next call starts from new credentials and
    new connections: a rotated token or a stalled connection costs one failed call.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: client.ApiClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        opened, self._client = self._client, None
        if opened is not None:
            await opened.close()

    async def list_pages(
        self, plural: str, namespace: str, *, name: str | None = None, limit: int = PAGE_SIZE
    ) -> AsyncIterator[tuple[list[RawObject], int]]:
        """The pages of a consistent LIST, each with the resourceVersion of the whole.

        ``namespace`` may be empty for all namespaces; ``name`` restricts the LIST to one object.
        """
        token: str | None = None
        while True:
            options: dict[str, Any] = {"limit": limit}
            if token:
                options["_continue"] = token
            if name:
                options["field_selector"] = f"metadata.name={name}"
            page = await self._call(f"LIST {plural}", "list", plural, namespace, **options)
            metadata = page["metadata"]
            yield page["items"], int(metadata["resourceVersion"])
            token = metadata.get("continue")
            if not token:
                return

    async def probe(self, plural: str, namespace: str) -> None:
        """See whether a resource can be listed; raises `ClusterError` if not."""
        await self._call(f"LIST {plural}", "list", plural, namespace, limit=1)

    async def get(self, key: InstanceKey) -> RawObject:
        """One ModelInstance."""
        return await self._call(
            f"GET ModelInstance {key}",
            "get",
            api.MODEL_INSTANCES,
            key.namespace,
            name=key.name,
            timeout=WRITE_TIMEOUT_SECONDS,
        )

    async def apply_status(self, plural: str, body: dict[str, Any]) -> RawObject:
        """Apply a status, taking over all of its fields; returns the object as it is then."""
        metadata = body["metadata"]
        return await self._call(
            f"apply status of {body['kind']} {metadata['namespace']}/{metadata['name']}",
            "patch_status",
            plural,
            metadata["namespace"],
            name=metadata["name"],
            body=body,
            field_manager=FIELD_MANAGER,
            force=True,
            _content_type=APPLY,
            timeout=WRITE_TIMEOUT_SECONDS,
        )

    async def create_registry(self, namespace: str) -> RawObject:
        """Create the InstanceRegistry of that namespace."""
        return await self._call(
            f"create InstanceRegistry {namespace}/{api.REGISTRY_NAME}",
            "create",
            api.INSTANCE_REGISTRIES,
            namespace,
            body=registry_body(namespace),
            field_manager=FIELD_MANAGER,
        )

    async def _call(
        self,
        what: str,
        verb: str,
        plural: str,
        namespace: str,
        *,
        timeout: float = LIST_TIMEOUT_SECONDS,  # noqa: ASYNC109 - the client's own time-out
        **options: Any,
    ) -> RawObject:
        try:
            if self._client is None:
                self._client = await self._access.client()
            objects = client.CustomObjectsApi(self._client)
            kwargs = {"group": api.GROUP, "version": api.VERSION, "plural": plural, **options}
            if namespace:
                kwargs["namespace"] = namespace
            call = {
                "list": objects.list_namespaced_custom_object
                if namespace
                else objects.list_cluster_custom_object,
                "get": objects.get_namespaced_custom_object,
                "patch_status": objects.patch_namespaced_custom_object_status,
                "create": objects.create_namespaced_custom_object,
            }[verb]
            answer: RawObject = await call(**kwargs, _request_timeout=timeout)
        except client.ApiException as error:
            if error.status not in {CONFLICT, NOT_FOUND, GONE}:
                await self.close()
            raise ClusterError(what, _explain(error), error.status) from error
        except TimeoutError as error:
            await self.close()
            raise ClusterError(what, f"no answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError, AccessError) as error:
            await self.close()
            raise ClusterError(what, str(error) or type(error).__name__) from error
        return answer


def _explain(error: client.ApiException) -> str:
    """The API server's own words where it has some."""
    try:
        message = json.loads(error.body or b"")["message"]
    except (ValueError, LookupError, TypeError):
        message = error.reason
    return f"HTTP {error.status}: {message}"
