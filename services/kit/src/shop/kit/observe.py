"""The middleware of every service: trace context, request id, metrics, body limit, unexpected errors.

One ASGI class, because each layer of middleware costs every request.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.kit import logging as kit_logging
from shop.kit import spans, streams
from shop.kit.errors import Problem, encoded_body
from shop.kit.exposition import LATENCY_BUCKETS_S
from shop.kit.http.connections import FIRST_FAULT_STATUS

log = logging.getLogger(__name__)

REQUESTS = Counter("shop_http_requests_total", "Requests answered", ["method", "route", "status"])
DURATION = Histogram(
    "shop_http_request_duration_seconds",
    "Time to the end of the answer",
    ["method", "route"],
    buckets=LATENCY_BUCKETS_S,
)
INFLIGHT = Gauge("shop_http_requests_inflight", "Requests being answered")
MAX_SERIES = 4_096
FAULTS = (500, 503)
"""What each route may answer when something is wrong."""
UNMATCHED = "unmatched"
CLIENT_GONE = 499
"""Counted for a request whose client did not wait for the answer."""
QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})


def inflight() -> int:
    """Requests being answered now."""
    return int(next(iter(INFLIGHT.collect())).samples[0].value)


class Observe:
    """``behind_gateway``: the gateway's X-Forwarded-Host and -Proto are the address that the client knows."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, behind_gateway: bool = True) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._behind_gateway = behind_gateway
        self._inflight = 0
        INFLIGHT.set_function(lambda: self._inflight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._behind_gateway:
            _apply_forwarded_headers(scope, headers)
        exchange = _Exchange(scope, headers, receive, send, self._max_body_bytes)
        self._inflight += 1
        try:
            await exchange.run(self._app)
        finally:
            self._inflight -= 1
            exchange.count()


def _apply_forwarded_headers(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Make redirects and links use the address that the client knows. Only the gateway can reach a service, and it
    replaces these headers of a client."""
    if host := headers.get(b"x-forwarded-host"):
        scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != b"host"), (b"host", host)]
    if headers.get(b"x-forwarded-proto") in (b"http", b"https"):
        scope["scheme"] = headers[b"x-forwarded-proto"].decode()


class _Exchange:
    def __init__(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send, max_body_bytes: int
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._left_bytes = self._max_body_bytes = max_body_bytes
        self._headers = headers
        change = scope["method"] not in SAFE
        self._span = spans.ServerSpan(self._header(b"traceparent"), self._header(b"x-request-id"), change=change)
        self._request_id = self._span.request_id.encode()
        kit_logging.in_request(scope)
        self._status = 0
        self._task = asyncio.current_task()
        self._stream: streams.EventStream | None = None

    def _header(self, name: bytes) -> str | None:
        value: bytes | None = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def run(self, app: ASGIApp) -> None:
        try:
            length = self._headers.get(b"content-length")
            if length is not None and int(length) > self._max_body_bytes:
                await self._too_large().response()(self._scope, self._receive, self.send)
                return
            if refusal := encoded_body(self._header(b"content-encoding") or ""):
                await refusal.response()(self._scope, self._receive, self.send)
                return
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if self._stream is None or not self._stream.ended or self._task is None:
                raise
            self._task.uncancel()
        except Problem as problem:
            await self._fail(problem)
        except Exception as error:
            spans.annotate(error)
            log.exception(
                "request failed",
                extra={"event": "request_failed", "method": self._scope["method"], "route": self._route()},
            )
            await self._fail(Problem(500, "internal_error", "Something went wrong on our side."))

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"The body may have at most {self._max_body_bytes} bytes.")

    async def _fail(self, problem: Problem) -> None:
        if self._status:
            raise ConnectionAbortedError("failed after the answer had begun")
        await problem.response()(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left_bytes -= len(message.get("body", b""))
            if self._left_bytes < 0:
                raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self._request_id)]
            if self._task is not None and streams.is_stream(message["headers"]):
                self._stream = streams.EventStream(self._send, self._task)
        elif self._stream is not None:
            await self._stream.send(message)
            return
        await self._send(message)

    def count(self) -> None:
        if self._stream is not None:
            self._stream.close()
        name = self._route()
        if name in QUIET_ROUTES:
            return
        method = self._scope["method"] if self._scope["method"] in METHODS else "OTHER"
        status = self._status or CLIENT_GONE
        requests, duration = _series(method, name, status)
        seconds = self._span.seconds()
        requests.inc()
        failed = status >= FIRST_FAULT_STATUS
        recorded = self._span.is_recorded(0.0 if self._stream else seconds, failed=failed)
        duration.observe(seconds, {"trace_id": self._span.trace.trace_id} if recorded else None)
        if recorded:
            self._span.end(f"{method} {name}", self._attributes(method, name), failed=str(status) if failed else "")

    def _route(self) -> str:
        """The template of the path, of which there are few; a path itself may hold what a person entered."""
        route: Any = self._scope.get("route")
        return getattr(route, "path", UNMATCHED)

    def _attributes(self, method: str, route: str) -> spans.Attributes:
        order_id = kit_logging.subjects().get("order_id")
        return {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": self._status or CLIENT_GONE,
            "url.scheme": self._scope["scheme"],
            **({spans.ORDER_ID: str(order_id)} if order_id else {}),
        }


@functools.lru_cache(maxsize=MAX_SERIES)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The children of these labels, cached: looking them up in the metric takes a lock each time."""
    return REQUESTS.labels(method, route, status), DURATION.labels(method, route)


def expect(routes: Iterable[tuple[str, str, int]], faults: Iterable[int] = FAULTS) -> None:
    """Make the time series of ``routes``: method, template, and status of a success."""
    for method, route, success in routes:
        if route not in QUIET_ROUTES:
            for status in (success, *faults):
                _series(method, route, status)


SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
