"""What a router in a pod does.

``get PATH`` asks the registry, ``call MODEL`` has a model answer, ``complete MODEL`` has an LLM
engine complete a text and tells which one did; ``chat URL MODEL KEY`` has a proxy see to that. It
prints one line of JSON: the status, and the body.
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


def chat(url: str, model: str, key: str = "") -> tuple[int, str]:
    """The status of a completion, and its text: the engines here answer with their names."""
    messages = [{"role": "user", "content": "who are you?"}]
    body = json.dumps({"model": model, "messages": messages, "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", data=body)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            message = json.load(answer)["choices"][0]["message"]
            return answer.status, message["content"].strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


what, argument, *others = sys.argv[1:]
if what == "chat":
    status, text = chat(argument, *others)
elif what in {"call", "complete"}:
    query = urllib.parse.urlencode({"model": argument})
    status, text = get(f"{REGISTRY}/api/v1/select?{query}", TOKEN)
    if status == 200:
        address = json.loads(text)["address"]
        status, text = get(address) if what == "call" else chat(address, argument)
else:
    status, text = get(f"{REGISTRY}{argument}", TOKEN)
print(json.dumps([status, text]))
