"""`modelinstance serve`, the program itself: how it is started and filled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from load import Call, Server
from peers.fleet import PORT, Fleet

COMMAND = [
    str(Path(sys.executable).with_name("modelinstance")),
    *("serve", "--host", "127.0.0.1", "--heartbeat-timeout", "86400"),
]


def register(server: Server, fleet: Fleet) -> list[str]:
    """Register the instances over HTTP, one by one. Returns their incarnations."""
    answers = []
    for model, host in fleet:
        new = {"namespace": "default", "model": model, "host": host, "port": PORT}
        answers.append(server.ask(Call("/api/v1/instances", json.dumps(new)), 200, 201))
    return [str(json.loads(answer.body)["incarnation"]) for answer in answers]
