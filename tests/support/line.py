"""The line between an operator and its API server, to be cut or to be spoken on."""

from __future__ import annotations

from collections.abc import Mapping

from support.background import BackgroundLoop
from support.cluster import Cluster
from support.proxy import HOST, Hold, HoldingProxy, Predicate, TcpProxy


class Line:
    """Two proxies in a row: the operator's connections can be cut, and its requests answered."""

    def __init__(self, cluster: Cluster, background: BackgroundLoop) -> None:
        self._background = background
        self._seen = background.enter(HoldingProxy.before(cluster.plane))
        self._bytes = background.enter(TcpProxy(HOST, self._seen.port))

    @property
    def url(self) -> str:
        """The address to give to the operator."""
        return self._bytes.url

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        self._background.call(self._bytes.cut)

    def fall(self) -> None:
        """Reset all connections and refuse new ones."""
        self._background.call(self._bytes.refuse)
        self.cut()

    def rise(self) -> None:
        """Accept connections again."""
        self._background.run(self._bytes.accept())

    def hold(self, predicate: Predicate) -> Hold:
        """Hold requests back."""
        return self._background.call(self._seen.hold, predicate)

    def respond(
        self, predicate: Predicate, status: int, body: Mapping[str, object] | None = None
    ) -> None:
        """Answer requests in the API server's stead."""
        self._background.call(self._seen.respond, predicate, status, body)

    def clear(self) -> None:
        """Let everything pass that arrives."""
        self._background.call(self._seen.clear)

    def release(self, hold: Hold) -> None:
        """Let held requests go on."""
        self._background.call(hold.release)


def everything(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Match every request."""
    return True


def instance_watches(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Match the watches of ModelInstances."""
    return path.endswith("/modelinstances") and query.get("watch") == "true"
