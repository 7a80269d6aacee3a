"""One spelling for one worker: routers and people write the same URL in several ways."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def normalized(url: str) -> str | None:
    """``scheme://host:port``, or ``None`` for what is no base URL of a worker.

    The scheme and the host in lower case, an IP address in its short form (IPv6 in brackets), the
    port always, no slash in the end. A URL with a path, a query, a fragment or a user is none:
    routers append their own paths.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in DEFAULT_PORTS or not host:
        return None
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    host = host.lower().removesuffix(".")
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        host = f"[{address.compressed}]" if address.version == 6 else address.compressed
    return f"{scheme}://{host}:{port or DEFAULT_PORTS[scheme]}"


def base_of_rank(url: str) -> str | None:
    """The engine of a worker that is one of its data-parallel ranks (``URL@RANK``), or ``None``."""
    base, at, rank = url.strip().rpartition("@")
    return normalized(base) if at and rank.isdigit() else None
