"""The two requests of which there are tens of thousands a second, on a short way.

They skip what FastAPI does for every request. What is not plain and granted is left to the
documented routes, which alone say what was wrong; the tests ask both and compare.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic import ValidationError

from modelinstance.http.access import AUTHORIZATION, Access, Caller
from modelinstance.http.bodies import BeatBatch, BeatBody, load_of
from modelinstance.http.filters import MAX_NAMESPACE, narrowed
from modelinstance.http.headers import view_headers
from modelinstance.http.patience import ImpatientProtocol
from modelinstance.http.queries import MAX_KEY, MAX_NAME
from modelinstance.http.rendering import Renderings
from modelinstance.http.source import Source
from modelinstance.registry.errors import NoHealthyInstanceError
from modelinstance.registry.records.selection import Policy, Wish, policy_for

MAX_CACHED_QUERY = 512
JSON = (b"content-type", b"application/json")
SELECT, HEARTBEATS = "/api/v1/select", "/api/v1/heartbeats"
PATHS = {SELECT: "GET", HEARTBEATS: "POST"}
"""What is served on the short way, and by which method."""

SELECT_TARGET, HEARTBEATS_TARGET = SELECT.encode() + b"?", HEARTBEATS.encode()
TARGETS = (SELECT_TARGET, HEARTBEATS_TARGET)
BATCH = b'{"items"'
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Question:
    """What a select asks for."""

    model: str
    wish: Wish
    namespace: str | None


def _ask(query: bytes) -> _Question | None:
    """Understand a query of one value each for model, policy, key and namespace; else None."""
    given: dict[bytes, str] = {}
    for pair in query.split(b"&"):
        name, equals, value = pair.partition(b"=")
        if not equals or name in given or not value:
            return None
        try:
            given[name] = unquote_to_bytes(value.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            return None
    model, key = given.pop(b"model", ""), given.pop(b"key", "")
    policy, namespace = given.pop(b"policy", ""), given.pop(b"namespace", None)
    if b"#" in query or given or not 0 < len(model) <= MAX_NAME or len(key) > MAX_KEY:
        return None
    if namespace is not None and len(namespace) > MAX_NAMESPACE:
        return None
    try:
        chosen = policy_for(Policy(policy) if policy else None, key)
    except ValueError:
        return None
    if chosen is None:
        return None
    return _Question(model, Wish(chosen, key), namespace)


_ask_again = lru_cache(maxsize=4096)(_ask)


class ShortWay:
    """Answers plain selects and heartbeats; what it has no answer for goes the long way."""

    def __init__(self, source: Source, access: Access, renderings: Renderings) -> None:
        self._source = source
        self._access = access
        self._renderings = renderings
        self._clock = source.records.clock
        self._head = b""
        self._head_is_of: tuple[int, int, object] = (0, 0, None)

    def answer(
        self, method: bytes, target: bytes, headers: Sequence[Header], body: bytes
    ) -> bytes | None:
        """The JSON that answers a request with 200, or None."""
        began = time.perf_counter()
        if target == HEARTBEATS_TARGET:
            path = HEARTBEATS
            content = self._beat(headers, body) if method == b"POST" else None
        else:
            path = SELECT
            query = target[len(SELECT_TARGET) :]
            content = self._select(headers, query) if method == b"GET" else None
        if content is not None:
            seconds = time.perf_counter() - began
            self._source.tallies.requests.observe(PATHS[path], path, 200, seconds)
        return content

    def head(self, defaults: Sequence[Header]) -> bytes:
        """The head of an answer, but for its length; it is as old as a millisecond.

        ``defaults`` are the headers that the server adds to every answer.
        """
        is_of = (int(self._clock.monotonic() * 1000), self._source.records.revision, defaults)
        if is_of[:2] != self._head_is_of[:2] or defaults is not self._head_is_of[2]:
            lines = [
                b"%b: %b\r\n" % header for header in (*defaults, JSON, *view_headers(self._source))
            ]
            self._head, self._head_is_of = b"HTTP/1.1 200 OK\r\n" + b"".join(lines), is_of
        return self._head

    def _caller(self, headers: Sequence[Header]) -> Caller | None:
        for name, value in headers:
            if name == AUTHORIZATION:
                return self._access.recall(value)
        return self._access.recall(None)

    def _select(self, headers: Sequence[Header], query: bytes) -> bytes | None:
        question = _ask_again(query) if len(query) <= MAX_CACHED_QUERY else _ask(query)
        caller = self._caller(headers)
        if question is None or caller is None:
            return None
        wish, admits = question.wish, narrowed(caller, question.namespace)
        if admits is not None:
            wish = replace(wish, admits=admits)
        try:
            record = self._source.records.select(question.model, wish)
        except NoHealthyInstanceError:
            return None
        self._source.tallies.selections["selected"] += 1
        return self._renderings.render(record)

    def _beat(self, headers: Sequence[Header], body: bytes) -> bytes | None:
        caller = self._caller(headers)
        typed = next((header for header in headers if header[0] == JSON[0]), None)
        if caller is None or caller.namespaces is not None or typed != JSON:
            return None
        try:
            if body.startswith(BATCH):
                return self._take_all(BeatBatch.model_validate_json(body).items)
            return self._take_one(BeatBody.model_validate_json(body))
        except ValidationError:
            return None

    def _take_one(self, beat: BeatBody) -> bytes | None:
        record = self._source.records.identified(beat.incarnation)
        if record is None or record.deleting or record.deregistered:
            return None
        return self._take(beat)

    def _take_all(self, beats: Sequence[BeatBody]) -> bytes | None:
        known = self._source.records.identified
        if any(beat.registration and known(beat.incarnation) is None for beat in beats):
            return None
        return b'{"items":[%b]}' % b",".join(map(self._take, beats))

    def _take(self, beat: BeatBody) -> bytes:
        record = self._source.records.identified(beat.incarnation)
        result = self._source.workers.beat(beat.incarnation, load_of(beat.load), beat.failure)
        named = beat.incarnation if record is None else record.id
        return b'{"incarnation":"%b","result":"%b"}' % (named.encode(), result.encode())


class ShortProtocol(ImpatientProtocol):
    """Lets a request go the short way: from the parser to one write, with no task and no FastAPI.

    Only where nothing else is under way on the connection, and it goes on afterwards.
    """

    def __init__(self, short_way: ShortWay, **options: Any) -> None:
        super().__init__(**options)
        self._short_way = short_way
        self._body: bytearray | None = None

    def take_head(self) -> None:
        """Gather the body if this may be a request for the short way."""
        if self.url.startswith(TARGETS) and self._is_plain():
            self._body = bytearray()
        else:
            super().take_head()

    def take_body(self, body: bytes) -> None:
        """Gather it, or pass it on."""
        if self._body is None:
            super().take_body(body)
        else:
            self._body += body

    def take_end(self) -> None:
        """Answer, or go the long way from the beginning."""
        body, self._body = self._body, None
        if body is None:
            super().take_end()
            return
        answer = self._short_way.answer(
            self.parser.get_method(), self.url, self.headers, bytes(body)
        )
        if answer is None:
            super().take_head()
            if body:
                super().take_body(bytes(body))
            super().take_end()
            return
        head = self._short_way.head(self.server_state.default_headers)
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(answer), answer))
        self.wait_for(self.timeout_keep_alive, idle=True)

    def _is_plain(self) -> bool:
        busy = self.cycle is not None and not self.cycle.response_complete
        return (
            not busy
            and not self.flow.write_paused
            and not self.expect_100_continue
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        )
