"""The span of a request to another service."""

from __future__ import annotations

import contextlib

from yarl import URL

from shop.kit import spans
from shop.kit.http.connection import FIRST_ERROR_STATUS
from shop.kit.http.pool import Exchange
from shop.kit.spans import Kind, Span


def client_span(method: str, service: str) -> contextlib.AbstractContextManager[Span | None]:
    """The span of one request with its repetitions. Its name has the service instead of the path, which holds ids."""
    if not spans.recording():
        return spans.NOT_RECORDED
    return spans.span(f"{method} {service}", {"http.request.method": method, "peer.service": service}, Kind.CLIENT)


def answered(exchange: Exchange, status: int) -> None:
    """Note in the span of the request which instance answered it, and how."""
    span = spans.active()
    if span is None or exchange.instance is None:
        return
    address = URL(exchange.instance.base_url)
    span.attributes |= {
        "server.address": address.host or "",
        "server.port": address.port or 0,
        "http.response.status_code": status,
    }
    if exchange.reconnects or exchange.repeated:
        span.attributes["http.request.resend_count"] = exchange.reconnects + exchange.repeated
    if status >= FIRST_ERROR_STATUS:
        span.fail(str(status))
