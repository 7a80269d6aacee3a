"""What `helm test` does: a resource, a heartbeat and a query, as a user, a worker and a router."""

import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

REGISTRY, NAMESPACE, NAME = (os.environ[key] for key in ("REGISTRY", "NAMESPACE", "NAME"))
TOKENS = os.environ.get("TOKENS", "").splitlines()
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "/apis/modelinstance.dev/v1alpha1"
COLLECTION = f"https://kubernetes.default.svc{GROUP}/namespaces/{NAMESPACE}/modelinstances"
MODEL = f"helm-test/{NAME}"
SELECT = f"{REGISTRY}/api/v1/select?" + urllib.parse.urlencode({"model": MODEL})
PATIENCE = 30

Answer = tuple[int, Any]


def ask(method: str, url: str, body: object = None, kind: str = "application/json") -> Answer:
    """The status and the JSON of an answer, from the API server or from the registry."""
    request = urllib.request.Request(url, method=method)
    context = None
    if url.startswith(COLLECTION):
        context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
        request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text().strip()}")
    elif TOKENS:
        request.add_header("Authorization", f"Bearer {TOKENS[0]}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=2 * PATIENCE, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "{}")


def see(what: str, expected: tuple[int, ...], answer: Answer) -> Any:
    """Print a step; end the test if it is not as expected."""
    status, body = answer
    print(f"{what}: {status}", flush=True)
    if status not in expected:
        sys.exit(f"expected {expected}: {json.dumps(body, indent=2)}")
    return body


see("clean up", (200, 404), ask("DELETE", f"{COLLECTION}/{NAME}"))
instance = {
    "apiVersion": "modelinstance.dev/v1alpha1",
    "kind": "ModelInstance",
    "metadata": {"name": NAME},
    "spec": {"modelName": MODEL, "host": "192.0.2.1", "port": 8000},
}
see("apply an instance", (201,), ask("POST", COLLECTION, instance))
beat = {"metadata": {"annotations": {"modelinstance.dev/heartbeat": str(time.time())}}}
kind = "application/merge-patch+json"
see("beat for it", (200,), ask("PATCH", f"{COLLECTION}/{NAME}", beat, kind))
found = see("select its model", (200,), ask("GET", f"{SELECT}&wait={PATIENCE}"))
if (found["namespace"], found["name"]) != (NAMESPACE, NAME):
    sys.exit(f"expected {NAMESPACE}/{NAME}: {json.dumps(found, indent=2)}")
see("delete it", (200,), ask("DELETE", f"{COLLECTION}/{NAME}"))
end = time.monotonic() + PATIENCE
while (answer := ask("GET", SELECT))[0] == 200 and time.monotonic() < end:
    time.sleep(0.2)
see("select it no more", (404,), answer)
