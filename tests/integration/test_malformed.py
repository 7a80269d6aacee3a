"""What is malformed, too large or too slow, on the wire of a running operator."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from itertools import cycle
from typing import Any

import pytest

from modelinstance.http.patience import MAX_BODY_BYTES, MAX_HEAD_BYTES, READ_SECONDS
from support.operator_process import OperatorProcess
from support.waiting import PATIENCE, eventually

REGISTER, BEAT = "/api/v1/instances", "/api/v1/heartbeats"
WORKER = {"model": "m", "host": "w.example", "port": 8000}
ID = "0123456789abcdef"
CONTROLS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
PROMPT_SECONDS = 0.2
"""How long a small request takes at most while others misbehave."""


def check_problem(status: int, media_type: str | None, body: bytes) -> str:
    """Check that an answer is a problem of this status, and return its detail."""
    assert media_type == "application/problem+json"
    problem = json.loads(body)
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["title"] == HTTPStatus(status).phrase
    detail = problem["detail"]
    assert isinstance(detail, str)
    assert 0 < len(detail) < 1000
    assert not set(detail) & CONTROLS, "a terminal that shows it would obey"
    return detail


# -- bodies --------------------------------------------------------------------------------------


def worker(**fields: Any) -> bytes:
    """The body of a registration."""
    return json.dumps({**WORKER, **fields}).encode()


def beat(**fields: Any) -> bytes:
    """The body of a heartbeat."""
    return json.dumps({"incarnation": ID, **fields}).encode()


NO_JSON = [
    b"",
    b"{",
    b"{} {}",
    b"{'model': 'm'}",
    b'{"model": "\xff\xfe"}',
    b'{"model": "\xed\xa0\x80"}',
    b"\x00\x01\x02",
    b"[" * 200_000 + b"]" * 200_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"port": ' + b"9" * 5000 + b"}",
]
NO_OBJECT = [b"null", b"true", b"5", b'"model"', b"[]"]


@pytest.mark.parametrize("path", [REGISTER, BEAT])
@pytest.mark.parametrize("content", [*NO_JSON, *NO_OBJECT], ids=lambda text: repr(text)[:30])
def test_a_body_that_is_no_object_in_json_is_refused(
    operator: OperatorProcess, path: str, content: bytes
) -> None:
    detail = refused(operator, path, content, {400, 422} if content in NO_JSON else {422})
    assert detail.startswith("body")


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        (REGISTER, worker(colour="red"), "body.colour"),
        (REGISTER, worker(heartbeat={"requird": True}), "body.heartbeat.requird"),
        (REGISTER, worker(load={"runing": 1}), "body.load.runing"),
        (REGISTER, worker(modelName="m"), "body.modelName"),
        (REGISTER, worker(**{"x" * 9000: 1}), "body"),
        (REGISTER, worker(**{"\x1b[2J\n": 1}), "body"),
        *((REGISTER, worker(port=port), "body.port") for port in (
            0, -1, 65536, 10**400, 8000.5, "8000", "", True, None, [8000], {"port": 8000},
        )),
        (REGISTER, b'{"model": "m", "host": "w", "port": 1e999}', "body.port"),
        *((REGISTER, worker(model=name), "body.model") for name in (
            5, None, ["m"], "", " m", "m\n", "m\x00", "\x1b[2J", "m" * 254, "\ud800",
        )),
        *((REGISTER, worker(host=host), "body.host") for host in (
            5, None, "", "http://w", "w:80", "[::1]", "w\x00", "w w", "w/..", "h" * 254, "\ud800",
        )),
        (REGISTER, worker(scheme="ftp"), "body.scheme"),
        (REGISTER, worker(basePath="v1"), "body.basePath"),
        (REGISTER, worker(basePath="/v1\r\nx: y"), "body.basePath"),
        (REGISTER, worker(namespace="../kube-system"), "body.namespace"),
        (REGISTER, worker(aliases="a"), "body.aliases"),
        (REGISTER, worker(aliases=["a", 5]), "body.aliases.1"),
        (REGISTER, worker(aliases=["\ud800"]), "body.aliases.0"),
        (REGISTER, worker(labels={"a": 5}), "body.labels.a"),
        (REGISTER, worker(labels={"a b": "c"}), "body.labels"),
        (REGISTER, worker(labels={"a": "\ud800"}), "body.labels"),
        *((REGISTER, worker(weight=weight), "body.weight") for weight in (-1, "1", True, 1e300)),
        (REGISTER, b'{"model": "m", "host": "w", "port": 1, "weight": NaN}', "body.weight"),
        (REGISTER, worker(heartbeat={"required": "yes"}), "body.heartbeat.required"),
        (REGISTER, worker(heartbeat={"required": 1}), "body.heartbeat.required"),
        (REGISTER, worker(heartbeat={"timeoutSeconds": 0}), "body.heartbeat.timeoutSeconds"),
        (REGISTER, worker(heartbeat={"timeoutSeconds": "9"}), "body.heartbeat.timeoutSeconds"),
        *((path, make(load=load), f"body.load.{field}")
          for path, make in ((REGISTER, worker), (BEAT, beat))
          for load, field in (
              ({"running": -1}, "running"),
              ({"running": "3"}, "running"),
              ({"waiting": True}, "waiting"),
              ({"kvCache": 1.5}, "kvCache"),
              ({"extra": {"a": True}}, "extra.a"),
              ({"extra": {"a\n": 1}}, "extra"),
          )),
        (BEAT, b"{}", "body.incarnation"),
        (BEAT, beat(incarnation=5), "body.incarnation"),
        (BEAT, beat(incarnation="x"), "body.incarnation"),
        (BEAT, beat(incarnation=f"{ID}\n"), "body.incarnation"),
        (BEAT, beat(since=1), "body.since"),
        (BEAT, b'{"items": []}', "body.items"),
        (BEAT, b'{"items": {}}', "body.items"),
        (BEAT, b'{"items": [5]}', "body.items.0"),
        (BEAT, b'{"items": [{}]}', "body.items.0.incarnation"),
        (BEAT, beat(registration={**WORKER, "port": 0}), "body.registration.port"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[-40:],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(
    operator: OperatorProcess, path: str, content: bytes, field: str
) -> None:
    detail = refused(operator, path, content, {422})
    assert detail.startswith((f"{field}=", f"{field}:", f"{field}."))


@pytest.mark.parametrize("path", [REGISTER, BEAT])
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_media_type_is_refused(
    operator: OperatorProcess, path: str, media_type: str | None
) -> None:
    content = worker() if path == REGISTER else beat()
    assert "application/json" in refused(operator, path, content, {415, 422}, media_type)


def refused(
    operator: OperatorProcess, path: str, content: bytes, statuses: set[int],
    media_type: str | None = "application/json",
) -> str:  # fmt: skip
    """The detail of the problem that a POST is answered with; nothing has come of it."""
    headers = {"content-type": media_type} if media_type else {}
    answer = operator.http.post(path, content=content, headers=headers)
    assert answer.status_code in statuses, answer.text
    assert not operator.instances()
    return check_problem(answer.status_code, answer.headers["content-type"], answer.content)


# -- requests ------------------------------------------------------------------------------------


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request that is the last one of its connection."""
    fields = b"".join(header + b"\r\n" for header in (b"host: x", b"connection: close", *headers))
    return b"%b HTTP/1.1\r\n%b\r\n%b" % (line, fields, body)


