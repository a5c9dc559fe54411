"""Which headers pass through, in each direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shop.kit.errors import Problem, encoded_body

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32_768

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
NOT_FORWARDED = HOP_BY_HOP | {
    b"content-length",
    b"expect",
    b"forwarded",
    b"traceparent",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-request-id",
}
"""Replaced by the gateway's own values, or meant for it alone."""
INTERNAL_PREFIX = b"x-shop-"
"""Headers between services, never accepted from outside."""
COMMON_CONNECTION_VALUES = ([b"keep-alive"], [b"close"])
NOT_RETURNED = HOP_BY_HOP | {b"server", b"date", b"x-request-id"}

API_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
NO_STORE = (b"cache-control", b"no-store")


@dataclass(slots=True)
class RequestHeaders:
    """The headers that the gateway itself reads, and the list that is forwarded."""

    forwarded: list[tuple[str, str]]
    host: str = ""
    authorization: str = ""
    origin: str = ""
    forwarded_for: str = ""
    forwarded_proto: str = ""
    forwarded_host: str = ""
    content_length: str = ""
    content_encoding: str = ""
    accept: str = ""
    idempotency_key: str = ""
    chunked: bool = False

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length not in ("", "0")


OWN_FIELDS = {
    b"host": "host",
    b"authorization": "authorization",
    b"origin": "origin",
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-forwarded-host": "forwarded_host",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"idempotency-key": "idempotency_key",
    b"accept": "accept",
}
SINGLE_VALUE = frozenset({b"host", b"authorization", b"content-length", b"origin", b"idempotency-key"})
"""With two of one of these, two programs could read different ones."""


def read_request(raw: Sequence[tuple[bytes, bytes]]) -> RequestHeaders:
    """Read a request's headers; Problem 431 when there are too many, 400 when they are ambiguous or not UTF-8, 415 for
    a compressed body."""
    if len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEADER_BYTES:
        raise Problem(431, "headers_too_large", f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them.")
    headers = RequestHeaders([])
    dropped = _named_by_connection(raw)
    for name, value in raw:
        text = _decode(value)
        if name in OWN_FIELDS:
            _set_field(headers, name, text)
        elif name == b"transfer-encoding":
            headers.chunked = _is_chunked(text)
        if name not in NOT_FORWARDED and name not in dropped and not name.startswith(INTERNAL_PREFIX):
            headers.forwarded.append((name.decode("ascii"), text))
    if headers.chunked and headers.content_length:
        raise _ambiguous("Content-Length and Transfer-Encoding exclude each other.")
    if refusal := encoded_body(headers.content_encoding):
        raise refusal
    return headers


def _set_field(headers: RequestHeaders, name: bytes, text: str) -> None:
    field = OWN_FIELDS[name]
    before = getattr(headers, field)
    if before and name in SINGLE_VALUE:
        raise _ambiguous(f"The header {name.decode('ascii')} may be sent once.")
    setattr(headers, field, f"{before},{text}" if before else text)


def _named_by_connection(raw: RawHeaders) -> frozenset[bytes]:
    """RFC 9110, 7.6.1: what Connection names is for this hop only."""
    named = [value for name, value in raw if name == b"connection"]
    if not named or named in COMMON_CONNECTION_VALUES:
        return frozenset()
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "malformed_header", "A header is not valid UTF-8.") from None


def _is_chunked(text: str) -> bool:
    if text.strip().lower() != "chunked":
        raise _ambiguous("The only supported Transfer-Encoding is chunked.")
    return True


def _ambiguous(detail: str) -> Problem:
    return Problem(400, "ambiguous_request", detail, headers={"Connection": "close"})


def response_headers(raw: RawHeaders, extra: RawHeaders, *, api: bool) -> list[tuple[bytes, bytes]]:
    """The headers for the client: the upstream's ``raw``, with names in lower case, and ``extra``; of the API also
    those that the upstream did not set itself."""
    kept = [pair for pair in raw if pair[0] not in NOT_RETURNED]
    if not api:
        return [*kept, *extra]
    present = {name for name, _ in kept}
    defaults = [pair for pair in (*API_SECURITY, NO_STORE) if pair[0] not in present]
    return [*kept, *defaults, *extra]
