"""A stand-in for an LLM engine, which knows nothing of any registry."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL, ADAPTER = "tiny", "tiny-pirate"
METRICS = "vllm:num_requests_running 3.0\nvllm:num_requests_waiting 1.0\n"


class Engine:
    """Answers on loopback as vLLM would; while ``broken``, it says that it is well and is not."""

    def __init__(self) -> None:
        self.broken = False
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/v1/models":
                    adapter = {"id": ADAPTER, "parent": MODEL}
                    self._answer(200, json.dumps({"data": [{"id": MODEL}, adapter]}))
                else:
                    self._answer(200, METRICS if self.path == "/metrics" else "{}")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if engine.broken:
                    self._answer(500, '{"error": "CUDA error: out of memory"}')
                else:
                    self._answer(200, json.dumps({"choices": [{"index": 0, "text": "1"}]}))

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Requests are not news."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Be gone."""
        self._server.shutdown()
        self._server.server_close()
