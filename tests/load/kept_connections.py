"""An HTTP/1.1 client that costs the load generator a fraction of a general one's processor time.

It sends requests as the bytes that they are and reads of an answer what a measurement needs. Connections are kept: one
for each request under way, the one that was idle longest first, a new one when none is free.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import httptools

CLOSED, RESET, BROKEN_OFF = "ServerDisconnectedError", "ClientOSError", "ClientPayloadError"
MALFORMED, NOT_CONNECTED = "ClientResponseError", "ClientConnectorError"
"""What went wrong, by the names that aiohttp has for it: results with either client can be compared."""
NOT_ANSWERED = frozenset({CLOSED, RESET})
KEPT_S = 60.0
Place = tuple[str, int]
"""Host and port."""


class RequestFailed(Exception):
    """No whole answer came; the message is one of the names above."""


class Answer(NamedTuple):
    """``retry_after`` is empty where the header is missing."""

    status: int
    body: bytes
    retry_after: bytes


class _Connection(asyncio.Protocol):
    """One request at a time; ``free`` gets it after each. httptools calls the methods that begin with on_."""

    def __init__(self, free: Callable[[_Connection], None]) -> None:
        self._free = free
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._begun = self._length_known = False
        self._parts: list[bytes] = []
        self._retry_after = b""
        self.idle_since_s = 0.0

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """RequestFailed or TimeoutError without a whole answer; the connection is of no use then."""
        if self._transport is None:
            raise RequestFailed(CLOSED)
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(timeout_s, self._fail, TimeoutError())
        self._begun, self._length_known, self._parts, self._retry_after = False, False, [], b""
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:
            self.abort()
            raise
        finally:
            timer.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(RequestFailed(MALFORMED))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._begun:
            self._fail(RequestFailed(RESET if isinstance(exc, OSError) else CLOSED))
        elif self._length_known or exc is not None:
            self._fail(RequestFailed(BROKEN_OFF))
        else:
            self._finish()

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"retry-after":
            self._retry_after = value
        elif lowered in {b"content-length", b"transfer-encoding"}:
            self._length_known = True

    def on_headers_complete(self) -> None:
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.abort()

    def on_message_complete(self) -> None:
        self._finish()
        if self._transport is not None and self._parser.should_keep_alive():
            self.idle_since_s = time.monotonic()
            self._free(self)
        else:
            self.abort()

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(Answer(status, b"".join(self._parts), self._retry_after))

    def _fail(self, why: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(why)

    @property
    def usable(self) -> bool:
        return self._transport is not None and time.monotonic() - self.idle_since_s <= KEPT_S


@dataclass
class Connections:
    """To any number of servers; a request must be answered within ``timeout_s``, connecting included."""

    timeout_s: float
    _idle: defaultdict[Place, deque[_Connection]] = field(default_factory=lambda: defaultdict(deque), init=False)
    _reached: dict[Place, list[Place]] = field(default_factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    async def ask(self, place: Place, request: bytes, *, repeatable: bool = False) -> Answer:
        """RequestFailed or TimeoutError without a whole answer.

        A ``repeatable`` request is sent once more, by a new connection, when a kept one was closed or reset instead of
        an answer: the server may have closed it before the request came. From a new connection that is a refusal.
        """
        until_s = time.monotonic() + self.timeout_s
        kept = self._idle_longest(place)
        if kept is not None:
            try:
                return await kept.ask(request, self.timeout_s)
            except RequestFailed as failed:
                if not repeatable or str(failed) not in NOT_ANSWERED:
                    raise
        async with asyncio.timeout(until_s - time.monotonic()):
            opened = await self._opened(place)
        return await opened.ask(request, until_s - time.monotonic())

    def _idle_longest(self, place: Place) -> _Connection | None:
        idle = self._idle[place]
        while idle:
            found = idle.popleft()
            if found.usable:
                return found
            found.abort()
        return None

    async def _opened(self, place: Place) -> _Connection:
        """To the first address of the name that accepts; later connections go to the same."""
        loop, free = asyncio.get_running_loop(), partial(self._free, place)
        for host, port in self._reached.get(place) or await _addresses(place):
            try:
                _, opened = await loop.create_connection(lambda: _Connection(free), host, port)
            except OSError:
                continue
            self._reached[place] = [(host, port)]
            return opened
        raise RequestFailed(NOT_CONNECTED)

    def _free(self, place: Place, connection: _Connection) -> None:
        if self._closed:
            connection.abort()
        else:
            self._idle[place].append(connection)

    def close(self) -> None:
        """Idle connections are closed now, those with a request under way when it ends."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.popleft().abort()


async def _addresses(place: Place) -> list[Place]:
    """IP addresses of a host, each with the port."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*place, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RequestFailed(NOT_CONNECTED) from error
    return [(str(info[4][0]), int(info[4][1])) for info in found]
