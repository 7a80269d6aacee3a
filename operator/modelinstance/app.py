"""The composition root: what the programs are made of, and in which order they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

import uvicorn

from modelinstance.cluster.access import Access as ClusterAccess
from modelinstance.cluster.client import ClusterClient
from modelinstance.cluster.events import EventClient, EventWriter
from modelinstance.cluster.listing import Lister
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.registration import RegistrationWriter
from modelinstance.cluster.servers import Servers
from modelinstance.cluster.supervisor import Supervisor
from modelinstance.desk import Desk
from modelinstance.http.access import Access
from modelinstance.http.endpoint import Endpoint
from modelinstance.metrics.exposition import exposition
from modelinstance.outbound.getter import Getter
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks
from modelinstance.outbound.prober import Prober
from modelinstance.podkeeping.keeper import PodKeeper
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.probation import Hysteresis
from modelinstance.registry.intake.probing import ProbeSchedule
from modelinstance.settings import Settings
from modelinstance.standalone import StandaloneDesk

GRACE_SECONDS = 2
"""How long open HTTP requests may take during stop."""

IDLE_SECONDS = 75
"""How long a connection stays open between two requests. uvicorn's 5 s are the period of many
heartbeats, and a request that meets the close fails; clients give up idle ones earlier than this,
such as aiohttp after 15 s.
"""

Follower = tuple[str, Coroutine[Any, Any, None]]
"""What runs beside the endpoint until the stop, by a name."""
LASTING = frozenset({"time", "enrolment", "supervisor"})
"""What ends after the endpoint: what it acknowledges until then is still to be written."""


class Server(uvicorn.Server):
    """uvicorn without signal handlers: the programs have their own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Operator:
    """The operator of one cluster. Make it inside of the event loop that is to own the registry."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self.registry = EmbeddedModelRegistry(
            heartbeat_interval_secs=0,
            heartbeat_timeout_secs=settings.heartbeat_timeout_with(None),
        )
        _protect(self.registry)
        cluster = ClusterAccess(settings.kubeconfig)
        namespace = settings.operator_namespace
        self._client = ClusterClient(cluster)
        self.desk = Desk(self.registry, settings, RegistrationWriter(self._client))
        self._listers = [
            Lister(
                self._client,
                self.desk,
                scope,
                registry_namespace=namespace if position == 0 else None,
            )
            for position, scope in enumerate(self.desk.mirror.views)
        ]
        self._supervisor = Supervisor(cluster, self.desk, settings.namespaces, namespace)
        self.desk.listers = self._listers
        self.desk.supervisor = self._supervisor
        servers = Servers(cluster, of_all=not settings.namespaces)
        self._guard = Guard(Networks(settings.allowed_networks), servers.addresses)
        getter = Getter(self._guard)
        self._prober = Prober(ProbeSchedule(self.desk.records), getter, self.desk.tallies.probes)
        self._events = EventWriter(EventClient(cluster), self.desk.events)
        self._pods: PodKeeper | None = None
        if settings.pods:
            self._pods = PodKeeper(
                PodClient(cluster),
                self.desk.mirror,
                self.desk.tallies,
                getter,
                events=self.desk.events,
                scopes=tuple(self.desk.mirror.views),
            )
            self.desk.enrolment.on_known.append(self._pods.registered)
        metrics = exposition(self.desk, self.desk.mirror)
        self.endpoint = Endpoint(self.desk, metrics, access)

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve on a listening socket, and follow the cluster, until ``stop`` is set."""
        settling = asyncio.create_task(self._settle_down(), name="settle down")
        try:
            await _serve(
                self.endpoint,
                self.desk,
                listener,
                stop,
                ("time", self.desk.keep_time()),
                ("enrolment", self.desk.enrolment.run()),
                ("supervisor", self._supervisor.run()),
                ("guard", self._guard.follow()),
                ("prober", self._prober.run()),
                ("events", self._events.run()),
                *(("lister", lister.run()) for lister in self._listers),
                *(() if self._pods is None else (("pods", self._pods.run()),)),
            )
        finally:
            settling.cancel()
            await self._client.close()

    async def _settle_down(self) -> None:
        """Once everything is read, spare the garbage collector the long-lived objects."""
        await self.desk.synced.wait()
        gc.collect()
        gc.freeze()


class Standalone:
    """The registry without a cluster. Make it inside of the event loop that is to own it.

    ``remove_after`` gives the seconds after which an instance is removed that stays dead.
    """

    def __init__(
        self,
        access: Access,
        *,
        heartbeat_timeout: float,
        default_namespace: str,
        remove_after: float,
    ) -> None:
        self.registry = EmbeddedModelRegistry(
            heartbeat_interval_secs=0, heartbeat_timeout_secs=heartbeat_timeout
        )
        _protect(self.registry)
        self.desk = StandaloneDesk(
            self.registry, default_namespace=default_namespace, remove_after=remove_after
        )
        self.endpoint = Endpoint(self.desk, exposition(self.desk), access)

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve on a listening socket until ``stop`` is set."""
        await _serve(
            self.endpoint,
            self.desk,
            listener,
            stop,
            ("time", self._keep_time()),
            ("enrolment", self.desk.enrolment.run()),
        )

    async def _keep_time(self) -> None:
        while True:
            until = self.registry.check()
            await asyncio.sleep(0.0 if self.desk.journal.look() else until)


def _protect(registry: EmbeddedModelRegistry) -> None:
    """What users of the class have to ask for, a registry of many has from the start."""
    registry.records.guard.configure(GuardSettings())
    registry.records.probations.settings = Hysteresis()


async def _serve(
    endpoint: Endpoint,
    desk: Desk | StandaloneDesk,
    listener: socket.socket,
    stop: asyncio.Event,
    *followers: Follower,
) -> None:
    """Serve, and run the followers, until ``stop`` is set or one of them fails."""
    server = Server(
        uvicorn.Config(
            endpoint.app,
            http=endpoint.protocol,  # type: ignore[arg-type]  # it takes whatever makes a protocol
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    following = [asyncio.create_task(work, name=name) for name, work in followers]
    try:
        done, _ = await asyncio.wait(
            {stopping, serving, *following}, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        desk.stopping = True
        endpoint.end_streams()
        await _cancel(task for task in following if task.get_name() not in LASTING)
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        await _cancel((stopping, *following))
    for task in done - {stopping}:
        task.result()


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks, and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
