"""The instances that every server is filled with, and how every server here is run.

Names and addresses are of one width, so that answers are of one size whatever the number. It
imports nothing of ours: the peers run in an environment of their own.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

PORT = 8000
AS_SHIPPED = bool(os.environ.get("AS_SHIPPED"))


@dataclass(frozen=True)
class Fleet:
    """So many instances, so many of them a model."""

    instances: int
    per_model: int

    @property
    def models(self) -> list[str]:
        """The model names."""
        return [f"model-{number:06}" for number in range(-(-self.instances // self.per_model))]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The model and the host of each instance."""
        for number in range(self.instances):
            high, middle, low = number // 10_000, number // 100 % 100, number % 100
            host = f"10.{100 + high}.{100 + middle}.{100 + low}"
            yield f"model-{number // self.per_model:06}", host

    @property
    def options(self) -> list[str]:
        """The command line that `main` reads it from."""
        return ["--instances", str(self.instances), "--per-model", str(self.per_model)]


def main(build: Callable[[Fleet], Any], http: Any = "httptools") -> None:
    """Serve what is built for the fleet that the command line tells of.

    That is an app, or an app and a protocol.

    Every server runs on asyncio's own loop, since the product does. What fills it is spared the
    garbage collector, as in the product. None logs anything, unless ``AS_SHIPPED=1`` asks for what
    its own command would log of each request.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instances", type=int, default=0)
    parser.add_argument("--per-model", type=int, default=1)
    arguments = parser.parse_args()
    built = build(Fleet(arguments.instances, arguments.per_model))
    app, http = built if isinstance(built, tuple) else (built, http)
    logs: dict[str, Any] = {"log_level": "info"}
    if not AS_SHIPPED:
        logging.disable(logging.WARNING)
        logs = {"log_config": None, "access_log": False}
    gc.collect()
    gc.freeze()
    uvicorn.run(app, port=arguments.port, http=http, loop="asyncio", lifespan="off", **logs)
