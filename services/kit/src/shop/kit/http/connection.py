"""One HTTP/1.1 connection to a service, with one request at a time.

What general clients do for each request (cookies, redirects, proxies, content encodings, header containers) costs more
than everything else that the gateway does, and is not used between services. httptools, the parser of the services'
own server, reads the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection

import httptools

from shop.kit.http.answer import Answer

MAX_HEAD_BYTES = 65_536
FIRST_ERROR_STATUS = 400
FIRST_FINAL_STATUS = 200
BODILESS_STATUSES = frozenset({204, 304})
BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of which nobody expects a body, so that none need not be stated."""
REQUEST_ID = "x-request-id"
REQUEST_ID_RAW = REQUEST_ID.encode()

Body = bytes | AsyncGenerator[bytes] | None


class ConnectFailed(OSError):
    """No connection was made: not a byte of the request was sent."""


class Closed(OSError):
    """The connection was closed before the head of the answer came."""


class Broken(OSError):
    """The request's body, or the answer after its head, broke off; or the answer is not HTTP."""


def request_head(method: str, target: str, host: str, headers: Collection[tuple[str, str]], body: Body) -> bytes:
    """The head of a request, names in ``headers`` in lower case; ValueError for one that would be read differently."""
    lines = [f"{method} {target} HTTP/1.1"]
    names = {name for name, _ in headers}
    if "host" not in names:
        lines.append(f"host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if isinstance(body, bytes):
        lines.append(f"content-length: {len(body)}")
    elif body is None and method not in BODILESS_METHODS:
        lines.append("content-length: 0")
    elif body is not None and "content-length" not in names:
        lines.append("transfer-encoding: chunked")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if " " in target or "\0" in text or text.count("\n") != breaks or text.count("\r") != breaks:
        raise ValueError("a request's target and headers have no line breaks, and the target no spaces")
    return text.encode() + b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """``ended(connection, reusable)`` is called at the end of each request.

    ``read_timeout_s`` is the longest time between two pieces of an answer after the request was sent, None for no
    limit.
    """

    def __init__(self, ended: Callable[[Connection, bool], None], read_timeout_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._read_timeout_s = read_timeout_s
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._request_id = ""
        self._is_head = False
        self._is_final = False
        self._until_closed = False
        self._head_bytes = 0
        self._paused = False
        self._sending: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        return not self._transport.is_closing()

    async def send(self, method: str, head: bytes, body: Body, request_id: str) -> Answer:
        """Send a request and wait for the head of its answer: Closed, Broken or TimeoutError if there is none."""
        self._answer = answer = Answer(self)
        self._request_id = request_id
        self._is_head = method == "HEAD"
        self._head_bytes = 0
        self._until_closed = False
        try:
            if not self.usable:
                raise Closed("the connection was closed before the request was written")
            if body is None or isinstance(body, bytes):
                self._transport.write(head + body if body else head)
            else:
                self._transport.write(head)
                chunked = b"\r\ntransfer-encoding: chunked\r\n" in head
                self._sending = self._loop.create_task(self._send_pieces(body, chunked))
            self._limit_silence()
            await answer.head()
        except BaseException:
            # Otherwise it came whole while this was being cancelled, and the connection may have another request.
            if self._answer is answer:
                self.abort()
            raise
        return answer

    async def _send_pieces(self, body: AsyncGenerator[bytes], chunked: bool) -> None:
        try:
            async with contextlib.aclosing(body):
                async for piece in body:
                    if piece:
                        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                        await self._writable.wait()
            if chunked:
                self._transport.write(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001 - whatever the body's source raises breaks the request off
            self._sending = None
            self._fail(Broken(f"the request's body broke off: {type(error).__name__}: {error}"))
        else:
            self._sending = None
            self._heard_at = self._loop.time()

    def _limit_silence(self) -> None:
        self._heard_at = self._loop.time()
        if self._timer is None and self._read_timeout_s is not None:
            self._timer = self._loop.call_later(self._read_timeout_s, self._check_silence, self._read_timeout_s)

    def _check_silence(self, limit_s: float) -> None:
        """One timer for all requests of the connection: it runs on, and looks for how long nothing has come."""
        self._timer = None
        if self._answer is None:
            return
        left_s = limit_s if self._paused or self._sending else limit_s - (self._loop.time() - self._heard_at)
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_silence, limit_s)
        else:
            self._fail(TimeoutError(f"nothing was received for {limit_s:g} s"))

    def pause(self) -> None:
        if not self._paused and self.usable:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self.usable:
            self._paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def close(self) -> None:
        """Close a connection that has no request any more; what it has not sent of the last one is not waited for."""
        if self._has_unsent():
            self._transport.abort()
        else:
            self._transport.close()

    def _has_unsent(self) -> bool:
        return self.usable and self._transport.get_write_buffer_size() > 0

    def abort(self) -> None:
        """Break off the request that is under way."""
        self._fail(Broken("the request was broken off"))

    def _fail(self, error: Exception) -> None:
        answer = self._answer
        self._transport.abort()
        self._finish(reusable=False)
        if answer is not None:
            answer.fail(error)

    def _finish(self, *, reusable: bool) -> None:
        """The request is over."""
        if self._answer is None:
            return
        self._answer = None
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._ended(self, reusable)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._writable.set()
        answer = self._answer
        if answer is None:
            return
        if self._until_closed and exc is None:
            answer.end()
        elif answer.status:
            answer.fail(Broken("the connection was closed in the middle of the answer"))
        else:
            answer.fail(Closed(f"the connection was closed before an answer{f': {exc}' if exc else ''}"))
        self._finish(reusable=False)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        answer = self._answer
        if answer is None:
            self.close()
            return
        if not answer.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Broken(f"the answer is not HTTP: {error.__context__ or error}"))
            return
        if not answer.status and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(Broken(f"the head of the answer has more than {MAX_HEAD_BYTES} bytes"))

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._answer is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is None:
            return
        if not self._answer.status:
            self._answer.headers.append((name.lower(), value))
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the trailers are too long")

    def on_headers_complete(self) -> None:
        answer, status = self._answer, self._parser.get_status_code()
        self._is_final = answer is not None and status >= FIRST_FINAL_STATUS
        if answer is None:
            return
        if not self._is_final:
            answer.headers.clear()
            return
        answer.misrouted = status >= FIRST_ERROR_STATUS and answer.header(REQUEST_ID_RAW) != self._request_id
        self._until_closed = not self._is_head and _ends_with_its_connection(status, answer)
        answer.started(status)
        if self._is_head:
            # The parser waits for a body of the stated length.
            reusable = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self._complete(answer, reusable=reusable)

    def on_body(self, body: bytes) -> None:
        if self._answer is None:
            self.close()
        elif not self._is_final:
            raise ValueError("an interim answer has a body")
        else:
            self._answer.add(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and self._is_final:
            self._complete(self._answer, reusable=self._parser.should_keep_alive())

    def _complete(self, answer: Answer, *, reusable: bool) -> None:
        self.resume()
        answer.end()
        sent = self._sending is None and not self._has_unsent()
        self._finish(reusable=reusable and sent and not answer.misrouted)


def _ends_with_its_connection(status: int, answer: Answer) -> bool:
    """RFC 9112, 6.3: a body of no stated length is what comes until the connection is closed."""
    stated = answer.header(b"content-length") or answer.header(b"transfer-encoding")
    return not stated and status not in BODILESS_STATUSES
