from __future__ import annotations

import pytest

from shop.gateway.headers import MAX_HEADER_BYTES, MAX_HEADERS, read_request, response_headers
from shop.kit.errors import Problem

Pairs = list[tuple[bytes, bytes]]


def names(headers: Pairs) -> list[str]:
    return [name for name, _ in read_request(headers).forwarded]


@pytest.mark.parametrize(
    "name",
    [
        b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-authorization", b"proxy-connection",
        b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip",
        b"x-request-id", b"traceparent", b"x-shop-internal", b"x-shop-user", b"content-length",
    ],
)  # fmt: skip
def test_headers_that_are_not_forwarded(name: bytes) -> None:
    assert names([(name, b"1"), (b"accept", b"*/*")]) == ["accept"]


def test_headers_named_by_connection_are_not_forwarded() -> None:
    raw = [(b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"x-other", b"2")]
    assert names(raw) == ["x-other"]


def test_header_values_are_forwarded_unchanged() -> None:
    raw = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-name", "Jürgen".encode()), (b"host", b"shop.local")]
    assert read_request(raw).forwarded == [
        ("cookie", "a=1"), ("cookie", "b=2"), ("x-name", "Jürgen"), ("host", "shop.local"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        ([(b"x", b"\xff")], 400, "malformed_header"),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400, "ambiguous_request"),
        ([(b"content-length", b"1"), (b"content-length", b"2")], 400, "ambiguous_request"),
        ([(b"transfer-encoding", b"gzip, chunked")], 400, "ambiguous_request"),
        ([(b"transfer-encoding", b"identity")], 400, "ambiguous_request"),
        ([(b"host", b"a"), (b"host", b"b")], 400, "ambiguous_request"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], 400, "ambiguous_request"),
        ([(b"idempotency-key", b"a"), (b"idempotency-key", b"b")], 400, "ambiguous_request"),
        ([(b"idempotency-key", b"a"), (b"idempotency-key", b"a")], 400, "ambiguous_request"),
        ([(b"content-encoding", b"gzip")], 415, "unsupported_content_encoding"),
        ([(b"content-encoding", b"identity, br")], 415, "unsupported_content_encoding"),
        ([(b"x", b"1")] * (MAX_HEADERS + 1), 431, "headers_too_large"),
        ([(b"x", b"1" * MAX_HEADER_BYTES)], 431, "headers_too_large"),
    ],
)
def test_malformed_headers_are_refused(raw: Pairs, status: int, code: str) -> None:
    with pytest.raises(Problem) as refused:
        read_request(raw)
    assert (refused.value.status, refused.value.code) == (status, code)


def test_hop_by_hop_headers_are_removed_and_security_headers_added() -> None:
    raw = [
        (b"server", b"x"),
        (b"date", b"y"),
        (b"transfer-encoding", b"chunked"),
        (b"x-request-id", b"z"),
        (b"etag", b"e"),
    ]
    assert response_headers(raw, [], api=False) == [(b"etag", b"e")]
    protected = dict(response_headers(raw, [(b"vary", b"Origin")], api=True))
    assert protected[b"x-content-type-options"] == b"nosniff"
    assert protected[b"cache-control"] == b"no-store"
    assert protected[b"vary"] == b"Origin"
    assert b"server" not in protected


def test_security_headers_of_a_service_are_kept() -> None:
    answer = response_headers([(b"cache-control", b"public, max-age=60")], [], api=True)
    assert [value for name, value in answer if name == b"cache-control"] == [b"public, max-age=60"]
