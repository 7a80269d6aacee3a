"""What an instance is: its identity, its address and what its owner asks for.

Values only: frozen, comparable, free of any notion of time, health or transport.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from ipaddress import ip_address

DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
"""A part of a DNS name, and the name of a namespace (RFC 1123), as a pattern."""
DNS_NAME = rf"(?=.{{1,253}}\Z){DNS_LABEL}(?:\.{DNS_LABEL})*"
"""A whole DNS name, as a pattern."""
NO_UID = ""
"""Stands for the uid of a resource that is yet to be written, or where there are no resources."""


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """The name under which a record is kept, unique in a registry.

    Plain users of the registry class live in the namespace ``""``.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one model is served: two records with one address are in conflict."""

    model_name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a resource: a new uid or a new address has to be heard from anew."""

    uid: str
    address: Address

    @property
    def id(self) -> str:
        """The name under which workers speak of it: 16 hexadecimal digits.

        It is worked out, not given out, so every replica and every restart knows the same one.
        """
        address = self.address
        parts = (self.uid, address.model_name, address.host, str(address.port))
        return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


class Rotation(StrEnum):
    """What the owner wants routers to do with an instance."""

    ACTIVE = "Active"
    DRAINING = "Draining"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """What the registry itself is to ask an instance. Times are in seconds.

    So many successes or failures in a row turn the verdict.
    """

    path: str
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What the owner of an instance asks for.

    ``weight`` is a share relative to the other instances of a model (1.0 is the usual one; 0 is
    listed and never picked). ``heartbeat_timeout`` is in seconds; ``None`` means the registry's.
    Without ``probe`` nobody asks the instance.
    """

    model_name: str
    host: str
    port: int
    scheme: str = "http"
    base_path: str = ""
    aliases: frozenset[str] = frozenset()
    weight: float = 1.0
    rotation: Rotation = Rotation.ACTIVE
    heartbeat_required: bool = True
    heartbeat_timeout: float | None = None
    probe: ProbeSpec | None = None

    @property
    def address(self) -> Address:
        """The address that this instance claims."""
        return Address(self.model_name, self.host, self.port)

    @property
    def names(self) -> frozenset[str]:
        """Every name that routers may ask for and get this instance."""
        return self.aliases | {self.model_name}

    @property
    def url(self) -> str:
        """The base URL, with an IPv6 host in brackets (RFC 3986, 3.2.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path}"


def normalize_host(host: str) -> str:
    """One spelling for one host: lower case, no trailing dot; IP addresses in their short form."""
    host = host.strip().lower().removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return ip_address(host).compressed
    except ValueError:
        return host
