"""What a router in a pod does: ``get PATH`` asks the registry, ``call MODEL`` has a model answer.

It prints one line of JSON: the status, and the body.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

REGISTRY = os.environ["REGISTRY"]
TOKEN = os.environ.get("TOKEN", "")


def get(url: str, token: str = "") -> tuple[int, str]:
    """The status and the text of an answer."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


what, argument = sys.argv[1:]
if what == "call":
    query = urllib.parse.urlencode({"model": argument})
    status, text = get(f"{REGISTRY}/api/v1/select?{query}", TOKEN)
    if status == 200:
        status, text = get(json.loads(text)["address"])
else:
    status, text = get(f"{REGISTRY}{argument}", TOKEN)
print(json.dumps([status, text]))
