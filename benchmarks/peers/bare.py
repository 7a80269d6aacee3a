"""The least that a server can do here: an ASGI app that answers a constant.

Its headers and its body are those of a real answer, on standard input as JSON. ``IMPATIENT=1``
puts our limits on the reading of a request before it, to tell what they cost.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from peers import fleet


def build(_: fleet.Fleet) -> Any:
    """The app."""
    answer = json.load(sys.stdin)
    body = answer["body"].encode()
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(name.encode(), value.encode()) for name, value in answer["headers"]],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


def protocol() -> Any:
    """Whose protocol: uvicorn's own, or ours."""
    if not os.environ.get("IMPATIENT"):
        return "httptools"
    from modelinstance.http.patience import ImpatientProtocol  # noqa: PLC0415 - for ours alone

    return ImpatientProtocol


if __name__ == "__main__":
    fleet.main(build, protocol())
