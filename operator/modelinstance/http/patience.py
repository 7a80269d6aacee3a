"""How long and how large a request may be before it is understood.

uvicorn waits for ever for the rest of a request, and takes headers of any size. Here a request has
`READ_SECONDS` to arrive in whole, its head `MAX_HEAD_BYTES`, and its body `MAX_BODY_BYTES`; what
exceeds them is answered with 408, 431 or 413 as problem+json, and its connection is closed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelinstance.http.problems import MEDIA_TYPE, response

READ_SECONDS = 10.0
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 1024 * 1024
LINGER_SECONDS = 1.0
"""How long a refused client has to read why."""


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the reading of a request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._unfinished_bytes = 0
        self._body_bytes = 0
        self._in_head = True
        self._completed = False
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connects: its first request is awaited."""
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes come in; what ends no request and no head belongs to an unfinished head."""
        if self._refused or self.transport.is_closing():
            return
        self._completed = False
        super().data_received(data)
        if self._in_head and not self._completed:
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_url(self, url: bytes) -> None:
        """A part of the URL is there."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is there."""
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await_request()
        self._head_bytes = self._unfinished_bytes = self._body_bytes = 0
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._in_head = False
        if self._refused:
            return
        for name, value in self.headers:
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                self._refuse_body()
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse_body()
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there in whole."""
        self._stop_waiting()
        self._unfinished_bytes = 0
        self._in_head = self._completed = True
        if not self._refused:
            super().on_message_complete()

    def _await_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(READ_SECONDS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _lose_patience(self) -> None:
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
        self._stop_waiting()
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = bytes(response(status, detail).body)
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                + body
            )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
