"""What a worker says when it registers, and the resource that comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b

from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import Incarnation, InstanceKey, InstanceSpec
from modelinstance.registry.load import Load

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "modelinstance-registration"
"""Who owns what a registration has set, also in the label `MANAGED_BY`."""
MAX_SLUG = 40


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod that a worker runs in."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker asks to be listed. ``labels`` are those of its own choice.

    ``pod`` is to own its resource, in the same namespace.
    """

    namespace: str
    spec: InstanceSpec
    labels: Mapping[str, str] = field(default_factory=dict)
    load: Load | None = None
    pod: Pod | None = None

    @property
    def key(self) -> InstanceKey:
        """The name of its resource, worked out from its address: racing replicas make one object.

        It begins with what is left of the model name, for people.
        """
        address = self.spec.address
        parts = (self.namespace, address.model_name, address.host, str(address.port))
        digest = blake2b("\0".join(parts).encode(), digest_size=5).hexdigest()
        slug = re.sub(r"[^a-z0-9]+", "-", address.model_name.lower())[:MAX_SLUG].strip("-")
        return InstanceKey(self.namespace, f"{slug or 'model'}-{digest}")

    @property
    def early_id(self) -> str:
        """The id of its incarnation while its resource has no uid yet."""
        return Incarnation(str(self.key), self.spec.address).id

    @property
    def all_labels(self) -> dict[str, str]:
        """Its labels, with the one that tells where it came from."""
        return {**self.labels, MANAGED_BY: MANAGER}

    @property
    def digest(self) -> str:
        """Tells whether two registrations ask for the same resource."""
        asked = asdict(self.spec) | {"aliases": sorted(self.spec.aliases)}
        del asked["probe"]  # a registration has none
        said = [asked, sorted(self.labels.items())]
        if self.pod is not None:
            said.append([self.pod.name, self.pod.uid])
        text = json.dumps(said, sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()


def is_registered(record: Record) -> bool:
    """Whether a record came by registration, and not by an owner's hand."""
    return record.labels.get(MANAGED_BY) == MANAGER


@dataclass(frozen=True, slots=True)
class Registered:
    """How a registration ended.

    ``created`` is whether the instance is new. ``stored`` is false while its resource could not be
    written; ``why`` says why not.
    """

    record: Record
    created: bool
    stored: bool = True
    why: str = ""
