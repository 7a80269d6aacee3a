"""Our own LIST: the truth that repairs what a watch missed, and proof of a current view."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Protocol

from modelinstance import api
from modelinstance.cluster.client import GONE, NOT_FOUND, ClusterClient, ClusterError
from modelinstance.cluster.translate import UnreadableError, key_of, observe, observe_registry
from modelinstance.notices import Notices
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.mirror import Listing
from modelinstance.registry.mirror.summary import RegistryObject

logger = logging.getLogger(__name__)

MIN_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 5.0


@dataclass(slots=True)
class Listed:
    """A whole LIST: what could be read, and the keys of what could not."""

    objects: dict[InstanceKey, Observed] = field(default_factory=dict)
    unreadable: list[InstanceKey] = field(default_factory=list)
    version: int = 0


class ListDesk(Protocol):
    """Where LISTs are asked for and taken in."""

    def next_list(self, scope: str) -> float:
        """Seconds until a LIST of that scope is due."""
        ...

    def list_began(self, scope: str) -> Listing:
        """A LIST begins."""
        ...

    def list_ended(self, listing: Listing, listed: Listed) -> None:
        """It was read in whole."""
        ...

    def list_failed(self, listing: Listing, why: str) -> None:
        """It cannot be had."""
        ...

    def registry_listed(self, found: RegistryObject) -> None:
        """The InstanceRegistry as a LIST shows it, or as it was created."""
        ...

    def registry_missing(self) -> None:
        """A LIST shows no InstanceRegistry."""
        ...


class Lister:
    """Keeps listing one scope whenever the desk wants it.

    One of the listers is given the operator's namespace, and also looks after the InstanceRegistry.
    """

    def __init__(
        self, client: ClusterClient, desk: ListDesk, scope: str, *, registry_namespace: str | None
    ) -> None:
        self._client = client
        self._desk = desk
        self._scope = scope
        self._registry_namespace = registry_namespace
        self._poked = asyncio.Event()
        self._notices = Notices(logger)

    def poke(self) -> None:
        """List now, or look anew when a LIST is due."""
        self._poked.set()

    async def run(self) -> None:
        """List until cancelled."""
        pause = MIN_RETRY_SECONDS
        while True:
            self._poked.clear()
            listed = await self._list_once()
            looked = await self._look_after_registry()
            if not (listed and looked):
                await self._pause(pause)
                pause = min(2 * pause, MAX_RETRY_SECONDS)
                continue
            pause = MIN_RETRY_SECONDS
            while not self._poked.is_set() and (due := self._desk.next_list(self._scope)) > 0:
                await self._pause(min(due, 1.0))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for would swallow a cancellation
                await self._poked.wait()

    async def _list_once(self) -> bool:
        listing = self._desk.list_began(self._scope)
        try:
            listed = await self._read()
        except ClusterError as error:
            hint = f"; are the CRDs of {api.GROUP} installed?" if error.status == NOT_FOUND else ""
            self._desk.list_failed(listing, f"{error}{hint}")
            return False
        self._desk.list_ended(listing, listed)
        return True

    async def _read(self) -> Listed:
        """Read all pages; from the first again when they became too old on the way."""
        for _ in range(3):
            listed = Listed()
            try:
                async for items, version in self._client.list_pages(
                    api.MODEL_INSTANCES, self._scope
                ):
                    listed.version = version
                    for raw in items:
                        try:
                            listed.objects[key_of(raw)] = observe(raw)
                        except UnreadableError as error:
                            logger.warning("%s", error)
                            listed.unreadable.append(error.key)
            except ClusterError as error:
                if error.status != GONE:
                    raise
            else:
                return listed
        raise ClusterError(f"LIST {api.MODEL_INSTANCES}", "its pages expired three times", GONE)

    async def _look_after_registry(self) -> bool:
        """Read the InstanceRegistry, or create it; instances do not wait for it."""
        if self._registry_namespace is None:
            return True
        try:
            self._desk.registry_listed(await self._find_registry(self._registry_namespace))
        except (ClusterError, UnreadableError) as error:
            self._notices.tell("InstanceRegistry", str(error))
            return False
        self._notices.settle("InstanceRegistry", "it is read again")
        return True

    async def _find_registry(self, namespace: str) -> RegistryObject:
        async for items, _ in self._client.list_pages(
            api.INSTANCE_REGISTRIES, namespace, name=api.REGISTRY_NAME
        ):
            for raw in items:
                return observe_registry(raw)
        self._desk.registry_missing()
        created = observe_registry(await self._client.create_registry(namespace))
        logger.info("created InstanceRegistry %s/%s", namespace, api.REGISTRY_NAME)
        return created
