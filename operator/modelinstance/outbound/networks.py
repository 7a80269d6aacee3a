"""Which IP addresses may be connected to, when a user names them.

Whoever may create a ModelInstance has the operator connect to its address. So what only the
operator's own machine can reach is closed by default: its loopback, its links, and what a cloud
tells the machine alone. An IPv6 address that embeds an IPv4 address leads there, and is judged by
both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Endpoint = tuple[Address, int]
"""An IP address and a TCP port."""

FLAG = "--allowed-network"

NEVER: tuple[tuple[Network, str], ...] = (
    (ip_network("0.0.0.0/8"), "an address of no machine"),
    (ip_network("::/128"), "an address of no machine"),
    (ip_network("224.0.0.0/4"), "a multicast address"),
    (ip_network("ff00::/8"), "a multicast address"),
    (ip_network("255.255.255.255/32"), "the broadcast address"),
)
"""What no setting opens, and what it is."""

CLOSED: tuple[tuple[Network, str], ...] = (
    (ip_network("127.0.0.0/8"), "a loopback address"),
    (ip_network("::1/128"), "a loopback address"),
    (ip_network("169.254.0.0/16"), "a link-local address"),
    (ip_network("fe80::/10"), "a link-local address"),
    # Where clouds tell a machine its credentials, other than at a link-local address.
    (ip_network("100.100.100.200/32"), "the address of a cloud's metadata service"),
    (ip_network("168.63.129.16/32"), "the address of a cloud's metadata service"),
    (ip_network("192.0.0.192/32"), "the address of a cloud's metadata service"),
    (ip_network("fd00:ec2::/32"), "an address of a cloud's metadata services"),
    (ip_network("fd20:ce::254/128"), "the address of a cloud's metadata service"),
    # RFC 8215: where in it the IPv4 address stands is up to each network.
    (ip_network("64:ff9b:1::/48"), "an address that may stand for any IPv4 address"),
)
"""What is open only to a network that was named and lies wholly inside, and what it is."""

_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
"""Prefixes that an IPv4 address follows: NAT64 (RFC 6052), SIIT, and the compatible addresses of
old (RFC 4291). `IPv6Address` itself knows the mapped ones, 6to4 and Teredo."""


@dataclass(frozen=True, slots=True)
class Networks:
    """Where connections may lead.

    ``named`` are the only networks that are open, all unicast addresses where there are none.
    ``servers`` are where the API server listens, which is never open: only what somebody has told
    (see `Guard`).
    """

    named: tuple[Network, ...] = ()
    servers: frozenset[Endpoint] = frozenset()

    def refusal(self, address: Address, port: int) -> str | None:
        """Why there may be no connection to that address, and what would allow it.

        ``None`` when there may be one.
        """
        meant = tuple(_meant(address))
        for one in meant:
            if (one, port) in self.servers:
                return f"{address} port {port} is the API server, which is never asked"
        for one in meant:
            if (what := _within(one, NEVER)) is not None:
                return f"{address} is {what[1]}, which is never asked"
        for one in meant:
            if (what := _within(one, CLOSED)) is not None and not self._opens(one, what[0]):
                return f"{address} is {what[1]}; {_would_allow(one)}"
        if self.named and not self._names(meant):
            return (
                f"{address} is in none of the networks that {FLAG} names; {_would_allow(meant[0])}"
            )
        return None

    def _names(self, meant: tuple[Address, ...]) -> bool:
        """Whether networks were named that hold an address, or all that it embeds."""
        itself, *embedded = (any(one in network for network in self.named) for one in meant)
        return itself or (bool(embedded) and all(embedded))

    def _opens(self, address: Address, closed: Network) -> bool:
        """Whether a network was named that holds an address and lies wholly inside of another."""
        return any(address in network and _lies_in(network, closed) for network in self.named)


def _within(address: Address, table: tuple[tuple[Network, str], ...]) -> tuple[Network, str] | None:
    return next((entry for entry in table if address in entry[0]), None)


def _lies_in(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


def _would_allow(address: Address) -> str:
    return f"{FLAG}={ip_network(address)} would allow it"


def _meant(address: Address) -> Iterator[Address]:
    """The address without a zone, and the IPv4 addresses that it embeds."""
    if isinstance(address, IPv4Address):
        yield address
        return
    address = IPv6Address(int(address))
    yield address
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) > 1 and any(address in prefix for prefix in _TRANSLATED):
        yield IPv4Address(int(address) & 0xFFFFFFFF)
