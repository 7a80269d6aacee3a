"""The adapters of the routers, on servers that answer as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from modelinstance.feed import routers as module
from modelinstance.feed.routers import Router, RouterError, Worker
from modelinstance.feed.sglang import SGLangRouter
from modelinstance.feed.vllm import VLLMRouter

URL = "http://10.0.0.1:8000"
BAD_ANSWERS = [
    web.Response(text="no"),
    web.Response(text="[" * 100_000),
    web.json_response({}),
    web.json_response([]),
    web.json_response({"workers": [{}], "urls": 3}),
    web.Response(status=500, text="broken"),
    web.Response(status=302, headers={"Location": "/elsewhere"}),
]


class Server:
    """Keeps what it was asked for."""

    def __init__(self, answer: Callable[[], web.Response]) -> None:
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self._answer = answer

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        token = request.headers.get("Authorization")
        self.asked.append((request.method, request.path_qs, body, token))
        return self._answer()


@asynccontextmanager
async def asked(
    kind: Callable[[str, Path | None], Router],
    answer: Callable[[], web.Response],
    token_file: Path | None = None,
) -> AsyncIterator[tuple[Router, Server]]:
    server, app = Server(answer), web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    router = kind(f"http://{host}:{port}/", token_file)
    yield router, server
    await router.close()
    await runner.cleanup()


async def test_sglang_workers_have_ids(tmp_path: Path) -> None:
    tokens = tmp_path / "token"
    tokens.write_text("secret\n", "utf-8")
    workers = [
        {"id": "7", "url": URL, "model_id": "m", "is_healthy": False},
        {"id": "8", "url": "http://b:1", "model_id": "unknown"},
        {"id": "9", "url": "http://c:1"},
    ]
    body = {"workers": workers, "total": 3}
    async with asked(SGLangRouter, lambda: web.json_response(body), tokens) as (router, server):
        assert router.name.startswith("sglang=http://127.0.0.1:")
        assert await router.workers() == [
            Worker(URL, "7", "m"), Worker("http://b:1", "8"), Worker("http://c:1", "9"),
        ]  # fmt: skip
        await router.add(URL)
        await router.remove(Worker(URL, "7"))
    assert server.asked == [
        ("GET", "/workers", None, "Bearer secret"),
        ("POST", "/workers", {"url": URL}, "Bearer secret"),
        ("DELETE", "/workers/7", None, "Bearer secret"),
    ]


async def test_vllm_workers_are_their_urls() -> None:
    async with asked(VLLMRouter, lambda: web.json_response({"urls": [URL]})) as (router, server):
        assert await router.workers() == [Worker(URL, URL)]
        await router.add(URL)
        await router.remove(Worker(URL, URL))
    assert [(method, path) for method, path, _, _ in server.asked] == [
        ("GET", "/list_workers"),
        ("POST", f"/add_worker?url={URL}"),
        ("POST", f"/remove_worker?url={URL}"),
    ]


@pytest.mark.parametrize("kind", [SGLangRouter, VLLMRouter])
@pytest.mark.parametrize("number", range(len(BAD_ANSWERS)))
async def test_what_is_no_list_of_workers_is_an_error(kind: Any, number: int) -> None:
    bad = BAD_ANSWERS[number]

    def answer() -> web.Response:
        return web.Response(body=bad.body, status=bad.status, headers={"Location": "/x"})

    async with asked(kind, answer) as (router, _):
        with pytest.raises(RouterError, match=r"http://127\.0\.0\.1:"):
            await router.workers()


@pytest.mark.parametrize("kind", [SGLangRouter, VLLMRouter])
async def test_a_router_that_is_not_there_or_says_too_much_is_an_error(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    async with asked(kind, lambda: web.Response(text="x" * 101)) as (router, _):
        with pytest.raises(RouterError, match="too long"):
            await router.workers()
    with pytest.raises(RouterError, match="Cannot connect"):
        await router.add(URL)
    await router.close()
    router = kind("http://127.0.0.1:1", tmp_path / "missing")
    with pytest.raises(RouterError, match="No such file"):
        await router.workers()
    await router.close()


@pytest.mark.parametrize("kind", [SGLangRouter, VLLMRouter])
@pytest.mark.parametrize("token", [b"a\nb", b"\xff"])
async def test_an_odd_token_and_an_odd_name_are_errors(
    kind: Any, token: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(token)
    for router in (kind("http://127.0.0.1:1", file), kind("http://a..b", None)):
        with pytest.raises(RouterError, match="/"):
            await router.workers()
        await router.close()


async def test_one_that_is_gone_already_was_removed() -> None:
    async with asked(SGLangRouter, lambda: web.Response(status=404)) as (router, _):
        await router.remove(Worker(URL, "7"))
        with pytest.raises(RouterError, match="HTTP 404"):
            await router.add(URL)
