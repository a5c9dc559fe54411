"""One request on its way through: body in, answer out, both as streams, and an end to whatever takes too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from enum import StrEnum

import aiohttp
from multidict import CIMultiDict
from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from shop.gateway.connections import BROKEN, HUNG_UP, NOT_CONNECTED, Connections
from shop.gateway.headers import RequestHeaders, response_headers
from shop.gateway.routing import Target, is_repeatable
from shop.gateway.settings import Settings
from shop.gateway.upstreams import Instance, Upstream
from shop.kit.errors import Problem
from shop.kit.http.reconnect import Reconnect

log = logging.getLogger(__name__)

WATCH_AFTER_S = 0.1
"""A client that leaves is noticed this late; most requests are over by then and need no watcher."""
EVENT_STREAM = b"text/event-stream"
FAULT = 500
"""From this status on an answer is the service's own fault and worth a line in the log."""

REQUESTS = Counter("shop_gateway_requests_total", "Requests sent on", ["upstream", "route", "status"])
FAILURES = Counter(
    "shop_gateway_upstream_failures_total", "Why an upstream did not answer in full", ["upstream", "reason"]
)
RECONNECTS = Counter("shop_gateway_reconnects_total", "Further tries of requests that could not be sent", ["upstream"])
REPEATS = Counter("shop_gateway_repeats_total", "Requests sent again because a connection was closed", ["upstream"])


class Ended(StrEnum):
    """Why an exchange was stopped from outside."""

    TIMEOUT = "timeout"
    DISCONNECT = "disconnect"


class ClientGone(Exception):
    """The client left before it had sent its whole request."""


