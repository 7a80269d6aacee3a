"""Ports that are free and stay so."""

import socket
from pathlib import Path

import pytest

from controlplane import ports


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as listener:
        assert listener.getsockname()[1]


def test_it_is_none_of_those_given_to_outgoing_connections() -> None:
    told = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    low, high = map(int, told.split())
    assert not low <= ports.free_port() <= high


def test_a_port_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as listener:
        taken = listener.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", taken)
        monkeypatch.setattr(ports, "_ephemeral_start", lambda: taken + 1)
        assert ports.free_port() != taken
