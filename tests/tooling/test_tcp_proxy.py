"""What `TcpProxy` does to connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from controlplane import ControlPlane
from support.proxy import HOST, TcpProxy

SILENCE = 0.2
"""Seconds without a byte that count as silence."""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(echo, HOST, 0)
    async with server, TcpProxy(HOST, server.sockets[0].getsockname()[1]) as between:
        yield between


class Client:
    """A connection through a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, proxy: TcpProxy) -> "Client":
        return cls(*await asyncio.open_connection(HOST, proxy.port))

    async def says_back(self, text: bytes) -> bool:
        self.writer.write(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), 10) == text

    async def hears_nothing(self) -> bool:
        try:
            await asyncio.wait_for(self.reader.read(1), SILENCE)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
async def client(proxy: TcpProxy) -> AsyncIterator[Client]:
    connected = await Client.connect(proxy)
    yield connected
    await connected.close()


async def test_passes_bytes_both_ways(client: Client) -> None:
    assert await client.says_back(b"hello")
    assert await client.says_back(b"x" * 1_000_000)


async def test_passes_the_end_of_a_direction(client: Client) -> None:
    client.writer.write(b"last words")
    client.writer.write_eof()
    assert await asyncio.wait_for(client.reader.read(), 10) == b"last words"


async def test_cut_resets_open_connections_only(proxy: TcpProxy, client: Client) -> None:
    assert await client.says_back(b"hello")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 10)
    another = await Client.connect(proxy)
    assert await another.says_back(b"again")
    await another.close()
    assert proxy.accepted == 2


async def test_refuse_turns_new_connections_away_only(proxy: TcpProxy, client: Client) -> None:
    assert await client.says_back(b"hello")
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(proxy)
    assert await client.says_back(b"still here")
    await proxy.accept()
    another = await Client.connect(proxy)
    assert await another.says_back(b"welcome")
    await another.close()


async def test_stall_silences_old_and_new_connections(proxy: TcpProxy, client: Client) -> None:
    assert await client.says_back(b"hello")
    proxy.stall()
    another = await Client.connect(proxy)
    for each in (client, another):
        each.writer.write(b"?")
        assert await each.hears_nothing()
    assert proxy.open_connections == 2
    proxy.resume()
    for each in (client, another):
        assert await asyncio.wait_for(each.reader.readexactly(1), 10) == b"?"
    await another.close()


async def test_stall_open_silences_old_connections_only(proxy: TcpProxy, client: Client) -> None:
    assert await client.says_back(b"hello")
    proxy.stall_open()
    client.writer.write(b"?")
    assert await client.hears_nothing()
    another = await Client.connect(proxy)
    assert await another.says_back(b"welcome")
    proxy.resume()
    assert await asyncio.wait_for(client.reader.readexactly(1), 10) == b"?"
    await another.close()


async def test_stalled_connections_can_be_cut(proxy: TcpProxy, client: Client) -> None:
    assert await client.says_back(b"hello")
    proxy.stall()
    client.writer.write(b"?")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 10)


async def test_a_dead_target_resets_the_client() -> None:
    async with TcpProxy(HOST, 1) as proxy:
        client = await Client.connect(proxy)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(), 10)
        await client.close()


async def test_the_api_server_is_trusted_through_it(plane: ControlPlane) -> None:
    async with TcpProxy(HOST, plane.port) as proxy:
        kubeconfig = f"--kubeconfig={plane.kubeconfig_for(proxy.url)}"
        done = await asyncio.to_thread(plane.kubectl, "get", "namespaces", kubeconfig)
        assert "default" in done.stdout
        assert proxy.accepted > 0
