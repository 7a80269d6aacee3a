"""An engine in a pod: it takes some time to start, and to end once it is told to.

It answers ``/health`` with 503 until it has started, and everything else with the name of the pod.
"""

import http.server
import os
import signal
import threading
import time
from types import FrameType

NAME = os.environ["POD_NAME"]
START_SECONDS = float(os.environ.get("START_SECONDS", "1"))
END_SECONDS = float(os.environ.get("END_SECONDS", "3"))
PORT = 8000
BEGAN = time.monotonic()


class Engine(http.server.BaseHTTPRequestHandler):
    """Says who it is."""

    def do_GET(self) -> None:
        """Answer with the name of the pod."""
        loading = self.path == "/health" and time.monotonic() - BEGAN < START_SECONDS
        body = NAME.encode()
        self.send_response(503 if loading else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("", PORT), Engine)


def end(_number: int, _frame: FrameType | None) -> None:
    """Answer for some time yet: whoever was sent here shall not be turned away."""
    threading.Timer(END_SECONDS, server.shutdown).start()


signal.signal(signal.SIGTERM, end)
server.serve_forever()
