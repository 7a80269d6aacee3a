"""The custom resources of the API group ``modelinstance.dev``.

The pydantic models are the one source of the CRDs in ``crds/``.
"""

GROUP = "modelinstance.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MODEL_INSTANCES = "modelinstances"
INSTANCE_REGISTRIES = "instanceregistries"

HEARTBEAT_ANNOTATION = "modelinstance.dev/heartbeat"
"""A worker's sign of life: any value that it has not shown before, by convention the time."""

REGISTRATION_ANNOTATION = "modelinstance.dev/registration"
"""On a resource that was written for a worker: a digest of what the worker said."""

REGISTRY_NAME = "default"
"""The name of the one InstanceRegistry that the operator reads and writes."""
