"""One request on its way through: body in, answer out, both as streams, with a limit on whatever takes too long."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator
from enum import StrEnum

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from shop.gateway.headers import RequestHeaders, response_headers
from shop.gateway.overload import ConcurrencyLimits, Slot
from shop.gateway.routing import Target, is_repeatable, is_safe, routes_of_services
from shop.gateway.services import EVENT_STREAMS
from shop.gateway.settings import Settings
from shop.kit import observe
from shop.kit.errors import Problem
from shop.kit.exposition import start_at_zero
from shop.kit.http.answer import Answer
from shop.kit.http.client_span import answered
from shop.kit.http.connection import Body
from shop.kit.http.connections import FAILED, FIRST_FAULT_STATUS
from shop.kit.http.pool import Exchange, NoInstance, NotConnected, Request, ServicePool
from shop.kit.observe import MAX_SERIES
from shop.kit.streams import is_stream

log = logging.getLogger(__name__)

WATCH_AFTER_S = 0.1
"""Client disconnects are watched for after this time; most requests are over by then and need no watcher."""

REQUESTS = Counter("shop_gateway_requests_total", "Requests sent on", ["upstream", "route", "status"])
FAILURES = Counter(
    "shop_gateway_upstream_failures_total", "Why an upstream did not answer in full", ["upstream", "reason"]
)
RECONNECTS = Counter("shop_gateway_reconnects_total", "Further tries of requests that could not be sent", ["upstream"])
REPEATS = Counter(
    "shop_gateway_repeats_total",
    "Requests sent again: a connection was closed, or an instance answered 503",
    ["upstream"],
)


REASONS = ("timeout", "disconnect", "refused", "broken")
EXPECTED_STATUSES = (200, 201, 500, 503)
METHODS = ("GET", "POST")
FAULTS = (500, 502, 503, 504)
"""What the gateway itself answers when an upstream, or it, cannot."""


def expect(service: str) -> None:
    """Make the time series of a service's routes, as far as they are known before the first request."""
    routes = [route for owner, route in routes_of_services() if owner == service]
    start_at_zero(REQUESTS, [service], routes, [str(status) for status in EXPECTED_STATUSES])
    start_at_zero(FAILURES, [service], REASONS)
    for counter in (RECONNECTS, REPEATS):
        counter.labels(service)
    observe.expect([(method, route, 200) for method in METHODS for route in routes], FAULTS)


@functools.lru_cache(maxsize=MAX_SERIES)
def _requests(service: str, route: str, status: int) -> Counter:
    """The child of these labels, cached: looking it up in the metric takes a lock each time."""
    return REQUESTS.labels(service, route, status)


class Stop(StrEnum):
    """Why a request was stopped before its answer was complete."""

    TIMEOUT = "timeout"
    DISCONNECT = "disconnect"


class ClientDisconnected(Exception):
    """The client closed its connection before it had sent its whole request."""


