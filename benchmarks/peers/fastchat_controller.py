"""FastChat's controller, the real one, filled with workers that never expire.

It picks by ``shortest_queue``, its default. As shipped it logs each request and each pick.
"""

from __future__ import annotations

from typing import Any

from fastchat.serve import controller  # type: ignore[import-not-found]

from peers import fleet


def build(wanted: fleet.Fleet) -> Any:
    """The app, with its controller."""
    if not fleet.AS_SHIPPED:
        controller.logger.setLevel("WARNING")
    made = controller.controller = controller.Controller("shortest_queue")
    for model, host in wanted:
        status = {"model_names": [model], "speed": 1, "queue_length": 0}
        made.register_worker(
            f"http://{host}:{fleet.PORT}", check_heart_beat=False, worker_status=status,
            multimodal=False,
        )  # fmt: skip
    return controller.app


if __name__ == "__main__":
    fleet.main(build)
