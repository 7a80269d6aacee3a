"""Heartbeats over HTTP: our endpoint against DB-GPT's controller.

One core for the server, wrk on another with 32 connections over loopback, logs off, asyncio's own
event loop for both (no uvloop: docs/decisions/0007). What is compared:

- ours: `modelinstance serve`, POST /api/v1/heartbeats with one instance and its load, or with a
  batch of them;
- DB-GPT 0.8.2: POST /api/controller/heartbeat of its controller, which takes one instance and no
  load.

All hold 1,000 instances, 10 of a model unless the line says otherwise, and every instance beats by
turns. A rate is beats a second, also for batches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import program
from load import Call, Contender, Row, measure, of_peer, options, serving, show
from peers.fleet import PORT, Fleet

FLEETS = {"10 a model": Fleet(1_000, 10), "1,000 a model": Fleet(1_000, 1_000)}
BATCHES = (10, 100, 1_000)
LEAST_BATCHED = 20_000


def beat(number: int, incarnation: str) -> dict[str, Any]:
    """A beat with a load."""
    load = {"running": number % 7, "waiting": number % 3, "kvCache": 0.5}
    return {"incarnation": incarnation, "load": load}


def beats(incarnations: Sequence[str], batch: int | None) -> list[Call]:
    """Our requests."""
    items = [beat(number, one) for number, one in enumerate(incarnations)]
    bodies: list[Any] = items
    if batch is not None:
        bodies = [{"items": items[at : at + batch]} for at in range(0, len(items), batch)]
    return [Call("/api/v1/heartbeats", json.dumps(body)) for body in bodies]


def of_dbgpt(fleet: Fleet) -> list[Call]:
    """DB-GPT's requests: what its worker sends."""
    rest = {
        "weight": 1.0, "check_healthy": True, "healthy": True, "enabled": True,
        "prompt_template": None, "last_heartbeat": None, "remove_from_registry": False,
    }  # fmt: skip
    return [
        Call(
            "/api/controller/heartbeat",
            json.dumps({"model_name": model, "host": host, "port": PORT, **rest}),
        )
        for model, host in fleet
    ]


def main() -> None:
    """Print the table."""
    arguments = options(__doc__)
    contenders: dict[str, Contender] = {}
    with ExitStack() as stack:
        for name, fleet in FLEETS.items():
            server = stack.enter_context(serving(program.COMMAND))
            incarnations = program.register(server, fleet)
            contenders[name] = Contender(server, beats(incarnations, None))
            if name == "10 a model":
                for batch in BATCHES:
                    contenders[f"batches of {batch:,}"] = Contender(
                        server, beats(incarnations, batch), each=batch
                    )
            server = stack.enter_context(serving(of_peer("dbgpt_controller", fleet)))
            contenders[f"DB-GPT, {name}"] = Contender(server, of_dbgpt(fleet))
        rates = measure(contenders, arguments)
    usual = "DB-GPT, 10 a model"
    show(
        "Heartbeats over HTTP",
        [
            *(Row(f"single : DB-GPT, {name}", name, f"DB-GPT, {name}", 3) for name in FLEETS),
            *(
                Row(
                    f"batches of {batch:,} : DB-GPT",
                    f"batches of {batch:,}",
                    usual,
                    least_rate=LEAST_BATCHED,
                )
                for batch in BATCHES
            ),
        ],
        rates,
    )


if __name__ == "__main__":
    main()
