"""DB-GPT's model controller, the real routes over its real `EmbeddedModelRegistry`.

It runs without the tracer that its own start adds, which is to its advantage.
"""

from __future__ import annotations

import asyncio
from typing import Any

from dbgpt.model.base import ModelInstance  # type: ignore[import-not-found]
from dbgpt.model.cluster.controller.controller import (  # type: ignore[import-not-found]
    initialize_controller,
)
from dbgpt.model.cluster.registry import EmbeddedModelRegistry  # type: ignore[import-not-found]
from dbgpt.util.fastapi import create_app  # type: ignore[import-not-found]

from peers import fleet


def build(wanted: fleet.Fleet) -> Any:
    """The app, with its registry."""
    registry = EmbeddedModelRegistry(heartbeat_timeout_secs=24 * 3600)
    app = create_app()
    initialize_controller(app=app, registry=registry)

    async def fill() -> None:
        for model, host in wanted:
            await registry.register_instance(ModelInstance(model, host, fleet.PORT))

    asyncio.run(fill())
    return app


if __name__ == "__main__":
    fleet.main(build)
