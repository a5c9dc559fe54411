"""Proxies server-sent events of the services: a browser has a session cookie, a service requires an access token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from shop.kit.errors import Unavailable
from shop.kit.http import Clients
from shop.kit.http.answer import Answer
from shop.kit.http.connections import FAILED, FIRST_FAULT_STATUS, Connections

MAX_STREAM_S = 600.0
"""A stream is closed after this time; the browser reconnects and resumes with Last-Event-ID."""

MAX_STREAMS = 512
CONNECT_TIMEOUT_S = 3.0
RETRY_MS = 3000
EVENT_ID = re.compile(r"[0-9]{1,20}")
"""What the services number their events with."""
HEADERS = {"X-Accel-Buffering": "no"}
RETRY_EVENT = f"retry: {RETRY_MS}\n\n".encode()


class _Forwarded(StreamingResponse):
    """Ends ``source`` with itself, also when the browser has gone before the first event."""

    def __init__(self, events: AsyncIterator[bytes], source: AsyncExitStack) -> None:
        super().__init__(events, headers=HEADERS, media_type="text/event-stream")
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()


class EventStreams:
    """At most MAX_STREAMS streams per process; a page without a stream still works by reloading."""

    def __init__(self, urls: Mapping[str, str], clients: Clients) -> None:
        """`urls` by the service's name; a service without a URL has no streams."""
        self._connections = Connections(
            connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=MAX_STREAM_S, per_host=MAX_STREAMS
        )
        self._services = {name: clients.get(name, url) for name, url in urls.items() if url}
        self._open = 0

    async def open(self, service: str, path: str, token: str, last_event_id: str) -> Response:
        """The stream after the event that was seen last; an id that no service gave is ignored.

        204 tells the browser not to reconnect; an empty stream tells it to try again later.
        """
        if self._open >= MAX_STREAMS:
            return Response(status_code=204)
        headers = {"accept": "text/event-stream"}
        if EVENT_ID.fullmatch(last_event_id):
            headers["last-event-id"] = last_event_id
        exchange = self._services[service].open_stream(
            path, token=token, headers=headers, connections=self._connections
        )
        stack = AsyncExitStack()
        try:
            upstream = await stack.enter_async_context(exchange)
        except (Unavailable, FAILED):
            return Response(RETRY_EVENT, headers=HEADERS, media_type="text/event-stream")
        if upstream.status >= FIRST_FAULT_STATUS:
            exchange.faulted()
        else:
            exchange.succeeded()
        if upstream.status != 200:
            await stack.aclose()
            return Response(status_code=204)
        exchange.becomes_stream()
        return _Forwarded(self._forward(upstream), stack)

    async def _forward(self, upstream: Answer) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            async with asyncio.timeout(MAX_STREAM_S):
                yield RETRY_EVENT
                while chunk := await upstream.read_some():
                    yield chunk
        except FAILED:
            return
        finally:
            self._open -= 1

    async def close(self) -> None:
        await self._connections.close()