def connect(operator: OperatorProcess) -> socket.socket:
    """A plain connection."""
    url = operator.http.base_url
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=READ_SECONDS * PATIENCE)


def talk(operator: OperatorProcess, *parts: bytes) -> bytes:
    """Send parts, and read until the operator ends the connection."""
    with connect(operator) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except ConnectionError:  # it has heard enough, and has answered
            pass
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def read(answer: bytes) -> tuple[int, str | None, bytes]:
    """Status, media type and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return int(status.split(" ")[1]), headers.get("content-type"), body


CHUNKED = b"transfer-encoding: chunked"
JSON = b"content-type: application/json"
LARGE = b"x" * (MAX_BODY_BYTES // 2)
CHUNK = b"%x\r\n%b\r\n" % (len(LARGE), LARGE)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99)], 400, id="TLS"),
        pytest.param([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 400, id="HTTP 2"),
        pytest.param([b"GET /livez HTTP/9.9\r\n\r\n"], 400, id="HTTP 9.9"),
        pytest.param([request(b"BREW /livez")], 400, id="method"),
        pytest.param([request(b"GET /live z")], 400, id="space in the path"),
        pytest.param([request(b"GET /api/v1/instances/\xff/\xfe")], 400, id="bytes in the path"),
        pytest.param([request(b"GET /api/v1/select?model=\xff")], 400, id="bytes in the query"),
        pytest.param([request(b"GET /api/v1/instances/a\x00/b")], 400, id="NUL in the path"),
        pytest.param([request(b"GET /api/v1/instances/%FF/%C3%28")], 404, id="no UTF-8 in a path"),
        pytest.param([request(b"GET /api/v1/select?model=%FF")], 404, id="no UTF-8 in a query"),
        pytest.param([request(b"GET /api/v1/select?model=m&wait=%FF")], 422, id="no number"),
        pytest.param([request(b"GET /api/v1/instances/%1B%5B2J%0A/%00")], 404, id="controls"),
        pytest.param([request(b"GET /api/v1/../../etc/passwd")], 404, id="dots"),
        pytest.param([request(b"GET /api/v1/models/")], 404, id="slash at the end"),
        pytest.param([request(b"DELETE /api/v1/models")], 405, id="no such method there"),
        pytest.param([request(b"GET /livez", b"x: a\x00b")], 400, id="NUL in a header"),
        pytest.param([request(b"GET /livez", b"x y: a")], 400, id="space in a header's name"),
        pytest.param([request(b"POST " + BEAT.encode(), b"content-length: -1")], 400, id="length"),
        pytest.param(
            [request(b"POST " + BEAT.encode(), b"content-length: 3", CHUNKED, body=b"0\r\n\r\n")],
            400, id="length and chunks",
        ),
        pytest.param(
            [request(b"POST " + BEAT.encode(), b"content-length: 1", b"content-length: 2")],
            400, id="two lengths",
        ),
        pytest.param(
            [request(b"POST " + BEAT.encode(), CHUNKED, body=b"zz\r\n")], 400, id="no chunk"
        ),
        pytest.param([request(b"GET /livez", b"x: " + b"a" * MAX_HEAD_BYTES)], 431, id="header"),
        pytest.param(
            [request(b"GET /livez", *[b"x-%d: y" % n for n in range(5000)])], 431, id="headers"
        ),
        pytest.param(
            [request(b"GET /api/v1/select?model=" + b"a" * MAX_HEAD_BYTES)], 431, id="query"
        ),
        pytest.param([b"GET /" + b"a" * 2 * MAX_HEAD_BYTES], 431, id="path without an end"),
        pytest.param(
            [request(b"POST " + REGISTER.encode(), JSON, b"content-length: %d" % 10**18)],
            413, id="length too large",
        ),
        pytest.param(
            [request(b"POST " + REGISTER.encode(), JSON, CHUNKED), *[CHUNK] * 3], 413, id="chunks"
        ),
        pytest.param(
            [request(b"POST " + BEAT.encode(), JSON, b"content-length: %d" % (3 * len(LARGE))),
             *[LARGE] * 3],
            413, id="body",
        ),
    ],
)  # fmt: skip
def test_a_request_that_is_malformed_is_answered_with_a_problem(
    operator: OperatorProcess, parts: list[bytes], status: int
) -> None:
    answered, media_type, body = read(talk(operator, *parts))
    assert answered == status, body
    check_problem(status, media_type, body)


@pytest.mark.parametrize(
    "second",
    [
        request(b"BREW /"),
        request(b"GET /", b"x: " + b"a" * MAX_HEAD_BYTES),
        request(b"POST " + REGISTER.encode(), JSON, b"content-length: %d" % 10**18),
    ],
    ids=["no HTTP", "too large a head", "too large a body"],
)
def test_nothing_follows_a_refusal(operator: OperatorProcess, second: bytes) -> None:
    """The first of two requests is still being answered when the second is refused."""
    logged = len(operator.log())
    first = b"GET /api/v1/select?model=nobody&wait=0.4 HTTP/1.1\r\nhost: x\r\n\r\n"
    with connect(operator) as connection:
        connection.sendall(first + second)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        assert answer.count(b"HTTP/1.1 4") == 1
        operator.get("/api/v1/select", model="nobody", wait=0.8)  # and the first is over
    assert "Traceback" not in operator.log()[logged:]


def test_an_answer_is_not_held_back(operator: OperatorProcess) -> None:
    """Neither Nagle's algorithm nor a delayed acknowledgement adds 40 ms to each request."""
    operator.get("/livez")

    def usual_seconds() -> float:
        took = [operator.get("/livez").elapsed.total_seconds() for _ in range(20)]
        return sorted(took)[len(took) // 2]

    eventually(lambda: usual_seconds() < 0.03)


# -- slow requests -------------------------------------------------------------------------------

SLOW = 200
BEGINNINGS = [
    (b"GET /livez HTTP/1.1\r\nhost: x\r\nx: ", b"y"),
    (b"POST /api/v1/heartbeats HTTP/1.1\r\n%b\r\ncontent-length: 999\r\n\r\n{" % JSON, b" "),
    (b"POST /api/v1/instances HTTP/1.1\r\n%b\r\n%b\r\n\r\n" % (JSON, CHUNKED), b"0"),
    (b"", b"\r\n"),
]
"""How requests begin that never end, and how each goes on."""
MEMORY_BYTES = 64 * 1024
"""How much a connection that is read from may hold."""


def memory(operator: OperatorProcess) -> float:
    """The resident memory of the operator."""
    for line in operator.get("/metrics").text.splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split(" ")[1])
    raise LookupError("process_resident_memory_bytes")


