"""A router in a pod that calls a model all the time.

It prints one line of JSON for each call: when it was begun, by the clock of the node, whom the
registry named, and the status that came of it: the registry's, or that of the call, or 0.
"""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

REGISTRY, MODEL = os.environ["REGISTRY"], os.environ["MODEL"]
PAUSE_SECONDS = 0.02


def call() -> tuple[str, int, str]:
    """Whom the registry named, the status, and what went wrong."""
    name = ""
    try:
        query = urllib.parse.urlencode({"model": MODEL})
        url = f"{REGISTRY}/api/v1/select?{query}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            chosen = json.load(answer)
        name = chosen["name"]
        with urllib.request.urlopen(chosen["address"], timeout=5) as answer:
            said = answer.read().decode()
            return name, answer.status, "" if said == name else f"it says it is {said}"
    except urllib.error.HTTPError as error:
        return name, error.code, error.read().decode()
    except OSError as error:
        return name, 0, str(error)


while True:
    at = time.time()
    name, status, why = call()
    print(json.dumps({"at": at, "name": name, "status": status, "why": why}), flush=True)
    time.sleep(PAUSE_SECONDS)
