"""Reading answers whose length is not to be trusted."""

from __future__ import annotations

import aiohttp

CHUNK_BYTES = 2**16


async def body_of(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body of a response, or ``None`` if it is longer than so many bytes."""
    read, parts = 0, []
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        read += len(part)
        if read > most:
            return None
        parts.append(part)
    return b"".join(parts)
