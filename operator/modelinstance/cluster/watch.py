"""The kopf operator: a mirror of events, and one timer.

``@kopf.on.event`` covers creation, change and deletion, and it alone leaves users' objects
untouched: ``on.create``, ``on.update`` and ``on.delete`` would write annotations and finalizers
into them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

import kopf

from modelinstance import api
from modelinstance.cluster.access import Access, AccessError
from modelinstance.cluster.translate import UnreadableError, key_of, observe, observe_registry
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.mirror.summary import RegistryObject

logger = logging.getLogger(__name__)

TIMER_INTERVAL_SECONDS = 0.25
"""How long the timer rests after each tick; see docs/decisions/0014."""

LOGIN_DELAY_SECONDS = 1.0
ENDING_SECONDS = 2.0
"""How long kopf may take to end, once it is told to or has failed; milliseconds are usual."""
CANCELLATIONS = 20
IDENTITY = "modelinstance-operator"
"""Only peers would see it, and there are none; kopf's own way to it needs an entry in passwd."""


class EventDesk(Protocol):
    """Where events go. Every method is called by the thread that owns it, in order."""

    def instance_changed(self, run: int, observed: Observed, listed: bool) -> None:
        """A ModelInstance as it is; ``listed``: from kopf's own LIST."""
        ...

    def instance_deleted(self, run: int, key: InstanceKey, uid: str, version: int) -> None:
        """A ModelInstance is gone."""
        ...

    def event_lost(self, run: int, why: str) -> None:
        """An event could not be understood: the next LIST shows what it was about."""
        ...

    def registry_changed(self, run: int, shown: RegistryObject) -> None:
        """The InstanceRegistry as it is."""
        ...

    def registry_deleted(self, run: int, uid: str) -> None:
        """The InstanceRegistry is gone."""
        ...


class NullDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: it would be an annotation on users' objects.

    So there is nothing to compare with, and no copy of each object is made for that at each event.
    """

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[object] | None = None
    ) -> kopf.BodyEssence:
        """Nothing."""
        del body, extra_fields
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        """There is none."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nothing is kept."""


class NullProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: it would be an annotation on users' objects."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """There is none."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is kept."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """There is nothing to purge."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing to clear."""
        return essence


