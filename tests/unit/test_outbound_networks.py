"""Which addresses may be connected to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.outbound.networks import CLOSED, NEVER, Address, Networks

DEFAULT = Networks()

OPEN = [
    "10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "1.0.0.0", "126.255.255.255",
    "128.0.0.1", "169.253.255.255", "169.255.0.0", "223.255.255.255", "240.0.0.1",
    "255.255.255.254", "100.100.100.201", "168.63.129.15",
    "fd00::5", "fc00::1", "2001:db8::1", "2a00:1450::1", "fec0::1", "fe7f:ffff::1",
    "::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "2002:0a00:0005::1", "64:ff9a::1",
]  # fmt: skip

SHUT = {
    "127.0.0.1": "a loopback address", "127.255.255.254": "a loopback address",
    "::1": "a loopback address", "::1%lo": "a loopback address",
    "0.0.0.0": "no machine", "0.1.2.3": "no machine", "::": "no machine",
    "169.254.169.254": "a link-local address", "169.254.0.0": "a link-local address",
    "169.254.255.255": "a link-local address",
    "fe80::1": "a link-local address", "fe80::1%eth0": "a link-local address",
    "febf:ffff::1": "a link-local address",
    "100.100.100.200": "a cloud's metadata service", "168.63.129.16": "a cloud's metadata service",
    "192.0.0.192": "a cloud's metadata service",
    "fd00:ec2::254": "a cloud's metadata services", "fd20:ce::254": "a cloud's metadata service",
    "224.0.0.1": "a multicast address", "239.255.255.255": "a multicast address",
    "ff02::1": "a multicast address", "255.255.255.255": "the broadcast address",
    "::ffff:127.0.0.1": "a loopback address", "::ffff:7f00:1": "a loopback address",
    "::ffff:169.254.169.254": "a link-local address", "::ffff:0.0.0.0": "no machine",
    "::ffff:224.0.0.1": "a multicast address",
    "64:ff9b::127.0.0.1": "a loopback address", "64:ff9b::a9fe:a9fe": "a link-local address",
    "64:ff9b:1::10.0.0.5": "may stand for any IPv4 address",
    "2002:7f00:0001::1": "a loopback address", "2002:a9fe:a9fe::": "a link-local address",
    "::127.0.0.1": "a loopback address", "::ffff:0:127.0.0.1": "a loopback address",
    "2001:0:7f00:1::1": "a loopback address",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "a loopback address",
}  # fmt: skip


def refusal(address: str, *named: str, port: int = 80) -> str | None:
    """Why there may be no connection, where such networks are named."""
    return Networks(tuple(map(ip_network, named))).refusal(ip_address(address), port)


@pytest.mark.parametrize("address", OPEN)
def test_unicast_addresses_are_open_by_default(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(("address", "what"), SHUT.items())
def test_what_only_this_machine_reaches_is_closed_by_default(address: str, what: str) -> None:
    why = refusal(address)
    assert why is not None
    assert why.startswith(f"{ip_address(address)} is ")
    assert what in why


@pytest.mark.parametrize("address", SHUT)
def test_a_network_of_everything_opens_nothing_that_is_closed(address: str) -> None:
    assert refusal(address, "0.0.0.0/0", "::/0") is not None


CASES: list[tuple[str, list[str], str | None]] = [
    ("10.0.0.5", ["10.0.0.0/8"], None),
    ("11.0.0.5", ["10.0.0.0/8"], "--allowed-network=11.0.0.5/32 would allow it"),
    ("fd00::5", ["10.0.0.0/8"], "--allowed-network=fd00::5/128 would allow it"),
    ("fd00::5", ["10.0.0.0/8", "fd00::/8"], None),
    ("::ffff:10.0.0.5", ["10.0.0.0/8"], None),
    ("::ffff:10.0.0.5", ["::ffff:0:0/96"], None),
    ("::ffff:11.0.0.5", ["10.0.0.0/8"], "would allow it"),
    # Teredo: 10.0.0.5 is the server alone, and it leads to 203.0.113.1.
    ("2001:0:a00:5::34ff:8efe", ["10.0.0.0/8"], "in none of the networks"),
    ("2001:0:a00:5::34ff:8efe", ["10.0.0.0/8", "203.0.113.0/24"], None),
    ("2001:0:a00:5::34ff:8efe", ["2001::/32"], None),
    ("127.0.0.1", ["10.0.0.0/8"], "--allowed-network=127.0.0.1/32 would allow it"),
    ("127.0.0.1", ["127.0.0.0/8"], None),
    ("127.0.0.1", ["127.0.0.1/32"], None),
    ("127.0.0.2", ["127.0.0.1/32"], "a loopback address"),
    ("127.0.0.1", ["126.0.0.0/7"], "a loopback address"),
    ("::ffff:127.0.0.1", ["127.0.0.0/8"], None),
    ("::1", ["127.0.0.0/8"], "--allowed-network=::1/128 would allow it"),
    ("::1", ["::1/128"], None),
    ("169.254.1.1", ["169.254.0.0/16"], None),
    ("169.254.169.254", ["127.0.0.0/8"], "a link-local address"),
    ("169.254.169.254", ["169.254.1.0/24"], "a link-local address"),
    ("fe80::1", ["fe80::/10"], None),
    ("fe80::1%eth0", ["fe80::/64"], None),
    ("fd00:ec2::254", ["fd00::/8"], "--allowed-network=fd00:ec2::254/128 would allow it"),
    ("fd00:ec2::254", ["fd00:ec2::/64"], None),
    ("64:ff9b::a9fe:a9fe", ["64:ff9b::/96"], "a link-local address"),
    ("64:ff9b:1::1", ["64:ff9b:1::/96"], None),
    ("8.8.8.8", ["127.0.0.0/8"], "in none of the networks that --allowed-network names"),
    ("0.0.0.0", ["0.0.0.0/8"], "an address of no machine, which is never asked"),
    ("224.0.0.1", ["224.0.0.0/4"], "a multicast address, which is never asked"),
    ("255.255.255.255", ["255.255.255.255/32"], "the broadcast address, which is never asked"),
]


@pytest.mark.parametrize(("address", "named", "why"), CASES)
def test_named_networks_are_the_only_ones(address: str, named: list[str], why: str | None) -> None:
    found = refusal(address, *named)
    assert (found is None) if why is None else (found is not None and why in found)


@pytest.mark.parametrize("address", ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::10.96.0.1"])
@pytest.mark.parametrize("named", [(), ("10.96.0.1/32",), ("0.0.0.0/0",)])
def test_the_api_server_is_never_open(address: str, named: tuple[str, ...]) -> None:
    server = (ip_address("10.96.0.1"), 443)
    networks = Networks(tuple(map(ip_network, named)), frozenset({server}))
    why = networks.refusal(ip_address(address), 443)
    assert why == f"{ip_address(address)} port 443 is the API server, which is never asked"
    assert networks.refusal(ip_address(address), 8000) is None, "another port is another server"


def bits(network: str) -> st.SearchStrategy[Address]:
    """Any address of a network."""
    within = ip_network(network)
    first, last = int(within[0]), int(within[-1])
    kind = IPv4Address if within.version == 4 else IPv6Address
    return st.integers(first, last).map(kind)


CLOSED_ADDRESSES = st.one_of([bits(str(network)) for network, _ in (*CLOSED, *NEVER)])


def forms(address: Address) -> list[Address]:
    """The address, and the IPv6 addresses that embed it."""
    if isinstance(address, IPv6Address):
        return [address]
    number = int(address)
    return [
        address,
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0xFFFF << 48) | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(int(IPv6Address("2002::")) | number << 80),
        IPv6Address(int(IPv6Address("2001::")) | number << 64 | 0xFFFFFFFF),
        IPv6Address(int(IPv6Address("2001::")) | (number ^ 0xFFFFFFFF)),
    ]


@given(CLOSED_ADDRESSES, st.sampled_from([(), ("0.0.0.0/0", "::/0"), ("0.0.0.0/1", "::/1")]))
def test_no_closed_address_is_open_in_any_form(address: Address, named: tuple[str, ...]) -> None:
    for form in forms(address):
        assert refusal(str(form), *named) is not None, form
        assert refusal(form.exploded, *named) is not None, form


@given(bits("0.0.0.0/0") | bits("::/0"))
def test_a_refusal_names_what_would_allow_it_unless_nothing_would(address: Address) -> None:
    why = DEFAULT.refusal(address, 80)
    if why is None:
        return
    _, flag, network = why.rpartition("--allowed-network=")
    if flag:
        assert refusal(str(address), network.removesuffix(" would allow it")) is None
    else:
        assert why.endswith("never asked")
