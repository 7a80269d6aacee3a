"""A live registry of running model-serving instances, as a Kubernetes operator.

What is exported here can also be used without a cluster: the registry class and its instances.
"""

from modelinstance.registry import (
    EmbeddedModelRegistry,
    ImmutableFieldError,
    ModelInstance,
    ModelRegistry,
    NoHealthyInstanceError,
    RegistryError,
)

__all__ = [
    "EmbeddedModelRegistry",
    "ImmutableFieldError",
    "ModelInstance",
    "ModelRegistry",
    "NoHealthyInstanceError",
    "RegistryError",
]
