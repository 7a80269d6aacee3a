"""A fake LLM engine: the routes that agents and routers ask, with faults that can be switched.

In a test: ``engine = loop.enter(FakeEngine("a"))`` with `support.background.BackgroundLoop`; what
is set on it holds for the next request. As a process: ``python -m support.engine --model m``, which
needs aiohttp alone; there ``PUT /control`` sets the same by JSON, and ``GET /control`` shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

HEALTH, MODELS, METRICS = "/health", "/v1/models", "/metrics"
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
CONTROL = "/control"
INFO = ("/server_info", "/get_server_info", "/model_info", "/get_model_info")
"""Where routers ask which model it serves, by the newer and the older names."""
NAMED = "X-Engine"
"""The header by which an answer tells which engine it is from."""
TOKENS = 4
"""How many tokens a completion has that asks for no number."""

METRIC_NAMES: Mapping[str, Mapping[str, str]] = {
    "vllm": {
        "running": 'vllm:num_requests_running{engine="0",model_name="m"}',
        "waiting": 'vllm:num_requests_waiting{engine="0",model_name="m"}',
        "kv_cache": 'vllm:kv_cache_usage_perc{engine="0",model_name="m"}',
        "generated": 'vllm:generation_tokens_total{engine="0",model_name="m"}',
    },
    "sglang": {
        "running": 'sglang:num_running_reqs{model_name="m"}',
        "waiting": 'sglang:num_queue_reqs{model_name="m"}',
        "kv_cache": 'sglang:token_usage{model_name="m"}',
        "generated": 'sglang:generation_tokens_total{model_name="m"}',
    },
    "llamacpp": {
        "running": "llamacpp:requests_processing",
        "waiting": "llamacpp:requests_deferred",
        "kv_cache": "llamacpp:kv_cache_usage_ratio",
        "generated": "llamacpp:tokens_predicted_total",
    },
    "tgi": {
        "running": "tgi_batch_current_size",
        "waiting": "tgi_queue_size",
        "generated": "tgi_request_generated_tokens_sum",
    },
}
"""What each kind of engine calls its numbers."""
COUNTERS = frozenset({"generated"})


@dataclass
class Fault:
    """What a route does instead: ``hang``, or answer with a status and a body.

    ``location`` is where a redirect leads to.
    """

    status: int = 500
    body: str = '{"error": "switched to fail"}'
    hang: bool = False
    location: str = ""


@dataclass
class FakeEngine:
    """An engine at a loopback port; an asynchronous context manager, or `start` and `stop`.

    ``models`` are the entries of ``/v1/models``: names, or objects with at least an ``id``.
    ``delay`` is how long a completion takes, in seconds, and ``abort_after`` the number of chunks
    after which a stream's connection is cut. ``missing`` are routes that it does not have.
    """

    name: str = "engine"
    models: Iterable[str | Mapping[str, Any]] = ("m",)
    host: str = "127.0.0.1"
    port: int = 0
    kind: str = "vllm"
    delay: float = 0.0
    abort_after: int | None = None
    missing: set[str] = field(default_factory=set)
    faults: dict[str, Fault] = field(default_factory=dict)
    load: dict[str, float] = field(default_factory=dict)
    """What is added to the numbers of ``/metrics``: running, waiting, kv_cache, generated."""
    requests: Counter[str] = field(default_factory=Counter)
    """How many requests each route has had."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """What the completions were asked for, the last hundred."""
    authorization: str | None = None
    """The header of the last request."""
    grows: int = 0
    """How many tokens have been made for others each time that ``/metrics`` is asked."""
    in_flight: int = 0
    generated: int = 0

    # -- switching it ----------------------------------------------------------------------------

    def fail(self, route: str, status: int = 500, body: str = Fault.body) -> None:
        """Answer one route with an error."""
        self.faults[route] = Fault(status, body)

    def hang(self, *routes: str) -> None:
        """Take requests of these routes, or of all, and never answer; `heal` lets them go on."""
        for route in routes or (HEALTH, MODELS, METRICS, COMPLETIONS, CHAT):
            self.faults[route] = Fault(hang=True)

    def heal(self) -> None:
        """No more faults."""
        self.faults = {}

    # -- its life --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; ``port`` is then the one that was found, and stays for another start."""
        app = web.Application(middlewares=[self._middleware()])
        app.router.add_get(HEALTH, self._health)
        app.router.add_get(MODELS, self._models)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_post(COMPLETIONS, self._complete)
        app.router.add_post(CHAT, self._complete)
        for route in INFO:
            app.router.add_get(route, self._info)
        app.router.add_get(CONTROL, self._show)
        app.router.add_put(CONTROL, self._control)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self, grace: float = 0.1) -> None:
        """Take no more connections, and let what runs end for that many seconds."""
        self._runner._shutdown_timeout = grace
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- its routes ------------------------------------------------------------------------------

    def _middleware(self) -> Any:
        @web.middleware
        async def serve(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            route = request.path
            self.requests[route] += 1
            self.authorization = request.headers.get("Authorization")
            if route in self.missing:
                return self._answer({"error": "no such route"}, status=404)
            while (fault := self.faults.get(route)) is not None:
                if not fault.hang:
                    return web.Response(
                        text=fault.body,
                        status=fault.status,
                        content_type="application/json",
                        headers={NAMED: self.name}
                        | ({"Location": fault.location} if fault.location else {}),
                    )
                await asyncio.sleep(0.02)
            return await handler(request)

        return serve

    def _answer(self, body: Any, *, status: int = 200) -> web.Response:
        return web.json_response(body, status=status, headers={NAMED: self.name})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(headers={NAMED: self.name})

    async def _models(self, request: web.Request) -> web.Response:
        data = [entry(model) for model in self.models]
        return self._answer({"object": "list", "data": data})

    async def _info(self, request: web.Request) -> web.Response:
        """The name alone: for a path to the model, a router would try to load a tokenizer."""
        names = [entry(model)["id"] for model in self.models]
        return self._answer({"served_model_name": names[0]} if names else {})

    async def _metrics(self, request: web.Request) -> web.Response:
        self.generated += self.grows
        numbers = {"running": self.in_flight, "generated": self.generated, "waiting": 0}
        lines = []
        for what, name in METRIC_NAMES.get(self.kind, {}).items():
            bare = name.partition("{")[0]
            value = numbers.get(what, 0) + self.load.get(what, 0)
            if bare.endswith("_sum"):
                lines.append(f"# TYPE {bare.removesuffix('_sum')} histogram")
            else:
                lines.append(f"# TYPE {bare} {'counter' if what in COUNTERS else 'gauge'}")
            lines.append(f"{name} {value}")
        text = "\n".join([*lines, ""])
        return web.Response(text=text, content_type="text/plain", headers={NAMED: self.name})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies = [*self.bodies[-99:], body]
        if body.get("model") not in {entry(model)["id"] for model in self.models}:
            return self._answer({"error": f"no model {body.get('model')}"}, status=404)
        chat = request.path == CHAT
        async with self._one_more():
            if body.get("stream"):
                return await self._stream(request, body, chat=chat)
            await asyncio.sleep(self.delay)
            tokens = _tokens(body)
            self.generated += tokens
            return self._answer(
                self._completion(body, chat=chat)
                | {
                    "choices": [_choice(self.name, chat=chat, finished=True)],
                    "usage": {
                        "prompt_tokens": 1,
                        "completion_tokens": tokens,
                        "total_tokens": 1 + tokens,
                    },
                }
            )

    @asynccontextmanager
    async def _one_more(self) -> AsyncIterator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def _completion(self, body: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
        kind = "chat.completion" if chat else "text_completion"
        return {
            "id": f"cmpl-{self.name}-{sum(self.requests.values())}",
            "object": kind,
            "created": 0,
            "model": body["model"],
            "system_fingerprint": self.name,
        }

    async def _stream(
        self, request: web.Request, body: Mapping[str, Any], *, chat: bool
    ) -> web.StreamResponse:
        """Server-sent events, a token each; the delay is spread over them."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", NAMED: self.name}
        )
        await response.prepare(request)
        head, tokens = self._completion(body, chat=chat), _tokens(body)
        if chat:
            head["object"] = "chat.completion.chunk"
        for number in range(tokens):
            if number == self.abort_after:
                if request.transport is not None:
                    request.transport.abort()
                return response
            await asyncio.sleep(self.delay / tokens)
            self.generated += 1
            choice = _choice(self.name, chat=chat, finished=number == tokens - 1, chunk=True)
            await response.write(f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    # -- from outside of the process -------------------------------------------------------------

    async def _show(self, request: web.Request) -> web.Response:
        return self._answer(
            {"name": self.name, "requests": self.requests, "bodies": self.bodies}
            | {"in_flight": self.in_flight, "generated": self.generated}
        )

    async def _control(self, request: web.Request) -> web.Response:
        """``{"models": [...], "delay": 1, "faults": {"/health": {"status": 500}}, ...}``."""
        wanted = await request.json()
        if "faults" in wanted:
            self.faults = {route: Fault(**fault) for route, fault in wanted.pop("faults").items()}
        if "missing" in wanted:
            self.missing = set(wanted.pop("missing"))
        for setting in ("models", "kind", "delay", "abort_after", "load", "grows", "name"):
            if setting in wanted:
                setattr(self, setting, wanted.pop(setting))
        if wanted:
            return self._answer({"error": f"unknown: {sorted(wanted)}"}, status=422)
        return await self._show(request)


def entry(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """An entry of ``/v1/models``."""
    if isinstance(model, str):
        return {"id": model, "object": "model", "root": model, "parent": None, "owned_by": "fake"}
    return {"object": "model", **model}


def _tokens(body: Mapping[str, Any]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or TOKENS)


def _choice(name: str, *, chat: bool, finished: bool, chunk: bool = False) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if finished else None}
    if not chat:
        return choice | {"text": f"{name} "}
    message = {"role": "assistant", "content": f"{name} "}
    return choice | {"delta" if chunk else "message": message}


async def _serve(arguments: argparse.Namespace) -> None:
    engine = FakeEngine(
        arguments.name, arguments.model, arguments.host, arguments.port, arguments.kind
    )
    engine.delay = arguments.delay
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await asyncio.sleep(arguments.start_after)
    await engine.start()
    print(f"serving on {engine.host} port {engine.port}", flush=True)
    await stop.wait()
    await engine.stop(arguments.grace)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A fake LLM engine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--name", default="engine")
    parser.add_argument("--kind", choices=METRIC_NAMES, default="vllm")
    parser.add_argument("--delay", type=float, default=0.0, help="of a completion, in seconds")
    parser.add_argument("--start-after", type=float, default=0.0, help="in seconds")
    parser.add_argument("--grace", type=float, default=10.0, help="for what runs at SIGTERM")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
