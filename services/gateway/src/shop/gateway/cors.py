"""Cross-origin calls, allowed for the origins in the settings only."""

from __future__ import annotations

from collections.abc import Collection

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, "
    b"X-Game-Server-Token, X-Request-Id, traceparent"
)
EXPOSED_HEADERS = b"ETag, Location, Retry-After, X-Request-Id"
PREFLIGHT_MAX_AGE_S = 600

Headers = list[tuple[bytes, bytes]]


def response_headers(origin: str, allowed: Collection[str]) -> Headers:
    """What a page of ``origin`` needs to read the answer; empty when the origin is not allowed."""
    if not allowed:
        return []
    vary = [(b"vary", b"Origin")]
    if origin not in allowed:
        return vary
    return [
        *vary,
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", EXPOSED_HEADERS),
    ]


def preflight_headers(origin: str, allowed: Collection[str]) -> Headers:
    """The answer to a preflight request. Cookies are never allowed: the API takes tokens."""
    if origin not in allowed:
        return []
    return [
        *response_headers(origin, allowed),
        (b"access-control-allow-methods", ALLOWED_METHODS),
        (b"access-control-allow-headers", ALLOWED_HEADERS),
        (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
    ]
