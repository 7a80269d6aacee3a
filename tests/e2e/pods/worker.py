"""A model server in a pod: it answers requests, registers itself and beats once a second."""

import http.server
import json
import os
import threading
import time
import urllib.error
import urllib.request

REGISTRY, NAMESPACE, NAME, ADDRESS, MODEL = (
    os.environ[key] for key in ("REGISTRY", "POD_NAMESPACE", "POD_NAME", "POD_IP", "MODEL")
)
TOKEN = os.environ.get("TOKEN", "")
TIMEOUT_SECONDS = int(os.environ["TIMEOUT_SECONDS"])
PORT = 8000


class Model(http.server.BaseHTTPRequestHandler):
    """Says who it is."""

    def do_GET(self) -> None:
        """Answer with the name of the pod."""
        body = NAME.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def say(path: str, body: object) -> dict[str, str]:
    """Tell the registry something; returns its answer."""
    request = urllib.request.Request(f"{REGISTRY}{path}", data=json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=2) as answer:
        found: dict[str, str] = json.load(answer)
        return found


def live() -> None:
    """Register, and beat; after a refusal, register anew."""
    registration = {
        "namespace": NAMESPACE,
        "model": MODEL,
        "host": ADDRESS,
        "port": PORT,
        "heartbeat": {"timeoutSeconds": TIMEOUT_SECONDS},
    }
    incarnation = None
    while True:
        try:
            if incarnation is None:
                incarnation = say("/api/v1/instances", registration)["incarnation"]
            else:
                say("/api/v1/heartbeats", {"incarnation": incarnation})
        except urllib.error.HTTPError as error:
            print(error.code, error.read().decode(), flush=True)
            incarnation = None
        except OSError as error:
            print(error, flush=True)
        time.sleep(1)


threading.Thread(target=live, daemon=True).start()
http.server.ThreadingHTTPServer(("", PORT), Model).serve_forever()
