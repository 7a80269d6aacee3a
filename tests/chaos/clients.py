"""Connections to the API server and to the operator, closed together."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from support.cluster import Cluster


class Clients:
    """Base of who speaks to both; the times are those for an answer, in seconds."""

    def __init__(
        self, cluster: Cluster, operator_url: str, *, api_seconds: float, operator_seconds: float
    ) -> None:
        self._api = httpx.AsyncClient(
            base_url=cluster.plane.url, headers=cluster.admin_headers, verify=cluster.tls,
            timeout=api_seconds,
        )  # fmt: skip
        self._operator = httpx.AsyncClient(base_url=operator_url, timeout=operator_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._api.aclose()
        await self._operator.aclose()
