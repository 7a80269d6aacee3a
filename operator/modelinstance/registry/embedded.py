"""The registry class that users of DB-GPT know, as a shell over the records.

The operator runs this class: it mirrors resources into `EmbeddedModelRegistry.records`.
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypedDict, TypeVar, overload

from modelinstance.registry.base import ModelRegistry
from modelinstance.registry.clock import Clock
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import InstanceKey, InstanceSpec, Rotation
from modelinstance.registry.model_instance import ModelInstance
from modelinstance.registry.records.records import Records
from modelinstance.registry.timeline import MAX_STEP_SECONDS

T = TypeVar("T")

PLAIN_NAMESPACE = ""
"""The namespace of records that were registered by a caller of the class."""


class _Identity(TypedDict):
    model_name: str
    host: str
    port: int


class InstanceList(Sequence[ModelInstance]):
    """The instances of one model, as they are whenever it is read."""

    def __init__(self, registry: EmbeddedModelRegistry, model_name: str) -> None:
        self._registry = registry
        self._model_name = model_name

    def _snapshot(self) -> list[ModelInstance]:
        return self._registry.sync_get_all_instances(self._model_name)

    @overload
    def __getitem__(self, index: int) -> ModelInstance: ...
    @overload
    def __getitem__(self, index: slice) -> list[ModelInstance]: ...
    def __getitem__(self, index: int | slice) -> ModelInstance | list[ModelInstance]:
        return self._snapshot()[index]

    def __len__(self) -> int:
        return len(self._snapshot())

    def __iter__(self) -> Iterator[ModelInstance]:
        return iter(self._snapshot())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (InstanceList, list)):
            return self._snapshot() == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a live view has no lasting value

    def __repr__(self) -> str:
        return repr(self._snapshot())


class ModelsView(Mapping[str, InstanceList]):
    """All models, as they are whenever it is read. Reading an unknown name adds nothing."""

    def __init__(self, registry: EmbeddedModelRegistry) -> None:
        self._registry = registry

    def __getitem__(self, model_name: str) -> InstanceList:
        return InstanceList(self._registry, model_name)

    @overload
    def get(self, model_name: str, /) -> InstanceList | None: ...
    @overload
    def get(self, model_name: str, /, default: InstanceList | T) -> InstanceList | T: ...
    def get(self, model_name: str, /, default: object = None) -> object:
        """The instances of a model, or the default for an unknown one."""
        return self[model_name] if model_name in self else default  # noqa: SIM401 - it is get

    def __iter__(self) -> Iterator[str]:
        return self._registry.records.models()

    def __len__(self) -> int:
        return self._registry.records.totals().models

    def __contains__(self, model_name: object) -> bool:
        return isinstance(model_name, str) and self._registry.records.has_model(model_name)

    def __repr__(self) -> str:
        return repr({name: list(instances) for name, instances in self.items()})


class EmbeddedModelRegistry(ModelRegistry):
    """A registry in the memory of this process, which finds out by itself who is silent.

    ``heartbeat_timeout_secs`` is the silence after which an instance is unhealthy.
    ``heartbeat_interval_secs`` is the time between two runs of the checker, which marks the silent
    ones; 0 has it run at each deadline. A call that asks for healthy instances never waits for it.

    The checker starts with the first call inside a running event loop. Time counts only while
    somebody attends: each look at the clock, by the checker or by a call, adds what has passed, at
    most one second, so that a stopped or late process is never taken for silent workers.

    The ``sync_`` forms may be called from any thread.
    """

    def __init__(
        self,
        heartbeat_interval_secs: float = 60,
        heartbeat_timeout_secs: float = 120,
        *,
        clock: Clock | None = None,
    ) -> None:
        if heartbeat_interval_secs < 0:
            raise ValueError(
                f"heartbeat_interval_secs={heartbeat_interval_secs!r}: give 0 or more seconds"
            )
        if heartbeat_timeout_secs <= 0:
            raise ValueError(
                f"heartbeat_timeout_secs={heartbeat_timeout_secs!r}: give more than 0 seconds"
            )
        self.heartbeat_interval_secs = heartbeat_interval_secs
        self.records = Records(heartbeat_timeout_secs, clock=clock)
        self.records.on_verdict(self._show)
        self.registry: Mapping[str, InstanceList] = ModelsView(self)
        self._lock = threading.RLock()
        self._checker: asyncio.Task[None] | None = None
        self._checked_at = self.records.local.now

    @property
    def heartbeat_timeout_secs(self) -> float:
        """The seconds of silence after which an instance is unhealthy."""
        return self.records.default_timeout

    # -- DB-GPT's calls --------------------------------------------------------------------------

    async def register_instance(self, instance: ModelInstance) -> bool:
        """See `ModelRegistry`. Raises `ValueError` for a bad field of the instance."""
        return self.sync_register_instance(instance)

    async def deregister_instance(self, instance: ModelInstance) -> bool:
        """See `ModelRegistry`."""
        return self.sync_deregister_instance(instance)

    async def get_all_instances(
        self, model_name: str, healthy_only: bool = False
    ) -> list[ModelInstance]:
        """See `ModelRegistry`."""
        return self.sync_get_all_instances(model_name, healthy_only)

    async def get_all_model_instances(self, healthy_only: bool = False) -> list[ModelInstance]:
        """See `ModelRegistry`."""
        return self.sync_get_all_model_instances(healthy_only)

    async def select_one_health_instance(self, model_name: str) -> ModelInstance:
        """See `ModelRegistry`."""
        return self.sync_select_one_health_instance(model_name)

    async def send_heartbeat(self, instance: ModelInstance) -> bool:
        """See `ModelRegistry`. Raises `ValueError` for a bad field of the instance."""
        return self.sync_send_heartbeat(instance)

    def sync_register_instance(self, instance: ModelInstance) -> bool:
        """`register_instance` for callers without a coroutine."""
        spec = _spec(instance)
        with self._attending():
            record = self.records.at(spec.address)
            if record is None:
                record = self._admit(instance, spec)
            else:
                self._refresh(record, instance)
            self.records.set_deregistered(record, deregistered=False)
            self._beat(record)
        return True

    def sync_deregister_instance(self, instance: ModelInstance) -> bool:
        """`deregister_instance` for callers without a coroutine."""
        with self._attending():
            record = self.records.at(instance.address)
            if record is None:
                return True
            if not instance.remove_from_registry:
                self.records.set_deregistered(record, deregistered=True)
                return True
            self.records.remove(record.key)
            if record.handle is not None:
                record.handle.disregard(self._assigned)
                record.handle.show(healthy=False)
        return True

    def sync_get_all_instances(
        self, model_name: str, healthy_only: bool = False
    ) -> list[ModelInstance]:
        """`get_all_instances` for callers without a coroutine."""
        with self._attending():
            if healthy_only:
                self.records.expire()
            return [
                self._handle(record)
                for record in self.records.named(model_name)
                if record.spec.model_name == model_name and (record.alive or not healthy_only)
            ]

    def sync_get_all_model_instances(self, healthy_only: bool = False) -> list[ModelInstance]:
        """`get_all_model_instances` for callers without a coroutine."""
        with self._attending():
            if healthy_only:
                self.records.expire()
            return [
                self._handle(record) for record in self.records if record.alive or not healthy_only
            ]

    def sync_select_one_health_instance(self, model_name: str) -> ModelInstance:
        """`select_one_health_instance` for callers without a coroutine."""
        with self._attending():
            return self._handle(self.records.select(model_name))

    def sync_send_heartbeat(self, instance: ModelInstance) -> bool:
        """`send_heartbeat` for callers without a coroutine."""
        with self._attending():
            record = self.records.at(instance.address)
            if record is None:
                return self.sync_register_instance(instance)
            if record.deregistered:
                return False
            self._beat(record)
        return True

    # -- the checker -----------------------------------------------------------------------------

    def check(self) -> float:
        """Run the checker if its time has come; returns the seconds until it should look again."""
        with self._lock:
            now = self.records.attend()
            if now - self._checked_at >= self.heartbeat_interval_secs:
                self._checked_at = now
                self.records.expire()
            until = MAX_STEP_SECONDS
            if self.heartbeat_interval_secs:
                until = min(until, self._checked_at + self.heartbeat_interval_secs - now)
            elif (deadline := self.records.local.next_deadline()) is not None:
                until = min(until, deadline - now)
            return max(until, 0.001)

    def _attending(self) -> threading.RLock:
        """The lock to hold during a call; sees to it that the checker runs where it can."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._lock
        checker = self._checker
        if checker is None or checker.done() or checker.get_loop() is not loop:
            self._checker = loop.create_task(
                _check_forever(weakref.ref(self)), name="modelinstance heartbeat checker"
            )
        return self._lock

    # -- handles ---------------------------------------------------------------------------------

    def _admit(self, instance: ModelInstance, spec: InstanceSpec) -> Record:
        """Make a record for an instance that is new; its object is the one to be listed."""
        key = InstanceKey(PLAIN_NAMESPACE, f"{spec.model_name}@{spec.host}:{spec.port}")
        record = self.records.put(key, "", spec, created=len(self.records))
        record.handle = instance
        instance.observe(self._assigned)
        return record

    def _refresh(self, record: Record, instance: ModelInstance) -> None:
        """Take over what a second registration may change."""
        handle = self._handle(record)
        if handle is not instance:
            handle.weight = instance.weight
            handle.prompt_template = instance.prompt_template

    def _handle(self, record: Record) -> ModelInstance:
        """The object that stands for a record; for one that came otherwise it is made at need."""
        if record.handle is None:
            record.handle = ModelInstance(**_identity(record))
            record.handle.observe(self._assigned)
        if record.key.namespace != PLAIN_NAMESPACE:
            spec = record.spec
            record.handle.show(
                **_identity(record),
                weight=spec.weight,
                check_healthy=spec.heartbeat_required,
                enabled=spec.rotation is Rotation.ACTIVE,
            )
            self._show(record)
        return record.handle

    def _beat(self, record: Record) -> None:
        self.records.beat(record)
        self._show(record)

    def _show(self, record: Record) -> None:
        """Let the listed object say what the record says."""
        if record.handle is not None:
            beat = record.last_beat
            local = None if beat is None else beat.astimezone().replace(tzinfo=None)
            record.handle.show(healthy=record.alive, last_heartbeat=local)

    def _assigned(self, instance: ModelInstance, field: str) -> None:
        """A caller has assigned to a field of an object that may be listed."""
        with self._lock:
            record = self.records.at(instance.address)
            if record is None or record.handle is not instance:
                return
            if field == "healthy":
                self.records.set_by_caller(record, healthy=bool(instance.healthy))
            elif field == "last_heartbeat":
                self.records.set_age(record, self._age(instance.last_heartbeat))
            elif field in {"weight", "enabled", "check_healthy"}:
                self._edit(record, instance)
            self._show(record)

    def _edit(self, record: Record, instance: ModelInstance) -> None:
        """Take over what a caller assigned; a weight that is refused is put back."""
        try:
            edited = _spec(instance)
        except ValueError:
            instance.show(weight=record.spec.weight)
            raise
        spec = replace(
            record.spec,
            weight=edited.weight,
            rotation=edited.rotation,
            heartbeat_required=edited.heartbeat_required,
        )
        self.records.put(
            record.key,
            record.uid,
            spec,
            created=record.created,
            labels=record.labels,
            deleting=record.deleting,
        )

    def _age(self, last_heartbeat: datetime | None) -> float:
        """How many seconds ago that was; ``None`` is longer ago than any timeout."""
        if last_heartbeat is None:
            return math.inf
        ago = self.records.clock.wall() - last_heartbeat.astimezone()
        return max(ago.total_seconds(), 0.0)


