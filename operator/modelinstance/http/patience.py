"""How long and how large a request may be before it is understood.

uvicorn waits for ever for the rest of a request, and takes headers of any size. Here a request has
`READ_SECONDS` to arrive in whole, its head `MAX_HEAD_BYTES`, and its body `MAX_BODY_BYTES`; what
exceeds them is answered with 408, 431 or 413 as problem+json, and its connection is closed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from modelinstance.http.problems import MEDIA_TYPE, response

READ_SECONDS = 10.0
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 1024 * 1024
LINGER_SECONDS = 1.0
"""How long a refused client has to read why."""


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the reading of a request.

    A connection has one timer, which is set anew only when it goes off too early, and a request
    that comes in one piece is never waited for: most requests touch no timer. What a subclass does
    with the parts of a request is in ``take_*``.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = False
        self._chunk_bytes = 0
        self._unfinished_bytes = 0
        self._body_bytes = 0
        self._begun = False
        self._in_head = True
        self._completed = False
        self._refused = False
        self._open: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects: its first request is awaited."""
        super().connection_made(transport)
        self.wait_for(READ_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes come in; what ends no request and no head belongs to an unfinished head."""
        if self._refused or self.transport.is_closing():
            return
        self._completed = False
        self._chunk_bytes = len(data)
        super().data_received(data)
        if self._in_head and not self._completed:
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                self._refuse_head()
        if self._begun and (self._due is None or self._idle):
            self.wait_for(READ_SECONDS)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._body_bytes = 0
        self._begun = self._in_head = True

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._in_head = False
        if self._unfinished_bytes + self._chunk_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._refuse_head()
        self._unfinished_bytes = 0
        if not self._refused:
            self.take_head()

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse_body()
        elif not self._refused:
            self.take_body(body)

    def on_message_complete(self) -> None:
        """A request is there in whole."""
        self._due = None
        self._begun = False
        self._in_head = self._completed = True
        if not self._refused:
            self.take_end()

    def take_head(self) -> None:
        """Begin a request, unless its body is announced as too large."""
        for name, value in self.headers:
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                self._refuse_body()
                return
        super().on_headers_complete()
        self._open = [*self._unanswered(), self.cycle]

    def take_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        super().on_body(body)

    def take_end(self) -> None:
        """Pass on that there is no more of it."""
        super().on_message_complete()

    def wait_for(self, seconds: float, *, idle: bool = False) -> None:
        """Wait for a request so long; ``idle``: for its beginning, after another was answered."""
        self._idle = idle
        self._due = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._look)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        del msg
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request: send a well-formed one")

    def _unanswered(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._open if not cycle.response_complete]

    def _look(self) -> None:
        """What was awaited when the timer was set is due, or something else later."""
        self._timer = None
        if self._due is None or self.transport.is_closing():
            return
        if self.loop.time() < self._due:
            self._timer = self.loop.call_at(self._due, self._look)
        elif self._idle:
            self.transport.close()
        else:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the request did not arrive in whole within {READ_SECONDS:g} s",
            )

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head of the request is larger than {MAX_HEAD_BYTES} bytes",
        )

    def _refuse_body(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is larger than {MAX_BODY_BYTES} bytes; send it in parts",
        )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, if no answer has begun, and close.

        What the client still sends is dropped for a moment: closed at once, the connection would
        be reset, and the answer lost with it.
        """
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._begun, self._due = False, None
        unanswered = self._unanswered()
        if not unanswered or (unanswered == [self.cycle] and not self.cycle.response_started):
            body = bytes(response(status, detail).body)
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                + body
            )
        for cycle in unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
