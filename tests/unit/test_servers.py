"""Where the API servers are, as they tell it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from modelinstance.cluster import servers as module
from modelinstance.cluster.access import Access, AccessError
from modelinstance.cluster.client import ClusterClient, ClusterError
from modelinstance.cluster.servers import Servers

SLICE = {
    "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["fd00::2", "fd00::3"]}],
    "ports": [{"port": 6443}],
}
ALL = ["10.0.0.1:6443", "[fd00::2]:6443", "[fd00::3]:6443"]


class Known(Access):
    """A way to an API server, or none."""

    def __init__(self, host: str | None = "https://10.0.0.9:443") -> None:
        super().__init__()
        self.host = host

    async def configuration(self) -> Any:
        if self.host is None:
            raise AccessError("set KUBECONFIG")
        return SimpleNamespace(host=self.host)


class Client(ClusterClient):
    """Answers with what is set, and counts those that were made and closed."""

    shown: ClassVar[Any] = SLICE
    own: ClassVar[list[str] | ClusterError] = ["10.0.0.1:6443"]
    made: ClassVar[list[Client]] = []
    asked: ClassVar[int] = 0

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.closed = False
        self.made.append(self)

    async def close(self) -> None:
        self.closed = True

    async def _request(self, *_: Any, **__: Any) -> Any:
        type(self).asked += 1
        if isinstance(self.shown, ClusterError):
            raise self.shown
        return self.shown

    async def server_addresses(self) -> list[str]:
        if isinstance(self.own, ClusterError):
            raise self.own
        return self.own


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(module, "ClusterClient", Client)
    monkeypatch.setattr(Client, "made", [])
    monkeypatch.setattr(Client, "asked", 0)
    return Client


async def test_all_are_told_and_each_ask_makes_a_connection_of_its_own(
    client: type[Client],
) -> None:
    servers = Servers(Known(), of_all=True)
    for _ in range(2):
        assert await servers.addresses() == ["https://10.0.0.9:443", *ALL, "10.0.0.1:6443"]
    assert [made.closed for made in client.made] == [True, True]


async def test_where_there_is_no_right_to_the_endpoints_they_are_not_asked_for(
    client: type[Client],
) -> None:
    told = await Servers(Known(), of_all=False).addresses()
    assert told == ["https://10.0.0.9:443", "10.0.0.1:6443"]
    assert client.asked == 0


@pytest.mark.parametrize("status", [403, 404])
async def test_where_they_are_refused_or_missing_that_is_said_once_and_its_own_holds(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Client, "shown", ClusterError("GET EndpointSlice", "no", status))
    servers = Servers(Known(), of_all=True)
    for _ in range(3):
        assert await servers.addresses() == ["https://10.0.0.9:443", "10.0.0.1:6443"]
    [said] = [record.getMessage() for record in caplog.records]
    assert said == (
        "the addresses of all API servers: GET EndpointSlice: no; "
        "each tells of itself alone, so another may be known only later"
    )


async def test_its_own_may_be_refused_and_all_be_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(Client, "own", ClusterError("GET /api", "no answer within 10 s"))
    servers = Servers(Known(), of_all=True)
    for _ in range(2):
        assert await servers.addresses() == ["https://10.0.0.9:443", *ALL]
    monkeypatch.undo()
    monkeypatch.setattr(module, "ClusterClient", Client)
    await servers.addresses()
    assert [record.getMessage() for record in caplog.records] == [
        "the API server's own address: GET /api: no answer within 10 s",
        "the API server's own address: it is told again",
    ]


async def test_without_a_way_to_an_api_server_nothing_is_told(client: type[Client]) -> None:
    assert await Servers(Known(None), of_all=True).addresses() == []
    assert client.made == []


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (SLICE, ALL),
        ({"endpoints": None, "ports": None}, []),
        ({"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": None}, []),
    ],
)
async def test_an_endpoint_slice_is_read_as_it_is(
    shown: Any, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "shown", shown)
    assert await Client(Access()).all_server_addresses() == told


@pytest.mark.parametrize(
    "shown",
    [{}, {"endpoints": [None]}, {"endpoints": [{"addresses": [7]}], "ports": [{"port": 1}]}, {
        "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{}],
    }],
)  # fmt: skip
async def test_what_is_no_endpoint_slice_is_a_failure_like_others(
    shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "shown", shown)
    with pytest.raises(ClusterError, match="not one of an API server"):
        await Client(Access()).all_server_addresses()
