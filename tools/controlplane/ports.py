"""Free ports on loopback that stay usable while their server is down for a time."""

import random
import socket
from pathlib import Path

_FIRST = 20000
_TRIES = 200


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    It is taken from below the range that the kernel gives to outgoing connections. A port within
    that range can be lost while its server is being restarted: to any other client, or to the
    server's own client, which then connects to itself. Another process may still take the port
    between this call and its use, so a caller has to be ready to ask again.
    """
    ports = range(_FIRST, max(_ephemeral_start(), _FIRST))
    for port in random.sample(ports, min(_TRIES, len(ports))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ephemeral_start() -> int:
    try:
        told = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    except OSError:
        return 32768
    return int(told.split()[0])