class Trickle:
    """Connections on which requests arrive by one byte a second, until they are closed."""

    def __init__(self, connections: Iterable[socket.socket]) -> None:
        self.answers: dict[socket.socket, bytes] = {}
        self._bytes: dict[socket.socket, bytes] = {}
        for connection, (begin, byte) in zip(connections, cycle(BEGINNINGS), strict=False):
            connection.sendall(begin)
            self.answers[connection], self._bytes[connection] = b"", byte

    def seconds(self) -> Iterator[None]:
        """Send a byte on each connection that has not been answered, once a second."""
        due = time.monotonic()
        while self._bytes:
            readable, _, _ = select.select(self._bytes, (), (), max(0.0, due - time.monotonic()))
            for connection in readable:
                part = connection.recv(65536)
                self.answers[connection] += part
                if not part:
                    del self._bytes[connection]
            if time.monotonic() >= due:
                due += 1
                for connection, byte in self._bytes.items():
                    if not self.answers[connection]:
                        connection.send(byte)
                yield


def test_slow_senders_hold_nothing_up_and_are_sent_away(operator: OperatorProcess) -> None:
    operator.get("/readyz")
    before, began = memory(operator), time.monotonic()
    with ExitStack() as stack:
        trickle = Trickle(stack.enter_context(connect(operator)) for _ in range(SLOW))
        for _ in trickle.seconds():
            for path in ("/livez", "/api/v1/models"):
                took = (operator.get(path).elapsed.total_seconds() for _ in range(3))
                assert any(each < PROMPT_SECONDS * PATIENCE for each in took), "but for a hiccup"
            assert memory(operator) - before < SLOW * MEMORY_BYTES
            assert time.monotonic() - began < READ_SECONDS * PATIENCE
    assert len(trickle.answers) == SLOW
    for answer in trickle.answers.values():
        status, media_type, body = read(answer)
        assert status == 408
        check_problem(status, media_type, body)
    eventually(lambda: memory(operator) - before < SLOW * MEMORY_BYTES / 4)
