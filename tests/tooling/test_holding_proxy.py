"""What `HoldingProxy` does to requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from controlplane import ControlPlane
from controlplane.access import Access
from support.proxy import HOST, HoldingProxy, Request
from support.waiting import eventually


class Upstream:
    """A small TLS server that tells what it was asked and streams when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.left = asyncio.Event()
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        if request.path == "/watch":
            return await self._stream(request)
        headers = {k: v for k, v in request.headers.items() if k != "Host"}
        body = (await request.read()).decode()
        answer = {"path": request.raw_path, "method": request.method, "body": body}
        return web.json_response({**answer, "headers": headers}, status=201)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while chunk := await self.chunks.get():
                await response.write(chunk)
        finally:
            self.left.set()
        assert request.transport is not None
        request.transport.abort()
        return response


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path, {})


@pytest.fixture
async def upstream(access: Access) -> AsyncIterator[Upstream]:
    serving = Upstream()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*access.issue_server_cert())
    server = web.Server(serving.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, ssl_context=context)
    await site.start()
    serving.port = runner.addresses[0][1]
    yield serving
    await runner.cleanup()


@pytest.fixture
async def proxy(access: Access, upstream: Upstream) -> AsyncIterator[HoldingProxy]:
    target = f"https://{HOST}:{upstream.port}"
    async with HoldingProxy(target, access.trust(), access.issue_server_cert()) as between:
        yield between


@pytest.fixture
async def client(access: Access, proxy: HoldingProxy) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=access.trust())
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(proxy.url, connector=connector, timeout=timeout) as session:
        yield session


async def ask(client: aiohttp.ClientSession, path: str) -> int:
    async with client.get(path) as response:
        await response.read()
        return response.status


def on(path: str) -> Callable[[str, str, Mapping[str, str]], bool]:
    return lambda _method, asked, _query: asked == path


async def test_passes_requests_and_answers(
    client: aiohttp.ClientSession, proxy: HoldingProxy
) -> None:
    sent = {"Authorization": "Bearer secret", "Content-Type": "application/merge-patch+json"}
    async with client.patch("/a%2Fb?x=1&y=%26", data="{}", headers=sent) as response:
        assert response.status == 201
        got = await response.json()
    assert (got["path"], got["method"], got["body"]) == ("/a%2Fb?x=1&y=%26", "PATCH", "{}")
    assert {**got["headers"], **sent} == got["headers"]
    assert proxy.requests == [Request("PATCH", "/a/b", {"x": "1", "y": "&"})]


async def test_passes_a_watch_chunk_by_chunk(
    client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    async with client.get("/watch") as response:
        for chunk in (b"one\n", b"two\n"):
            upstream.chunks.put_nowait(chunk)
            assert await response.content.readline() == chunk


async def test_a_client_that_leaves_ends_the_watch(
    client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    async with client.get("/watch") as response:
        upstream.chunks.put_nowait(b"one\n")
        await response.content.readline()
        response.close()
    await asyncio.wait_for(upstream.left.wait(), 10)


async def test_a_watch_that_breaks_is_broken_for_the_client(
    client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    async with client.get("/watch") as response:
        upstream.chunks.put_nowait(b"one\n")
        await response.content.readline()
        upstream.chunks.put_nowait(None)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await response.content.readline()


async def test_a_dead_api_server_breaks_the_connection(access: Access) -> None:
    connector = aiohttp.TCPConnector(ssl=access.trust())
    target = f"https://{HOST}:1"
    async with (
        HoldingProxy(target, access.trust(), access.issue_server_cert()) as proxy,
        aiohttp.ClientSession(proxy.url, connector=connector) as client,
    ):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await ask(client, "/")


async def test_holds_a_request_before_it_is_made(
    client: aiohttp.ClientSession, proxy: HoldingProxy, upstream: Upstream
) -> None:
    hold = proxy.hold(on("/held"))
    held = asyncio.create_task(ask(client, "/held"))
    await asyncio.wait_for(hold.reached.wait(), 10)
    assert await ask(client, "/other") == 201
    assert upstream.asked == ["/other"]
    assert not held.done()
    hold.release()
    assert await held == 201
    assert await ask(client, "/held") == 201


async def test_holds_an_answer_back(
    client: aiohttp.ClientSession, proxy: HoldingProxy, upstream: Upstream
) -> None:
    hold = proxy.hold(on("/held"), stage="response")
    held = asyncio.create_task(ask(client, "/held"))
    await asyncio.wait_for(hold.reached.wait(), 10)
    assert upstream.asked == ["/held"]
    assert not held.done()
    hold.release()
    assert await held == 201


async def test_answers_in_the_server_s_stead_until_cleared(
    client: aiohttp.ClientSession, proxy: HoldingProxy, upstream: Upstream
) -> None:
    proxy.respond(lambda method, _path, _query: method == "GET", 401)
    proxy.respond(on("/busy"), 429, {"kind": "Status"}, {"Retry-After": "7"})
    async with client.get("/") as response:
        assert response.status == 401
        assert (await response.json())["reason"] == "Unauthorized"
    async with client.post("/busy") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert await response.json() == {"kind": "Status"}
    assert upstream.asked == []
    proxy.clear()
    assert await ask(client, "/") == 201


async def test_clear_releases_what_is_held(
    client: aiohttp.ClientSession, proxy: HoldingProxy
) -> None:
    hold = proxy.hold(on("/held"))
    held = asyncio.create_task(ask(client, "/held"))
    await asyncio.wait_for(hold.reached.wait(), 10)
    proxy.clear()
    assert await held == 201


async def test_the_second_page_of_a_real_list_can_be_held(plane: ControlPlane) -> None:
    may = ("--verb=list", "--resource=namespaces")
    plane.kubectl("create", "clusterrole", "pages", *may)
    plane.kubectl("create", "clusterrolebinding", "p", "--clusterrole=pages", "--user=operator")
    asked = ("auth", "can-i", "list", "namespaces", "--as=operator")
    eventually(lambda: plane.kubectl(*asked, check=False).returncode == 0)
    async with HoldingProxy.before(plane) as proxy:
        hold = proxy.hold(lambda _method, _path, query: "continue" in query)
        kubeconfig = f"--kubeconfig={plane.token_kubeconfig(server=proxy.url)}"
        get = ("get", "namespaces", "--chunk-size=1", "-o", "json", kubeconfig)
        listing = asyncio.create_task(asyncio.to_thread(plane.kubectl, *get))
        await asyncio.wait_for(hold.reached.wait(), 30)
        assert not listing.done()
        hold.release()
        done = await listing
    names = {item["metadata"]["name"] for item in json.loads(done.stdout)["items"]}
    assert {"default", "kube-system"} <= names
    assert {r.query["limit"] for r in proxy.requests if r.path == "/api/v1/namespaces"} == {"1"}
