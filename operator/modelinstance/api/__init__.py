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

POD_PREFIX = "modelinstance.dev/"
"""What the annotations of a pod begin with that describe its instance."""

MODEL_LABEL = "modelinstance.dev/model"
"""On a pod: keep a ModelInstance for it, of that model."""

POD_DIGEST_ANNOTATION = "modelinstance.dev/pod-digest"
"""On a resource that was written for a pod: a digest of what the pod asked for."""

POD_GATE = "modelinstance.dev/routable"
"""A readiness gate of a pod: the registry sends requests there."""

REGISTRY_NAME = "default"
"""The name of the one InstanceRegistry that the operator reads and writes."""
