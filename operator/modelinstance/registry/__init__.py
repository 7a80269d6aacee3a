"""The domain: what instances there are, which can be called, and why.

No I/O, no framework, no Kubernetes: time comes from an injected clock, and everything that
decides lives here.
"""

from modelinstance.registry.base import ModelRegistry
from modelinstance.registry.embedded import EmbeddedModelRegistry
from modelinstance.registry.errors import (
    ImmutableFieldError,
    NoHealthyInstanceError,
    RegistryError,
)
from modelinstance.registry.model_instance import ModelInstance

__all__ = [
    "EmbeddedModelRegistry",
    "ImmutableFieldError",
    "ModelInstance",
    "ModelRegistry",
    "NoHealthyInstanceError",
    "RegistryError",
]
