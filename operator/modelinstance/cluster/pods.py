"""Requests on pods, and on the resources that are made for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import aiohttp
from kubernetes_asyncio import client

from modelinstance import api
from modelinstance.cluster.applying import apply_around
from modelinstance.cluster.client import (
    CONFLICT,
    LIST_TIMEOUT_SECONDS,
    NO_API_SERVER,
    NOT_FOUND,
    ClusterClient,
    ClusterError,
    object_in,
)
from modelinstance.cluster.podfacts import gate_body
from modelinstance.cluster.translate import RawObject, observe, pod_instance_body
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.pods import Gate, PodFacts
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podspecs import MANAGER, PodInstance

PAGE_SIZE = 100
"""Pods are large, and who reads them serves requests meanwhile."""
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""How much longer than asked for a watch may keep silent."""
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
LABELLED = ("labelSelector", api.MODEL_LABEL)
ERROR = "ERROR"


class PodClient(ClusterClient):
    """Requests on labelled pods, over connections of its own. Each call raises `ClusterError`."""

    async def list_pods(self, namespace: str) -> tuple[list[RawObject], int]:
        """The labelled pods of a namespace, or of all if it is empty, and their resourceVersion."""
        what = "LIST pods"
        pods: list[RawObject] = []
        token = ""
        while True:
            options = [LABELLED, ("limit", str(PAGE_SIZE))]
            if token:
                options.append(("continue", token))
            page = await self._request(
                what, "GET", _path(namespace), options, timeout=LIST_TIMEOUT_SECONDS
            )
            try:
                pods += [object_in(what, pod) for pod in page["items"]]
                version = int(page["metadata"]["resourceVersion"])
                token = page["metadata"].get("continue") or ""
            except (LookupError, TypeError, ValueError) as error:
                raise ClusterError(what, NO_API_SERVER) from error
            if not token:
                return pods, version

    async def watch_pods(
        self, namespace: str, version: str, seconds: float
    ) -> AsyncIterator[tuple[str, RawObject]]:
        """The changes of labelled pods since a version, for so many seconds, each with its kind.

        Each has one line, of which kubernetes_asyncio's sessions take no more than a few MiB.
        """
        what = "watch of pods"
        options = [
            LABELLED,
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(max(round(seconds), 1))),
        ]
        timeout = aiohttp.ClientTimeout(
            sock_connect=CONNECT_SECONDS, sock_read=seconds + SILENCE_SECONDS
        )
        async with self._connected():  # as long as it is in use, nobody closes it
            response: aiohttp.ClientResponse = await self._send(
                what, lambda opened: _open(opened, _path(namespace), options, timeout)
            )
            try:
                while line := await self._send(what, lambda _: response.content.readline()):
                    try:
                        event = json.loads(line)
                        kind, shown = event["type"], event["object"]
                        if kind != ERROR:
                            yield kind, shown
                            continue
                        why, status = shown.get("message", ""), shown.get("code")
                    except (ValueError, LookupError, TypeError, AttributeError) as error:
                        raise ClusterError(what, NO_API_SERVER) from error
                    raise ClusterError(what, f"HTTP {status}: {why}", status)
            finally:
                response.close()

    async def set_gate(self, facts: PodFacts, gate: Gate) -> RawObject:
        """Set our gate in a pod's status, if it is still that pod; returns it as it is then."""
        with _uid_is_a_condition():
            what = f"patch status of Pod {facts.key}"
            answer = await self._request(
                what,
                "PATCH",
                f"{_path(facts.key.namespace)}/{facts.key.name}/status",
                [("fieldManager", MANAGER)],
                body=gate_body(facts, gate),
                content_type=STRATEGIC_MERGE,
            )
            return object_in(what, answer)


class PodInstanceWriter:
    """Each call raises `ClusterError`, and `UnreadableError` for an object not to be understood."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    async def create(self, wanted: PodInstance) -> tuple[Observed, bool]:
        """Make a pod's resource, unless there is one of its name.

        Returns the one that is there then, and whether it was made.
        """
        try:
            return observe(await self._client.get(wanted.key)), False
        except ClusterError as error:
            if error.status != NOT_FOUND:
                raise
        body = pod_instance_body(wanted, None)
        return observe(await self._client.apply(body, MANAGER)), True

    async def change(self, wanted: PodInstance, uid: str) -> Observed:
        """Change a pod's resource, if it is still that one, but for what others have taken over."""
        body = pod_instance_body(wanted, uid)
        with _uid_is_a_condition():
            return observe(await apply_around(self._client, body, MANAGER))

    async def look(self, key: InstanceKey) -> Observed | None:
        """A resource as it is; ``None`` if there is none."""
        try:
            return observe(await self._client.get(key))
        except ClusterError as error:
            if error.status != NOT_FOUND:
                raise
        return None

    async def remove(self, key: InstanceKey, uid: str, version: int) -> bool:
        """Delete a resource; returns False if it has changed, or is another or none by now."""
        return await self._client.delete(key, uid, version)


@contextlib.contextmanager
def _uid_is_a_condition() -> Iterator[None]:
    """To change the uid of an object is refused as invalid, where it means that it is another."""
    try:
        yield
    except ClusterError as error:
        if "metadata.uid" not in error.fields:
            raise
        raise ClusterError(
            "a change for a pod", f"it is another by now: {error}", CONFLICT
        ) from error


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"


async def _open(
    opened: client.ApiClient,
    path: str,
    options: list[tuple[str, str]],
    timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the client's own time-out
) -> aiohttp.ClientResponse:
    """Begin to read an answer; raises ApiException if it is none of success."""
    response: aiohttp.ClientResponse = await opened.call_api(
        path,
        "GET",
        {},
        options,
        {"Accept": "application/json"},
        auth_settings=["BearerToken"],
        _preload_content=False,
        _request_timeout=timeout,
    )
    if response.status == 200:
        return response
    error = client.ApiException(status=response.status, reason=response.reason)
    error.body, error.headers = await response.read(), response.headers
    raise error
