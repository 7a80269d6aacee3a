"""Workers that beat through the API server, as long as it lets them."""

from __future__ import annotations

import itertools
import json
import threading
from types import TracebackType
from typing import Self

import httpx

from support.cluster import HEARTBEAT, Cluster

INTERVAL = 0.4

_numbers = itertools.count(1)
"""A value of one worker is never that of another."""


class Workers:
    """A thread that beats for some instances; a beat that fails is tried again with the next."""

    def __init__(self, cluster: Cluster, *names: str, interval: float = INTERVAL) -> None:
        self._paths = [cluster.path(name) for name in names]
        self._interval = interval
        self._enough = threading.Event()
        self._cluster = cluster
        self._thread = threading.Thread(target=self._work, name="workers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        self._thread.join()

    def _work(self) -> None:
        with httpx.Client(
            base_url=self._cluster.plane.url,
            headers={
                **self._cluster.admin_headers,
                "Content-Type": "application/merge-patch+json",
            },
            verify=self._cluster.tls,
            timeout=2 * self._interval,
        ) as api:
            while not self._enough.wait(self._interval):
                body = {"metadata": {"annotations": {HEARTBEAT: f"worker-{next(_numbers)}"}}}
                for path in self._paths:
                    try:
                        api.patch(path, content=json.dumps(body))
                    except httpx.TransportError:
                        continue
