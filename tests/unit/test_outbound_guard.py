"""Where the API server is known to be."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from modelinstance.outbound import guard as module
from modelinstance.outbound import lookup
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT", raising=False)


class Told:
    """Tells where the API server is."""

    def __init__(self, *places: str) -> None:
        self.places = list(places)

    async def __call__(self) -> list[str]:
        return self.places


def is_closed(guard: Guard, address: str, port: int) -> bool:
    """Whether there may be no connection there."""
    return guard.refusal(ip_address(address), port) is not None


@pytest.mark.parametrize(
    ("place", "address", "port"),
    [
        ("https://10.0.0.1:6443", "10.0.0.1", 6443),
        ("https://10.0.0.1", "10.0.0.1", 443),
        ("https://[fd00::1]:6443/", "fd00::1", 6443),
        ("10.0.0.1:6443", "10.0.0.1", 6443),
        ("[fd00::1]:6443", "fd00::1", 6443),
        ("https://localhost:6443", "127.0.0.1", 6443),
    ],
)
async def test_each_way_of_telling_is_understood(place: str, address: str, port: int) -> None:
    guard = Guard(Networks((ip_network(address),)), Told(place))
    assert not is_closed(guard, address, port)
    await guard.refresh()
    assert is_closed(guard, address, port)
    assert not is_closed(guard, address, port + 1)


@pytest.mark.parametrize("host", ["10.96.0.1", "fd00::1"])
async def test_the_service_is_known_from_the_environment(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    guard = Guard(Networks(), Told())
    await guard.refresh()
    assert is_closed(guard, host, 443)


async def test_what_is_no_address_is_left_out() -> None:
    guard = Guard(Networks(), Told("", ":x", "https://[", "host.invalid:1", "10.0.0.1:6443"))
    await guard.refresh()
    assert guard.networks.servers == {(ip_address("10.0.0.1"), 6443)}


async def test_servers_that_answer_by_turns_are_all_known_for_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("modelinstance.outbound.guard.time.monotonic", lambda: now)
    told = Told("10.0.0.1:6443")
    guard = Guard(Networks(), told)
    await guard.refresh()
    told.places = ["10.0.0.2:6443"]
    now += module.FORGET_SECONDS - 1
    await guard.refresh()
    assert is_closed(guard, "10.0.0.1", 6443)
    assert is_closed(guard, "10.0.0.2", 6443)
    now += 2
    await guard.refresh()
    assert not is_closed(guard, "10.0.0.1", 6443)
    assert is_closed(guard, "10.0.0.2", 6443)


async def test_nothing_is_ready_before_it_was_asked_where_the_api_server_is() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def read() -> list[str]:
        asked.set()
        await answer.wait()
        return []

    guard = Guard(Networks(), read)
    following = asyncio.create_task(guard.follow())
    ready = asyncio.create_task(guard.ready())
    await asked.wait()
    assert not ready.done()
    answer.set()
    await asyncio.wait_for(ready, 5)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The resolver answers to nothing until this is set, but to ``quick`` at once."""
    go = threading.Event()

    def resolve(host: str, *rest: object, **options: object) -> list[Any]:
        if host != "quick":
            go.wait(30)
        if host == "missing":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 0))] * 2

    monkeypatch.setattr("modelinstance.outbound.lookup.socket.getaddrinfo", resolve)
    yield go
    go.set()


async def test_a_lookup_that_nobody_waits_for_keeps_its_place_until_it_ends(
    slow_names: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "MAX_LOOKUPS", 2)
    lookups = lookup.Lookup()
    slow = [await lookups.begin("slow") for _ in range(2)]
    for future in slow:
        future.cancel()
    behind = asyncio.create_task(lookups.begin("quick"))
    await asyncio.sleep(0)
    assert not behind.done()
    slow_names.set()
    assert await (await asyncio.wait_for(behind, 5)) == [ip_address("10.0.0.9")]


async def test_a_name_that_is_not_known_is_an_error(slow_names: threading.Event) -> None:
    slow_names.set()
    lookups = lookup.Lookup()
    with pytest.raises(OSError, match="not known"):
        await (await lookups.begin("missing"))


async def test_what_python_cannot_encode_as_a_name_is_an_error() -> None:
    with pytest.raises(OSError, match="no host name"):
        await (await lookup.Lookup().begin("a" * 64 + ".example"))
