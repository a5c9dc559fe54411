"""uvicorn's HTTP protocol with limits on a request's head, which its parser does not have, and fewer writes.

Without limits one connection can fill the memory with an endless header, and connections that never finish their first
line are free for an attacker.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shop.kit.errors import MEDIA_TYPE, Problem

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 10.0
MAX_TARGET_BYTES = 32_768
"""Of the path and query in the request line."""
LINGER_S = 1.0
LINGER_BYTES = 1_048_576
"""Bytes that a refused client may still send: closing a connection on unread bytes resets it and loses the answer."""


class JoinedAnswer:
    """The transport of one request: the head of an answer is sent together with the beginning of its body.

    uvicorn writes them one after the other, so that both sides have two system calls and the receiver wakes up twice.
    Only a head with a Content-Length waits: the body of a stream may come much later, or never.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is not None:
            self._transport.write(self._head + data)
            self._forward()
        elif not self._cycle.response_started:
            self._transport.write(data)
        elif self._cycle.expected_content_length and self._cycle.scope["method"] != "HEAD":
            self._head = data
        else:
            self._transport.write(data)
            self._forward()

    def _forward(self) -> None:
        """What is still to be written goes straight to the transport."""
        self._head = None
        self._cycle.transport = self._transport

    def close(self) -> None:
        """A broken answer has its head, so that nobody takes the request for one that was not processed."""
        if self._head is not None:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class LimitedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is too long, too slow or malformed.

    The answer is a problem document: 414 for a long request target, 431 for long headers, 400 for what is not HTTP.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._linger_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused():
            self._discard(data)
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._refused() or not self._in_head or not self._head_bytes:
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            detail = f"The request line and headers may have at most {MAX_HEAD_BYTES} bytes."
            self._refuse(Problem(431, "headers_too_large", detail))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = cast("asyncio.Transport", JoinedAnswer(cycle))
        super()._start_asgi_task(cycle, app)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise ValueError("the request target is too long")

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when its parser or one of the callbacks here fails."""
        if len(self.url or b"") > MAX_TARGET_BYTES:
            self._refuse(Problem(414, "uri_too_long", f"A path and query may have at most {MAX_TARGET_BYTES} bytes."))
        else:
            self._refuse(Problem(400, "malformed_request", msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer and close the connection; without an answer while one to an earlier request is being written."""
        self._stop_timer()
        if not getattr(self.cycle, "response_complete", True) or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write(_answer(problem))
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _refused(self) -> bool:
        return self._linger_timer is not None

    def _discard(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > LINGER_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _answer(problem: Problem) -> bytes:
    document = problem.body()
    body = orjson.dumps(document)
    head = (
        f"HTTP/1.1 {problem.status} {document['title']}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