class RequestBody:
    """The request's body: at once when it has arrived in one piece, else as a stream that is read as it is sent on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._first = b""
        self.complete = asyncio.Event()
        self.buffered = False
        """Whether all of it is in memory, to be sent more than once; it is no longer than `max_body_bytes` then."""
        self.error: Exception | None = None

    async def start(self, headers: RequestHeaders) -> None:
        """Read the first piece; Problem 413 when it is too long."""
        if headers.has_body:
            self._first = await self._read()
        else:
            self.complete.set()
        self.buffered = self.complete.is_set()
        if not self.buffered and headers.content_length:
            headers.forwarded.append(("content-length", headers.content_length))

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        if not message.get("more_body", False):
            self.complete.set()
        body: bytes = message.get("body", b"")
        return body

    def data(self) -> Body:
        """What the upstream is sent; to be called once per try."""
        return (self._first or None) if self.buffered else self._stream()

    async def _stream(self) -> AsyncGenerator[bytes]:
        try:
            yield self._first
            while not self.complete.is_set():
                yield await self._read()
        except (ClientDisconnected, Problem) as error:
            self.error = error
            raise


class ProxiedRequest:
    """Sends one request to an instance of ``upstream`` and its answer to the client.

    Raises a Problem as long as nothing was sent to the client. Afterwards a failure leaves the answer incomplete and
    closes the client's connection, so that an incomplete answer is never taken for a complete one.
    """

    def __init__(self, settings: Settings, upstream: ServicePool, target: Target, limits: ConcurrencyLimits) -> None:
        self._settings = settings
        self._upstream = upstream
        self._target = target
        self._limits = limits
        self._slot: Slot | None = None
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stop: Stop | None = None
        self._started = False
        self._is_stream = False
        self._exchange: Exchange | None = None

    async def run(
        self, scope: Scope, receive: Receive, send: Send, headers: RequestHeaders, extra: list[tuple[bytes, bytes]]
    ) -> None:
        """Send the request on and the answer back. ``extra`` headers are added to the answer."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._body = body = RequestBody(receive)
        watch = loop.call_later(WATCH_AFTER_S, self._start_watching, receive)
        self._deadline = loop.call_later(self._settings.total_timeout_s, self._cancel, Stop.TIMEOUT)
        try:
            await body.start(headers)
            if body.buffered:  # how long another one takes is up to the client
                self._slot = self._limits.begin(self._upstream.service)
            await self._send_on(scope, send, headers, extra)
        except asyncio.CancelledError:
            if self._stop is None or self._task is None:
                raise
            self._task.uncancel()
            self._stopped(self._stop)
        except ClientDisconnected:
            FAILURES.labels(self._upstream.service, Stop.DISCONNECT).inc()
        finally:
            self._answered()
            watch.cancel()
            self._deadline.cancel()
            if self._watcher is not None:
                self._watcher.cancel()

    def _start_watching(self, receive: Receive) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch(receive))

    async def _watch(self, receive: Receive) -> None:
        """Stop when the client closes its connection; as long as its body is being read, reading notices that."""
        await self._body.complete.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        self._cancel(Stop.DISCONNECT)

    def _cancel(self, why: Stop) -> None:
        if self._stop is None and self._task is not None:
            self._stop = why
            self._task.cancel()

    def _stopped(self, why: Stop) -> None:
        """What a stopped request means: for the breaker, and as a Problem for a client that still waits."""
        if why is Stop.DISCONNECT:
            self._answered(sampled=False)
            FAILURES.labels(self._upstream.service, why).inc()
            return
        self._record_failure(why, f"after {self._settings.total_timeout_s:g} s")
        if not self._body.complete.is_set():
            problem = Problem(408, "request_timeout", "The request took too long.", headers={"Connection": "close"})
        else:
            if self._exchange is not None:
                self._exchange.failed()
            problem = Problem(504, "upstream_timeout", f"{self._upstream.service} did not answer in time.")
        if not self._started:
            raise problem

    async def _send_on(
        self, scope: Scope, send: Send, headers: RequestHeaders, extra: list[tuple[bytes, bytes]]
    ) -> None:
        method, query = scope["method"], scope["query_string"]
        call = method, scope["path"], headers.forwarded
        request = Request(
            method,
            (scope["raw_path"] + b"?" + query if query else scope["raw_path"]).decode("ascii"),
            headers.forwarded,
            self._body.data,
            repeatable=self._body.buffered and is_repeatable(*call),
            safe=self._body.buffered and is_safe(*call),
            stream=self._target.path in EVENT_STREAMS,
        )
        exchange: Exchange | None = Exchange(self._upstream, request, self._settings.connect_window_s)
        while exchange is not None:
            exchange = await self._send_once(exchange, send, extra)

    async def _send_once(self, exchange: Exchange, send: Send, extra: list[tuple[bytes, bytes]]) -> Exchange | None:
        """Send the answer back; of a 503 that another instance may do better, return the exchange with that one."""
        service = self._upstream.service
        self._exchange = exchange
        try:
            async with exchange as answer:
                if answer.status >= FIRST_FAULT_STATUS or answer.misrouted:
                    exchange.faulted()
                else:
                    exchange.succeeded()
                another = exchange.elsewhere()
                if another is None:
                    # The service's own restart says nothing about its load.
                    self._answered(sampled=not exchange.reconnects)
                    await self._relay(answer, send, extra)
                return another
        except NotConnected as error:
            self._answered(sampled=False)
            if not isinstance(error, NoInstance):
                self._record_failure("refused", "no connection could be made")
            raise self._unavailable() from error
        except FAILED as error:
            self._failed(exchange, error)
            return None
        finally:
            if exchange.reconnects:
                RECONNECTS.labels(service).inc(exchange.reconnects)
            if exchange.repeated:
                REPEATS.labels(service).inc()

    def _answered(self, *, sampled: bool = True) -> None:
        """Give the request's place to another one: sending the answer to a slow client is no work of the service."""
        if self._slot is not None:
            self._slot.end(sampled=sampled)

    def _failed(self, exchange: Exchange, error: Exception) -> None:
        """The service, or the client's own body, broke off: a Problem as long as the answer has not begun.

        That a stream breaks off is no failure for the breaker: one restart ends hundreds of them at once, and says
        nothing about the next request.
        """
        if self._body.error is None:
            self._record_failure("broken", f"{type(error).__name__}: {error}")
            if not self._is_stream:
                exchange.failed()
        if self._started:
            return
        if self._body.error is not None:
            raise self._body.error from error
        raise Problem(502, "upstream_failed", f"{self._upstream.service} broke off before it answered.") from error

    def _unavailable(self) -> Problem:
        service, wait_s = self._upstream.service, self._upstream.retry_after_s()
        detail = f"{service} is not available at the moment; please try again."
        return Problem(503, f"{service}_unavailable", detail, headers={"Retry-After": str(wait_s)})

    def _record_failure(self, reason: str, detail: str) -> None:
        """Count and log why the upstream did not answer in full."""
        FAILURES.labels(self._upstream.service, reason).inc()
        log.warning(
            "%s: %s %s",
            self._upstream.service,
            reason,
            detail,
            extra={"event": "upstream_failed", "route": self._target.path},
        )

    async def _relay(self, answer: Answer, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        service, status = self._upstream.service, answer.status
        _requests(service, self._target.path, status).inc()
        if self._exchange is not None:
            answered(self._exchange, status)
        if status >= FIRST_FAULT_STATUS:
            log.warning(
                "%s answered %s",
                service,
                status,
                extra={"event": "upstream_error_answered", "route": self._target.path},
            )
        headers = response_headers(answer.headers, extra, api=self._target.api)
        if self._exchange is not None and is_stream(headers):
            self._is_stream = True
            self._deadline.cancel()
            self._exchange.becomes_stream()
        chunk = answer.read_nowait()
        self._started = True
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while not answer.at_end:
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await answer.read_some()
        await send({"type": "http.response.body", "body": chunk, "more_body": False})