class Body:
    """The request's body: at once when it has arrived in one piece, else as a stream that is read when it is wanted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._first = b""
        self.complete = asyncio.Event()
        self.whole = False
        """Whether all of it is at hand, to be sent more than once; it is no longer than `max_body_bytes` then."""
        self.error: Exception | None = None

    async def start(self, headers: RequestHeaders) -> None:
        """Read the first piece; Problem 413 when it is too long."""
        if headers.has_body:
            self._first = await self._read()
        else:
            self.complete.set()
        self.whole = self.complete.is_set()
        if not self.whole and headers.content_length:
            headers.forwarded.append(("content-length", headers.content_length))

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if not message.get("more_body", False):
            self.complete.set()
        body: bytes = message.get("body", b"")
        return body

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """What the upstream is sent; to be asked for once per try."""
        return (self._first or None) if self.whole else self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            yield self._first
            while not self.complete.is_set():
                yield await self._read()
        except (ClientGone, Problem) as error:
            self.error = error
            raise


class Exchange:
    """Sends one request to an instance of ``upstream`` and its answer to the client.

    Raises a Problem as long as nothing was sent to the client. Afterwards a failure ends the connection without a
    good end, so that nobody takes half an answer for a whole one.
    """

    def __init__(self, connections: Connections, settings: Settings, upstream: Upstream, target: Target) -> None:
        self._connections = connections
        self._settings = settings
        self._upstream = upstream
        self._target = target
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ended: Ended | None = None
        self._started = False
        self._repeated = False
        self._instance: Instance | None = None

    async def run(
        self, scope: Scope, receive: Receive, send: Send, headers: RequestHeaders, extra: list[tuple[bytes, bytes]]
    ) -> None:
        """Carry the exchange through. ``extra`` headers are added to the answer."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._body = body = Body(receive)
        watch = loop.call_later(WATCH_AFTER_S, self._start_watching, body, receive)
        self._deadline = loop.call_later(self._settings.total_timeout_s, self._end, Ended.TIMEOUT)
        try:
            await body.start(headers)
            await self._send_on(scope, send, headers, body, extra)
        except asyncio.CancelledError:
            if self._ended is None or self._task is None:
                raise
            self._task.uncancel()
            self._stopped(self._ended, body)
        except ClientGone:
            FAILURES.labels(self._upstream.service, Ended.DISCONNECT).inc()
        finally:
            watch.cancel()
            self._deadline.cancel()
            if self._watcher is not None:
                self._watcher.cancel()

    def _start_watching(self, body: Body, receive: Receive) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch(body, receive))

    async def _watch(self, body: Body, receive: Receive) -> None:
        """Stop the exchange when the client leaves; its body, while it is being read, tells that by itself."""
        await body.complete.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end(Ended.DISCONNECT)

    def _end(self, why: Ended) -> None:
        if self._ended is None and self._task is not None:
            self._ended = why
            self._task.cancel()

    def _stopped(self, why: Ended, body: Body) -> None:
        """What a stopped exchange means: for the breaker, and as a Problem for a client that still waits."""
        if why is Ended.DISCONNECT:
            FAILURES.labels(self._upstream.service, why).inc()
            return
        self._note(why, f"after {self._settings.total_timeout_s:g} s")
        if not body.complete.is_set():
            self._refuse(Problem(408, "request_timeout", "The request took too long.", headers={"Connection": "close"}))
            return
        if self._instance is not None:
            self._instance.breaker.failed()
        self._refuse(Problem(504, "upstream_timeout", f"{self._upstream.service} did not answer in time."))

    def _refuse(self, problem: Problem) -> None:
        """Raise ``problem``, unless the answer has begun: then leaving it unfinished breaks the connection."""
        if not self._started:
            raise problem

    async def _send_on(
        self, scope: Scope, send: Send, headers: RequestHeaders, body: Body, extra: list[tuple[bytes, bytes]]
    ) -> None:
        search: Reconnect[Instance] | None = None
        following = self._upstream.pick()
        while following is not None:
            instance = self._instance = following
            instance.inflight += 1
            try:
                response = await self._request(instance, scope, headers, body)
                if response is not None:
                    await self._relay(instance, response, send, extra)
                    return
                search = search or Reconnect(self._upstream.pick, self._settings.connect_window_s)
                following = await search.after(instance)
                if following is not None:
                    RECONNECTS.labels(self._upstream.service).inc()
            finally:
                instance.inflight -= 1
        if search is not None:
            self._note("refused", "no connection could be made")
        raise self._unavailable()

    def _unavailable(self) -> Problem:
        service, wait_s = self._upstream.service, self._upstream.retry_after_s()
        detail = f"{service} is not available at the moment; please try again."
        return Problem(503, f"{service}_unavailable", detail, headers={"Retry-After": str(wait_s)})

    async def _request(
        self, instance: Instance, scope: Scope, headers: RequestHeaders, body: Body
    ) -> aiohttp.ClientResponse | None:
        """The head of the answer; None when the instance cannot be connected to, so that another may be tried."""
        try:
            response = await self._sent(instance, scope, headers, body)
        except NOT_CONNECTED:
            instance.refused = True
            return None
        except BROKEN as error:
            instance.refused = False
            if body.error is not None:
                raise body.error from error
            self._failed(instance, error)
            detail = f"{self._upstream.service} broke off before it answered."
            raise Problem(502, "upstream_failed", detail) from error
        instance.refused = False
        instance.breaker.succeeded()
        return response

    async def _sent(
        self, instance: Instance, scope: Scope, headers: RequestHeaders, body: Body
    ) -> aiohttp.ClientResponse:
        """The head of the answer.

        An ending service closes connections, perhaps just as a request is written to one. What may be carried out
        twice is sent once more then, on a connection of its own.
        """
        try:
            return await self._send_to(instance, self._connections.kept, scope, headers, body)
        except NOT_CONNECTED:
            raise
        except HUNG_UP:
            repeatable = body.whole and is_repeatable(scope["method"], scope["path"], headers.forwarded)
            if self._repeated or not repeatable:
                raise
        self._repeated = True
        REPEATS.labels(self._upstream.service).inc()
        return await self._send_to(instance, self._connections.fresh, scope, headers, body)

    async def _send_to(
        self,
        instance: Instance,
        session: aiohttp.ClientSession,
        scope: Scope,
        headers: RequestHeaders,
        body: Body,
    ) -> aiohttp.ClientResponse:
        return await session.request(
            scope["method"],
            instance.url(scope["raw_path"], scope["query_string"]),
            headers=CIMultiDict(headers.forwarded),
            data=body.data(),
            allow_redirects=False,
        )

    def _failed(self, instance: Instance, error: Exception) -> None:
        self._note("broken", f"{type(error).__name__}: {error}")
        instance.breaker.failed()

    def _note(self, reason: str, detail: str) -> None:
        """Count and log why the upstream did not answer in full."""
        FAILURES.labels(self._upstream.service, reason).inc()
        log.warning("%s: %s %s", self._upstream.service, reason, detail, extra={"route": self._target.path})

    async def _relay(
        self, instance: Instance, response: aiohttp.ClientResponse, send: Send, extra: list[tuple[bytes, bytes]]
    ) -> None:
        service, status = self._upstream.service, response.status
        REQUESTS.labels(service, self._target.path, status).inc()
        if status >= FAULT:
            log.warning("%s answered %s", service, status, extra={"route": self._target.path})
        headers = response_headers(response.raw_headers, extra, api=self._target.api)
        if _is_event_stream(headers):
            self._deadline.cancel()
        try:
            await self._pump(response, {"type": "http.response.start", "status": status, "headers": headers}, send)
        except BROKEN as error:
            if self._body.error is None:
                self._failed(instance, error)
        finally:
            response.close()

    async def _pump(self, response: aiohttp.ClientResponse, start: dict[str, object], send: Send) -> None:
        content = response.content
        chunk = content.read_nowait()
        self._started = True
        await send(start)
        while not content.at_eof():
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await content.readany()
        await send({"type": "http.response.body", "body": chunk, "more_body": False})


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in headers)