class EndlessBackoffs:
    """Delays between tries of a request, for ever: half a second, one, and then two each."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0), itertools.repeat(2.0))


def settings() -> kopf.OperatorSettings:
    """What was measured to be right for many objects with many changes; see docs/decisions."""
    chosen = kopf.OperatorSettings()
    chosen.persistence.diffbase_storage = NullDiffBase()
    chosen.persistence.progress_storage = NullProgress()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.queueing.idle_timeout = 0.05
    chosen.watching.chunk_size = 500
    chosen.watching.inactivity_timeout = 35
    chosen.networking.request_timeout = 15
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = EndlessBackoffs()
    chosen.execution.default_backoff = 1
    chosen.process.ultimate_exiting_timeout = None
    return chosen


def without_finalizers(handlers: kopf.OperatorRegistry) -> None:
    """Let timers run without a finalizer on their object.

    kopf insists on one for each object with a timer. Left behind by a killed operator it would
    hang the deletion of the object, of its namespace and of the CRD. The timer only writes what
    can be written again at any time, so there is nothing to wait for. This reaches into kopf's
    private registry; a test fails when kopf changes it.
    """
    spawning = handlers._spawning  # noqa: SLF001
    spawning._handlers[:] = [  # noqa: SLF001
        dataclasses.replace(handler, requires_finalizer=False)
        for handler in spawning._handlers  # noqa: SLF001
    ]


def build_handlers(
    access: Access,
    desk: EventDesk,
    hand_over: Callable[..., object],
    tick: Callable[[], Awaitable[None]],
    *,
    run: int,
    namespace: str,
) -> kopf.OperatorRegistry:
    """The handlers of one run.

    ``hand_over`` calls a method of the desk in the thread that owns it, and does not wait.
    ``tick`` is what the timer does, on the InstanceRegistry of ``namespace`` alone.
    """
    handlers = kopf.OperatorRegistry()
    logins = itertools.count()

    @kopf.on.login(registry=handlers, id="login")
    async def login(**_: Any) -> kopf.ConnectionInfo:
        if next(logins):
            await asyncio.sleep(LOGIN_DELAY_SECONDS)
        try:
            return await access.login()
        except AccessError as error:
            raise kopf.TemporaryError(str(error), delay=LOGIN_DELAY_SECONDS) from error

    @kopf.on.event(api.GROUP, api.VERSION, api.MODEL_INSTANCES, registry=handlers, id="mirror")
    async def mirror(event: Any, **_: Any) -> None:
        raw, kind = event["object"], event["type"]
        try:
            if kind == "DELETED":
                metadata = raw["metadata"]
                version = int(metadata["resourceVersion"])
                hand_over(desk.instance_deleted, run, key_of(raw), metadata["uid"], version)
            else:
                hand_over(desk.instance_changed, run, observe(raw), kind is None)
        except (UnreadableError, LookupError, TypeError, ValueError) as error:
            hand_over(desk.event_lost, run, f"{type(error).__name__}: {error}")

    own_namespace = namespace
    present: tuple[int, str | None] = (0, None)  # the InstanceRegistry's last version, and its uid

    def is_registry(name: str | None, namespace: str | None, **_: Any) -> bool:
        return name == api.REGISTRY_NAME and namespace == own_namespace

    def is_present(uid: str | None, name: str | None, namespace: str | None, **_: Any) -> bool:
        """Without a finalizer kopf would never stop the timer of an object that is gone."""
        return is_registry(name, namespace) and uid == present[1]

    @kopf.on.event(
        api.GROUP, api.VERSION, api.INSTANCE_REGISTRIES,
        registry=handlers, id="settings", when=is_registry,
    )  # fmt: skip
    async def follow(event: Any, **_: Any) -> None:
        nonlocal present
        raw = event["object"]
        try:
            uid, version = raw["metadata"]["uid"], int(raw["metadata"]["resourceVersion"])
            deleted = event["type"] == "DELETED"
            if version > present[0] and (not deleted or uid == present[1]):
                present = (version, None if deleted else uid)
            if deleted:
                hand_over(desk.registry_deleted, run, uid)
            else:
                hand_over(desk.registry_changed, run, observe_registry(raw))
        except (UnreadableError, LookupError, TypeError, ValueError) as error:
            hand_over(desk.event_lost, run, f"{type(error).__name__}: {error}")

    @kopf.timer(
        api.GROUP, api.VERSION, api.INSTANCE_REGISTRIES,
        registry=handlers, id="statuses", when=is_present, interval=TIMER_INTERVAL_SECONDS,
    )  # fmt: skip
    async def write(uid: str | None, **_: Any) -> None:
        if uid == present[1]:  # not so when the end of its object was missed
            await tick()

    without_finalizers(handlers)
    return handlers


async def operate(
    handlers: kopf.OperatorRegistry, stop: asyncio.Event, *, scopes: Collection[str]
) -> None:
    """Run kopf in this event loop until ``stop`` is set; raises what ends it otherwise.

    When one of its watchers fails, kopf may wait for the other for ever: cancelled while it logs in
    anew, that one swallows the cancellation. So its end is timed, and no task is left afterwards.
    """
    ending = asyncio.Event()

    @kopf.on.cleanup(registry=handlers, id="ending")
    async def note(**_: Any) -> None:
        ending.set()

    signals = [asyncio.create_task(event.wait()) for event in (ending, stop)]
    working = asyncio.create_task(
        kopf.operator(
            registry=handlers,
            settings=settings(),
            identity=IDENTITY,  # type: ignore[arg-type]  # a str by another, private name
            standalone=True,
            clusterwide=not scopes,
            namespaces=scopes,
            stop_flag=stop,
        )
    )
    try:
        await asyncio.wait({working, *signals}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=ENDING_SECONDS)
        if working.done():
            working.result()
        elif not stop.is_set():
            raise RuntimeError("kopf failed, see above, and did not end by itself")
    finally:
        stop.set()
        await _end_all_tasks()


async def _end_all_tasks() -> None:
    """Cancel all tasks but this one, again and again, as a cancellation may be swallowed."""
    for _ in range(CANCELLATIONS):
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if not rest:
            return
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=0.1)
