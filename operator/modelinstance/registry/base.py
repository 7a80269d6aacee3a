"""The interface of a model registry, as users of DB-GPT know it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelinstance.registry.model_instance import ModelInstance


class ModelRegistry(ABC):
    """Keeps instances of models and tells which of them can be called.

    An instance is identified by its model name, host and port, not by the object.
    """

    @abstractmethod
    async def register_instance(self, instance: ModelInstance) -> bool:
        """Take an instance in, healthy and heard from just now; again refreshes it.

        Returns True.
        """

    @abstractmethod
    async def deregister_instance(self, instance: ModelInstance) -> bool:
        """Let an instance go: it stays listed, unhealthy, unless ``remove_from_registry``.

        Returns True, also for an unknown instance.
        """

    @abstractmethod
    async def get_all_instances(
        self, model_name: str, healthy_only: bool = False
    ) -> list[ModelInstance]:
        """The instances of one model, all or the healthy ones; ``[]`` for an unknown model."""

    @abstractmethod
    async def get_all_model_instances(self, healthy_only: bool = False) -> list[ModelInstance]:
        """The instances of all models, all or the healthy ones."""

    @abstractmethod
    async def select_one_health_instance(self, model_name: str) -> ModelInstance:
        """One healthy and enabled instance of a model, at random by weight.

        Raises `NoHealthyInstanceError`, which names the model, when there is none.
        """

    @abstractmethod
    async def send_heartbeat(self, instance: ModelInstance) -> bool:
        """Say that an instance is alive; one that is unknown is registered.

        Returns False when the instance was deregistered: it has to register again, for a late
        heartbeat must not revive what said goodbye. Otherwise True.
        """
