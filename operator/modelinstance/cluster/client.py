"""The few requests that the operator makes by itself, with their limits.

Every failure comes out as one exception that says what the API server answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes_asyncio import client

from modelinstance import api
from modelinstance.cluster import FIELD_MANAGER
from modelinstance.cluster.access import Access, AccessError
from modelinstance.cluster.translate import RawObject, key_of, registry_body
from modelinstance.registry.instance import InstanceKey

PAGE_SIZE = 500
LIST_TIMEOUT_SECONDS = 10.0
WRITE_TIMEOUT_SECONDS = 3.0

GONE, CONFLICT, NOT_FOUND, FORBIDDEN, UNAUTHORIZED = 410, 409, 404, 403, 401
TOO_MANY, SERVER_ERROR = 429, 500
APPLY = "application/apply-patch+yaml"
NO_API_SERVER = "the answer is not one of an API server"


class ClusterError(Exception):
    """A request failed.

    ``status`` is the HTTP status, or ``None`` when there was no answer; ``retry_after`` the seconds
    that the API server asked to be left alone for; ``fields`` are those that it found fault with;
    ``kind`` is what it found missing, empty where not even the resource type is known.
    """

    def __init__(
        self,
        what: str,
        why: str,
        status: int | None = None,
        *,
        retry_after: float = 0.0,
        fields: tuple[str, ...] = (),
        kind: str = "",
    ) -> None:
        super().__init__(f"{what}: {why}")
        self.status = status
        self.retry_after = retry_after
        self.fields = fields
        self.kind = kind

    @property
    def passing(self) -> bool:
        """Whether the same request may be granted later as it is."""
        if self.status is None or self.status >= SERVER_ERROR:
            return True
        no_crd = self.status == NOT_FOUND and not self.kind
        return no_crd or self.status in {UNAUTHORIZED, TOO_MANY}


@dataclass(slots=True)
class _Session:
    """Connections made with the credentials of one moment."""

    client: client.ApiClient
    in_flight: int = 0
    retired: bool = False


class ClusterClient:
    """Requests on the two resources. Use it in one event loop; close it in the end.

    Each call raises `ClusterError`. After a call that was refused for its credentials or had no
    answer, the next one starts from new credentials and new connections: a rotated token or a
    stalled connection costs one failed call. Calls that are under way are left alone.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: _Session | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections that are not in use."""
        session, self._session = self._session, None
        if session is not None:
            session.retired = True
            await self._release(session)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Session]:
        async with self._opening:
            if self._session is None:
                self._session = _Session(await self._access.client())
            session = self._session
        session.in_flight += 1
        try:
            yield session
        finally:
            session.in_flight -= 1
            await self._release(session)

    def _retire(self, session: _Session) -> None:
        session.retired = True
        if self._session is session:
            self._session = None

    @staticmethod
    async def _release(session: _Session) -> None:
        if session.retired and not session.in_flight:
            await session.client.close()

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
            what = f"LIST {plural}"
            page = await self._call(what, "list", plural, namespace, **options)
            try:
                items, version = page["items"], int(page["metadata"]["resourceVersion"])
                token = page["metadata"].get("continue")
            except (LookupError, TypeError, ValueError) as error:
                raise ClusterError(what, NO_API_SERVER) from error
            yield items, version
            if not token:
                return

    async def probe(self, plural: str, namespace: str) -> None:
        """See whether a resource can be listed; raises `ClusterError` if not."""
        await self._call(f"LIST {plural}", "list", plural, namespace, limit=1)

    async def all_server_addresses(self) -> list[str]:
        """The addresses of all API servers, as ``host:port``: the endpoints of their Service."""
        what = "GET EndpointSlice default/kubernetes"
        shown = await self._request(
            what,
            "GET",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
            (),
            timeout=LIST_TIMEOUT_SECONDS,
        )
        try:
            return [
                f"[{address}]:{port['port']}" if ":" in address else f"{address}:{port['port']}"
                for endpoint in shown["endpoints"] or ()
                for address in endpoint["addresses"]
                for port in shown.get("ports") or ()
            ]
        except (LookupError, TypeError, AttributeError) as error:
            raise ClusterError(what, NO_API_SERVER) from error

    async def server_addresses(self) -> list[str]:
        """What the API server that answers calls its own address in the cluster, as ``host:port``.

        Whoever may log in may ask for it.
        """
        versions = await self._send(
            "GET /api",
            lambda opened: client.CoreApi(opened).get_api_versions(
                _request_timeout=LIST_TIMEOUT_SECONDS
            ),
        )
        return [told.server_address for told in versions.server_address_by_client_cidrs]

    async def discover(self) -> frozenset[str]:
        """The names of the resources that discovery tells of; it lags behind the CRDs."""
        what = f"discovery of {api.API_VERSION}"
        groups = await self._send(
            what,
            lambda opened: client.ApisApi(opened).get_api_versions(
                _request_timeout=LIST_TIMEOUT_SECONDS
            ),
        )
        if not any(
            group.name == api.GROUP and any(v.version == api.VERSION for v in group.versions)
            for group in groups.groups
        ):
            return frozenset()
        found = await self._send(
            what,
            lambda opened: client.CustomObjectsApi(opened).get_api_resources(
                api.GROUP, api.VERSION, _request_timeout=LIST_TIMEOUT_SECONDS
            ),
        )
        return frozenset(resource.name for resource in found.resources)

    async def get(self, key: InstanceKey) -> RawObject:
        """One ModelInstance."""
        what = f"GET ModelInstance {key}"
        return object_in(
            what,
            await self._call(
                what,
                "get",
                api.MODEL_INSTANCES,
                key.namespace,
                name=key.name,
                timeout=WRITE_TIMEOUT_SECONDS,
            ),
        )

    async def apply(self, body: RawObject, field_manager: str) -> RawObject:
        """Apply a ModelInstance, leaving alone the fields that others have taken over.

        Their values in ``body`` are refused with 409, and they are named in the error.
        """
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        what = f"apply ModelInstance {namespace}/{name}"
        # The generated method would throw away the answer with 201, that it was created.
        answer = await self._request(
            what,
            "PATCH",
            f"/apis/{api.API_VERSION}/namespaces/{namespace}/{api.MODEL_INSTANCES}/{name}",
            [("fieldManager", field_manager)],
            body=body,
            content_type=APPLY,
        )
        return object_in(what, answer)

    async def delete(self, key: InstanceKey, uid: str, version: int) -> bool:
        """Delete a ModelInstance; returns False if it has changed, or is another or none by now."""
        preconditions = {"uid": uid, "resourceVersion": str(version)}
        try:
            await self._call(
                f"delete ModelInstance {key}",
                "delete",
                api.MODEL_INSTANCES,
                key.namespace,
                name=key.name,
                body={"preconditions": preconditions},
                timeout=WRITE_TIMEOUT_SECONDS,
            )
        except ClusterError as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False
            raise
        return True

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
        options |= {"group": api.GROUP, "version": api.VERSION, "plural": plural}
        if namespace:
            options["namespace"] = namespace
        answer: RawObject = await self._send(
            what,
            lambda opened: self._method(opened, verb, namespace)(
                **options, _request_timeout=timeout
            ),
            timeout,
        )
        return answer

    async def _request(
        self,
        what: str,
        method: str,
        path: str,
        options: Sequence[tuple[str, str]],
        *,
        body: RawObject | None = None,
        content_type: str = "application/json",
        timeout: float = WRITE_TIMEOUT_SECONDS,  # noqa: ASYNC109 - the client's own time-out
    ) -> RawObject:
        """The JSON object that answers a request for which no generated method serves."""
        answer = await self._send(
            what,
            lambda opened: opened.call_api(
                path,
                method,
                {},
                list(options),
                {"Accept": "application/json", "Content-Type": content_type},
                body=body,
                response_types_map={200: "object", 201: "object"},
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=timeout,
            ),
            timeout,
        )
        if not isinstance(answer, dict):
            raise ClusterError(what, NO_API_SERVER)
        return answer

    async def _send(
        self,
        what: str,
        request: Callable[[client.ApiClient], Awaitable[Any]],
        timeout: float = LIST_TIMEOUT_SECONDS,  # noqa: ASYNC109 - the client's own time-out
    ) -> Any:
        try:
            async with self._connected() as session:
                try:
                    return await request(session.client)
                except client.ApiException as error:
                    if error.status == UNAUTHORIZED:
                        self._retire(session)
                    raise
                except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
                    self._retire(session)
                    raise
        except client.ApiException as error:
            answer = _answer(error)
            why = f"HTTP {error.status}: {answer.get('message') or error.reason}"
            details = answer.get("details")
            details = details if isinstance(details, dict) else {}
            raise ClusterError(
                what,
                why,
                error.status,
                retry_after=_wait(error),
                fields=_fields(details),
                kind=details.get("kind", ""),
            ) from error
        except TimeoutError as error:
            raise ClusterError(what, f"no answer within {timeout:g} s") from error
        except ValueError as error:  # kubernetes_asyncio's models refuse what does not fit them
            raise ClusterError(what, NO_API_SERVER) from error
        except (aiohttp.ClientError, OSError, AccessError) as error:
            raise ClusterError(what, str(error) or type(error).__name__) from error

    @staticmethod
    def _method(
        opened: client.ApiClient, verb: str, namespace: str
    ) -> Callable[..., Awaitable[RawObject]]:
        objects = client.CustomObjectsApi(opened)
        methods: dict[str, Callable[..., Awaitable[RawObject]]] = {
            "list": objects.list_namespaced_custom_object
            if namespace
            else objects.list_cluster_custom_object,
            "get": objects.get_namespaced_custom_object,
            "patch_status": objects.patch_namespaced_custom_object_status,
            "delete": objects.delete_namespaced_custom_object,
            "create": objects.create_namespaced_custom_object,
        }
        return methods[verb]


def object_in(what: str, answer: Any) -> RawObject:
    """An answer that is an object with a name. Raises `ClusterError` if it is none."""
    try:
        key_of(answer)
    except (LookupError, TypeError) as error:
        raise ClusterError(what, NO_API_SERVER) from error
    found: RawObject = answer
    return found


def _wait(error: client.ApiException) -> float:
    """The seconds of a Retry-After header, which the API server sends with 429."""
    try:
        return float(error.headers.get("Retry-After", 0)) if error.headers else 0.0
    except ValueError:
        return 0.0


def _answer(error: client.ApiException) -> Mapping[str, Any]:
    """The Status object that the API server sent, or nothing."""
    try:
        answer = json.loads(error.body or b"")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _fields(details: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that a Status object finds fault with."""
    causes = details.get("causes")
    return tuple(
        str(cause.get("field", ""))
        for cause in (causes if isinstance(causes, list) else ())
        if isinstance(cause, dict)
    )
