"""How workers are enrolled over HTTP: into the cluster, or into memory alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

from modelinstance.cluster.client import CONFLICT, FORBIDDEN, NOT_FOUND, ClusterError
from modelinstance.cluster.registration import RegistrationWriter
from modelinstance.cluster.translate import UnreadableError
from modelinstance.registry.errors import Refusal, RefusedError
from modelinstance.registry.health.chain import Life
from modelinstance.registry.health.observed import Observed
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID, InstanceKey, InstanceSpec
from modelinstance.registry.intake.registrations import Registered, Registration
from modelinstance.registry.intake.workers import Leftovers, Workers
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.timeline import MAX_STEP_SECONDS

logger = logging.getLogger(__name__)

MAX_HELD = 10_000
"""How many registrations are held in memory while the API server is away."""
NOT_LISTED = "the cluster's resources were not listed yet"
BATCH = 20
MAX_BACKOFF_SECONDS = 5.0
MAX_REFUSALS = 4
"""After so many a held registration is given up: who has just started may know of no rights yet."""


class LocalEnrolment:
    """Enrols workers in memory, for a registry without a cluster.

    ``remove_after`` is the time in seconds after which a dead one is removed.
    """

    def __init__(self, workers: Workers, *, default_namespace: str, remove_after: float) -> None:
        self.default_namespace = default_namespace
        self.removals = 0
        self._workers = workers
        self._leftovers = Leftovers(workers.records)
        self._remove_after = remove_after

    @property
    def held(self) -> int:
        """How many registrations wait to be written: there is nothing to wait for."""
        return 0

    async def register(self, registration: Registration) -> Registered:
        """Enrol a worker; it is taken for heard."""
        known = self._workers.find(registration)
        uid = uuid4().hex if known is None else known.uid
        record = self._workers.enter(registration, uid)
        self._workers.arrive(record, registration.load)
        return Registered(record, created=known is None)

    async def run(self) -> None:
        """Remove those that stay dead, until cancelled."""
        while True:
            for record in self._leftovers.due(self._remove_after):
                logger.info("removed %s, which was dead for too long", record.key)
                self._workers.records.remove(record.key)
                self.removals += 1
            await asyncio.sleep(MAX_STEP_SECONDS)


@dataclass(slots=True)
class _Held:
    """A registration that waits to be written; ``refusals`` are those that may have been early."""

    registration: Registration
    refusals: int = 0


class ClusterEnrolment:
    """Enrols workers by writing their resources.

    While the API server is away they are held in memory, and written later. ``remove_after`` gives
    the seconds after which a dead one's resource is removed. ``on_known`` is called with each
    registration that is not written as a resource stands for it, and with the record of that.
    """

    def __init__(
        self,
        workers: Workers,
        mirror: Mirror,
        writer: RegistrationWriter,
        *,
        default_namespace: str,
        remove_after: Callable[[], float],
    ) -> None:
        self.default_namespace = default_namespace
        self.removals = 0
        self.on_known: list[Callable[[Registration, Record], None]] = []
        self._workers = workers
        self._records = workers.records
        self._mirror = mirror
        self._writer = writer
        self._leftovers = Leftovers(workers.records)
        self._remove_after = remove_after
        self._held: dict[InstanceKey, _Held] = {}
        self._backoff = MAX_STEP_SECONDS

    @property
    def held(self) -> int:
        """How many registrations wait to be written."""
        return len(self._held)

    async def register(self, registration: Registration) -> Registered:
        """Enrol a worker; it is taken for heard. Raises `RefusedError`.

        Where there is a resource already that says the same, or that an owner has written, nothing
        is written.
        """
        view = self._mirror.view_of(registration.namespace)
        if view is None:
            raise RefusedError(
                Refusal.INVALID,
                f"namespace={registration.namespace!r}: this registry does not look after it; "
                f"register in one of {', '.join(sorted(self._mirror.views))}",
            )
        known = self._workers.find(registration)
        if known is not None and known.uid != NO_UID and not self._differs(known, registration):
            self._workers.arrive(known, registration.load)
            self._tell(registration, known)
            return Registered(known, created=False)
        if not view.listed:
            return self._hold(registration, NOT_LISTED, created=known is None)
        mine = self._records.get(registration.key)
        if mine is not None and mine.spec.address != registration.spec.address:
            raise _moved(mine.key, mine.spec)
        try:
            record = self._take(registration, await self._writer.store(registration))
        except ClusterError as error:
            if not error.passing:
                raise _refusal(error) from error
            return self._hold(registration, str(error), created=known is None)
        except UnreadableError as error:
            raise RefusedError(Refusal.CONFLICT, str(error)) from error
        self._held.pop(record.key, None)
        self._workers.arrive(record, registration.load)
        return Registered(record, created=known is None)

    def _tell(self, registration: Registration, known: Record) -> None:
        """Another's resource stands for the worker: who writes it may want to know what it says."""
        for listener in self.on_known:
            listener(registration, known)

    def _differs(self, known: Record, registration: Registration) -> bool:
        """Whether the resource was written from another registration of the same worker."""
        written_from = self._mirror.registration_of(known.key)
        return written_from is not None and written_from != registration.digest

    def _take(self, registration: Registration, observed: Observed) -> Record:
        """The record of the resource that was just written."""
        if observed.spec.address != registration.spec.address:
            raise _moved(observed.key, observed.spec)
        self._mirror.answered(observed)
        record = self._records.get(observed.key)
        if record is None or record.uid != observed.uid:
            raise RefusedError(
                Refusal.BUSY, f"ModelInstance {observed.key} was deleted just now: register again"
            )
        return record

    def _hold(self, registration: Registration, why: str, *, created: bool) -> Registered:
        key = registration.key
        if key not in self._held and len(self._held) >= MAX_HELD:
            raise RefusedError(
                Refusal.BUSY, f"{len(self._held)} registrations wait for the API server already"
            )
        known = self._records.get(key)
        if known is None or known.uid == NO_UID:
            known = self._workers.enter(registration, NO_UID)
        elif known.spec.address != registration.spec.address:
            raise _moved(key, known.spec)
        self._held[key] = _Held(registration)
        self._workers.arrive(known, registration.load)
        logger.info("holding the registration of %s in memory: %s", key, why)
        return Registered(known, created=created, stored=False, why=why)

    async def run(self) -> None:
        """Write what is held and remove what stays dead, until cancelled."""
        while True:
            await asyncio.sleep(self._backoff)
            try:
                await self._write_held()
                await self._remove_dead()
            except ClusterError as error:
                self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)
                logger.info("registrations wait: %s", error)
            else:
                self._backoff = MAX_STEP_SECONDS

    async def _write_held(self) -> None:
        """Write what is held; raises the `ClusterError` that makes waiting worth while."""
        for key in tuple(self._held):
            if self._records.get(key) is None:
                del self._held[key]  # it said goodbye meanwhile, or was dead for too long
        if not self._mirror.synced:
            return
        trouble: ClusterError | None = None
        for batch in _in_batches(self._held.values()):
            ended = await asyncio.gather(*map(self._write, batch), return_exceptions=True)
            for error in ended:
                if isinstance(error, ClusterError):
                    trouble = error if trouble is None or error.passing else trouble
                elif isinstance(error, BaseException):
                    raise error
            if trouble is not None and trouble.passing:
                break
        if trouble is not None:
            raise trouble

    async def _write(self, held: _Held) -> None:
        registration = held.registration
        key, known = registration.key, self._workers.find(registration)
        if known is None or known.uid == NO_UID or self._differs(known, registration):
            try:
                self._take(registration, await self._writer.store(registration))
                logger.info("wrote the registration of %s that was held", key)
            except ClusterError as error:
                if error.passing:
                    raise
                if error.status in {FORBIDDEN, NOT_FOUND}:
                    held.refusals += 1
                    if held.refusals < MAX_REFUSALS:
                        raise
                self._give_up(key, error)
            except (RefusedError, UnreadableError) as error:
                self._give_up(key, error)
        elif known.key != key:
            record = self._records.get(key)
            if record is not None and record.life is Life.HEARD:
                self._workers.arrive(known, record.load)
            self._give_up(key, f"{known.key} stands for it")
            self._tell(registration, known)
        if self._held.get(key) is held:
            del self._held[key]

    def _give_up(self, key: InstanceKey, why: object) -> None:
        """The worker learns of it by its next beat, and registers again."""
        logger.warning("the registration of %s is not written: %s", key, why)
        record = self._records.get(key)
        if record is not None and record.uid == NO_UID:
            self._records.remove(key)

    async def _remove_dead(self) -> None:
        for record in self._leftovers.due(self._remove_after()):
            version = self._mirror.version_of(record.key)
            if version is None:
                self._records.remove(record.key)
            elif await self._writer.remove(record.key, record.uid, version):
                self.removals += 1
                logger.info("removed ModelInstance %s, which was dead for too long", record.key)


def _in_batches(held: Iterable[_Held]) -> Iterable[list[_Held]]:
    waiting = list(held)
    return (waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH))


def _moved(key: InstanceKey, spec: InstanceSpec) -> RefusedError:
    """The worker's own resource is not about the worker any more."""
    return RefusedError(
        Refusal.CONFLICT,
        f"ModelInstance {key} of this worker was edited, and is now about model {spec.model_name} "
        f"at host {spec.host} port {spec.port}: delete it, or set it back",
    )


def _refusal(error: ClusterError) -> RefusedError:
    """What a refusal of the API server means for who wants to register."""
    if error.status == FORBIDDEN:
        return RefusedError(Refusal.FORBIDDEN, str(error))
    if error.status == CONFLICT:
        return RefusedError(Refusal.CONFLICT, str(error))
    return RefusedError(Refusal.INVALID, str(error))