async def _check_forever(registry: weakref.ref[EmbeddedModelRegistry]) -> None:
    """Run a registry's checker until the registry is gone."""
    while (alive := registry()) is not None:
        until = alive.check()
        del alive
        await asyncio.sleep(until)


def _spec(instance: ModelInstance) -> InstanceSpec:
    """What an instance object asks for. Raises `ValueError` for a bad field."""
    address = instance.address
    if not address.model_name:
        raise ValueError(f"model_name={instance.model_name!r}: give the name of a model")
    if not address.host:
        raise ValueError(f"host={instance.host!r}: give an IP address or a DNS name")
    if isinstance(address.port, bool) or not 1 <= address.port <= 65535:
        raise ValueError(f"port={instance.port!r}: give a number from 1 to 65535")
    weight = 1.0 if instance.weight is None else instance.weight
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight={instance.weight!r}: give a number of 0 or more")
    return InstanceSpec(
        model_name=address.model_name,
        host=address.host,
        port=address.port,
        weight=weight,
        rotation=Rotation.ACTIVE if instance.enabled else Rotation.DISABLED,
        heartbeat_required=bool(instance.check_healthy),
    )


def _identity(record: Record) -> _Identity:
    spec = record.spec
    return {"model_name": spec.model_name, "host": spec.host, "port": spec.port}
