"""The composition root: what the operator is made of, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Iterator

import uvicorn

from modelinstance.cluster.access import Access
from modelinstance.cluster.client import ClusterClient
from modelinstance.cluster.listing import Lister
from modelinstance.cluster.supervisor import Supervisor
from modelinstance.desk import Desk
from modelinstance.http.endpoint import create_app
from modelinstance.http.patience import ImpatientProtocol
from modelinstance.metrics.exposition import exposition
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.settings import Settings

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2
"""How long open HTTP requests may take during stop."""


class Server(uvicorn.Server):
    """uvicorn without signal handlers: the operator has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Operator:
    """The operator of one cluster. Make it inside of the event loop that is to own the registry."""

    def __init__(self, settings: Settings) -> None:
        self.registry = EmbeddedModelRegistry(
            heartbeat_interval_secs=0,
            heartbeat_timeout_secs=settings.heartbeat_timeout_with(None),
        )
        self.desk = Desk(self.registry, settings)
        access = Access(settings.kubeconfig)
        namespace = settings.operator_namespace
        self._client = ClusterClient(access)
        self._listers = [
            Lister(
                self._client,
                self.desk,
                scope,
                registry_namespace=namespace if position == 0 else None,
            )
            for position, scope in enumerate(self.desk.mirror.views)
        ]
        self._supervisor = Supervisor(access, self.desk, settings.namespaces, namespace)
        self.desk.listers = self._listers
        self.desk.supervisor = self._supervisor
        self.http = create_app(self.desk, exposition(self.desk.mirror, self.desk.tallies))

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve on a listening socket, and follow the cluster, until ``stop`` is set."""
        server = Server(
            uvicorn.Config(
                self.http,
                http=ImpatientProtocol,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        stopping = asyncio.create_task(stop.wait(), name="stop")
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        settling = asyncio.create_task(self._settle_down(), name="settle down")
        followers = [
            asyncio.create_task(self.desk.keep_time(), name="time"),
            asyncio.create_task(self._supervisor.run(), name="supervisor"),
            *(asyncio.create_task(lister.run(), name="lister") for lister in self._listers),
        ]
        try:
            done, _ = await asyncio.wait(
                {stopping, serving, *followers}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self.desk.stopping = True
            for task in (stopping, settling, *followers):
                task.cancel()
            await asyncio.gather(stopping, settling, *followers, return_exceptions=True)
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            await self._client.close()
        for task in done - {stopping}:
            task.result()

    async def _settle_down(self) -> None:
        """Once everything is read, spare the garbage collector the long-lived objects."""
        await self.desk.synced.wait()
        gc.collect()
        gc.freeze()
