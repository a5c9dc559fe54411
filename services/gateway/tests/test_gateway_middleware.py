from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.gateway.tests.conftest import NOUNS, Open, Shop
from shop.devkit.testing import Tokens

MAX_BODY_BYTES = 65_536


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, whose form is checked."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "trace_id"} <= set(body)
    assert body["status"] == answer.status_code
    assert answer.headers["x-request-id"]
    return answer.status_code, body["code"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/unicorns", 404, "unknown_service"),
        ("/internal/reservations", 404, "not_found"),
        ("/api/v1/products/%2e%2e/%2e%2e/internal/reservations", 400, "malformed_path"),
        ("//internal/reservations", 400, "malformed_path"),
        ("/api/v1/products/%00", 400, "malformed_path"),
        ("/api/v1/products/%FF%FE", 400, "malformed_path"),
        ("/api/v1/products/..%2finternal", 400, "malformed_path"),
        ("/%", 400, "malformed_path"),
    ],
)
async def test_ambiguous_paths_are_refused(shop: Shop, path: str, status: int, code: str) -> None:
    answer = await shop.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert f'"code":"{code}"'.encode() in answer
    assert shop.calls() == []


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_what_the_gateway_answers_itself_needs_no_service(shop: Shop, path: str) -> None:
    assert (await shop.client.get(path)).status_code == 200
    assert shop.calls() == []


async def test_health_does_not_depend_on_the_services(open_shop: Open) -> None:
    async with open_shop(down=tuple(NOUNS)) as shop:
        assert (await shop.client.get("/health/ready")).status_code == 200


async def test_a_missing_token_is_a_401_with_a_challenge(shop: Shop) -> None:
    answer = await shop.client.get("/api/v1/orders")
    assert problem(answer) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert shop.calls() == []


def bad_tokens(tokens: Tokens) -> dict[str, str]:
    claims = tokens.claims()
    hours = 3600
    public = "x" * 32
    none = jwt.encode(claims, "", algorithm="none", headers={"typ": "at+jwt", "kid": "test-key"})
    return {
        "other key": tokens.forged(),
        "alg none": none,
        "alg none, own signature part": none + "e30",
        "HS256": tokens.sign(claims, key=public, algorithm="HS256"),
        "unknown kid": tokens.sign(claims, kid="other"),
        "kid of another type": tokens.sign(claims, key=Ed25519PrivateKey.generate(), kid="../../etc/passwd"),
        "wrong type": tokens.sign(claims, typ="JWT"),
        "wrong audience": tokens.sign(tokens.claims(aud="other")),
        "wrong issuer": tokens.sign(tokens.claims(iss="other")),
        "not yet valid": tokens.sign(tokens.claims(nbf=claims["iat"] + hours)),
        "from the future": tokens.sign(tokens.claims(iat=claims["iat"] + hours, exp=claims["iat"] + 2 * hours)),
        "unknown role": tokens.sign(tokens.claims(role="root")),
        "no subject": tokens.sign({key: value for key, value in claims.items() if key != "sub"}),
        "no expiry": tokens.sign({key: value for key, value in claims.items() if key != "exp"}),
        "nonsense": "a.b.c",
        "too long": "x" * 5_000,
        "the internal token": "test-internal",
    }


async def test_forged_tokens_are_refused(shop: Shop) -> None:
    for name, token in bad_tokens(shop.tokens).items():
        answer = await shop.client.get("/api/v1/orders", headers={"Authorization": f"Bearer {token}"})
        assert (name, problem(answer)) == (name, (401, "invalid_token"))
        assert "invalid_token" in answer.headers["www-authenticate"]
    expired = await shop.client.get("/api/v1/orders", headers={"Authorization": f"Bearer {shop.tokens.expired()}"})
    assert problem(expired) == (401, "token_expired")
    assert shop.calls() == []


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer a b", "Token x"])
async def test_other_authorizations_are_no_tokens(shop: Shop, authorization: str) -> None:
    answer = await shop.client.get("/api/v1/orders", headers={"Authorization": authorization})
    assert problem(answer)[0] == 401
    assert shop.calls() == []


async def test_products_can_be_read_with_a_bad_token(shop: Shop) -> None:
    answer = await shop.client.get("/api/v1/products", headers={"Authorization": f"Bearer {shop.tokens.expired()}"})
    assert answer.status_code == 200


async def test_the_storefront_needs_no_token(shop: Shop) -> None:
    assert (await shop.client.get("/cart", headers={"Authorization": "Bearer nonsense"})).json()[
        "service"
    ] == "storefront"
    assert (await shop.client.get("/mailbox")).json()["service"] == "notification"
    assert (await shop.client.get("/.well-known/jwks.json")).json()["service"] == "user"


async def test_without_keys_tokens_cannot_be_verified(open_shop: Open) -> None:
    async with open_shop(down=("user",), jwks_url="http://127.0.0.1:1/jwks.json") as shop:
        answer = await shop.client.get("/api/v1/orders", headers=shop.customer())
        assert problem(answer) == (503, "user_unavailable")
        assert (await shop.client.get("/api/v1/products", headers=shop.customer())).status_code == 200


async def test_a_client_over_its_rate_gets_a_429_with_retry_after(open_shop: Open) -> None:
    async with open_shop(rate_limit_per_second=0.01, rate_limit_burst=3) as shop:
        for _ in range(3):
            assert (await shop.client.get("/api/v1/products")).status_code == 200
        refused = await shop.client.get("/api/v1/products")
        assert problem(refused) == (429, "rate_limited")
        assert 90 <= int(refused.headers["retry-after"]) <= 100
        assert len(shop.product.calls) == 3
        assert (await shop.client.get("/api/v1/products", headers=shop.customer())).status_code == 200
        assert (await shop.client.get("/health/live")).status_code == 200
        assert 'shop_gateway_rate_limited_total{bucket="client"}' in (await shop.client.get("/metrics")).text


async def test_a_forged_forwarded_for_is_ignored(open_shop: Open) -> None:
    async with open_shop(rate_limit_per_second=0.01, rate_limit_burst=1) as shop:
        statuses = [
            (await shop.client.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
            for number in range(3)
        ]
        assert statuses == [200, 429, 429]


async def test_behind_a_trusted_proxy_clients_have_limits_of_their_own(open_shop: Open) -> None:
    async with open_shop(rate_limit_per_second=0.01, rate_limit_burst=1, trusted_proxies="127.0.0.0/8") as shop:
        statuses = [
            (await shop.client.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
            for number in (1, 2, 1)
        ]
        assert statuses == [200, 200, 429]


async def test_signing_in_has_a_stricter_limit(open_shop: Open) -> None:
    async with open_shop(sign_in_rate_limit_per_second=0.01, sign_in_rate_limit_burst=2) as shop:
        for path in ("/api/v1/users", "/api/v1/tokens"):
            assert (await shop.client.post(path, json={})).status_code == 200
        assert problem(await shop.client.post("/api/v1/tokens", json={})) == (429, "rate_limited")
        assert (await shop.client.post("/api/v1/tokens/refresh", json={})).status_code == 200
        assert (await shop.client.get("/api/v1/products")).status_code == 200


async def test_a_declared_body_that_is_too_large_is_refused_unread(shop: Shop) -> None:
    answer = await shop.client.post("/api/v1/quotes", content=b"x" * (MAX_BODY_BYTES + 1))
    assert problem(answer) == (413, "body_too_large")
    assert shop.calls() == []


async def test_a_chunked_body_that_grows_too_large_is_refused(shop: Shop) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(2 * MAX_BODY_BYTES // 8192):
            yield b"x" * 8192

    answer = await shop.client.post("/api/v1/quotes", content=body())
    assert problem(answer) == (413, "body_too_large")
    assert all(len(call.body) <= MAX_BODY_BYTES for call in shop.calls())
    assert (await shop.client.post("/api/v1/quotes", content=b"x" * MAX_BODY_BYTES)).status_code == 200
    assert shop.gateway.upstreams["pricing"].instances[0].breaker.state == "closed"


async def test_too_many_headers_are_refused(shop: Shop) -> None:
    many = {f"x-{number}": "1" for number in range(150)}
    assert problem(await shop.client.get("/api/v1/products", headers=many)) == (431, "headers_too_large")
    assert problem(await shop.client.get("/", headers={"x-big": "1" * 40_000})) == (431, "headers_too_large")
    assert shop.calls() == []


async def test_internal_headers_of_clients_are_removed(shop: Shop) -> None:
    said = {
        "X-Shop-Internal": "test-internal",
        "X-Shop-User": "1",
        "Connection": "close, X-Drop",
        "X-Drop": "1",
        "X-Forwarded-For": "198.51.100.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=198.51.100.1",
        "X-Real-Ip": "198.51.100.1",
        "Upgrade": "websocket",
        "TE": "trailers",
    }
    await shop.client.get("/api/v1/products", headers=said)
    (call,) = shop.product.calls
    for name in ("x-shop-internal", "x-shop-user", "x-drop", "forwarded", "upgrade", "te", "connection"):
        assert call.header(name) == []
    assert call.header("x-forwarded-for") == ["127.0.0.1"]
    assert call.header("x-real-ip") == ["127.0.0.1"]
    assert call.header("x-forwarded-proto") == ["http"]
    assert call.header("x-forwarded-host") == call.header("host") == [f"127.0.0.1:{shop.client.base_url.port}"]


async def test_forwarded_headers_of_a_trusted_proxy_are_used(open_shop: Open) -> None:
    async with open_shop(trusted_proxies="127.0.0.1") as shop:
        said = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
        answer = await shop.client.get("/api/v1/products", headers=said)
        (call,) = shop.product.calls
        assert call.header("x-forwarded-for") == ["198.51.100.1, 127.0.0.1"]
        assert call.header("x-real-ip") == ["198.51.100.1"]
        assert call.header("x-forwarded-proto") == ["https"]
        assert call.header("x-forwarded-host") == ["shop.example"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_well_formed_request_id_and_trace_are_kept(shop: Shop) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    said = {"X-Request-Id": "cart-42", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await shop.client.get("/api/v1/products", headers=said)
    (call,) = shop.product.calls
    assert answer.headers.get_list("x-request-id") == ["cart-42"]
    assert call.header("x-request-id") == ["cart-42"]
    (traceparent,) = call.header("traceparent")
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01", traceparent)


@pytest.mark.parametrize("said", [{}, {"X-Request-Id": "a b<script>", "traceparent": "nonsense"}])
async def test_a_missing_or_malformed_request_id_or_trace_is_replaced(shop: Shop, said: dict[str, str]) -> None:
    answer = await shop.client.get("/api/v1/products", headers=said)
    (call,) = shop.product.calls
    (request_id,) = call.header("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert answer.headers["x-request-id"] == request_id
    (traceparent,) = call.header("traceparent")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", traceparent)


async def test_api_answers_carry_security_headers_also_when_they_are_refusals(shop: Shop) -> None:
    for path in ("/api/v1/products", "/api/v1/orders", "/api/v1/unicorns"):
        headers = (await shop.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


async def test_other_origins_are_not_allowed_by_default(shop: Shop) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    answer = await shop.client.get("/api/v1/products", headers=origin)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = await shop.client.options("/api/v1/orders", headers=origin)
    assert not [name for name in asked.headers if name.startswith("access-control")]


async def test_named_origins_may_call_the_api(open_shop: Open) -> None:
    async with open_shop(cors_origins="https://a.example,https://b.example") as shop:
        origin = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST"}
        asked = await shop.client.options("/api/v1/orders", headers=origin)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == "https://b.example"
        assert "POST" in asked.headers["access-control-allow-methods"]
        allowed_headers = set(asked.headers["access-control-allow-headers"].split(", "))
        assert allowed_headers >= {"Authorization", "Idempotency-Key", "If-Match", "Last-Event-ID"}
        assert "access-control-allow-credentials" not in asked.headers
        for answer in (
            await shop.client.get("/api/v1/products", headers=origin),
            await shop.client.get("/api/v1/orders", headers=origin),
        ):
            assert answer.headers["access-control-allow-origin"] == "https://b.example"
            assert answer.headers["vary"] == "Origin"
            exposed = set(answer.headers["access-control-expose-headers"].split(", "))
            assert exposed == {"ETag", "Location", "Retry-After", "X-Request-Id"}
        other = origin | {"Origin": "https://evil.example"}
        assert (await shop.client.options("/api/v1/orders", headers=other)).status_code == 403
        allowed = (await shop.client.get("/api/v1/products", headers=other)).headers
        assert "access-control-allow-origin" not in allowed


SMUGGLING: dict[str, bytes] = {
    "length and chunked": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "two lengths": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length with a sign": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "unknown coding": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na",
    "folded header": b"GET /api/v1/products HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n Content-Length: 5\r\n\r\n",
    "bad chunk size": b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"zz\r\na\r\n0\r\n\r\n",
    "NUL in a header": b"GET /api/v1/products HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
    "no version": b"GET /api/v1/products\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bytes in the path": b"GET /api/v1/products/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in a header": b"GET /api/v1/products HTTP/1.1\r\nHost: x\r\nX-A: \xff\xfe\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", SMUGGLING.values(), ids=SMUGGLING.keys())
async def test_ambiguous_and_malformed_requests_are_refused(shop: Shop, request_bytes: bytes) -> None:
    answer = await shop.raw(request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 5" not in answer
    assert [call for call in shop.calls() if call.service != "pricing"] == []
    assert all(call.path == "/api/v1/quotes" and call.body == b"" for call in shop.calls())


def mutated(request: bytes, chance: random.Random) -> bytes:
    """The request with a few bytes changed, removed, doubled or moved."""
    data = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 5)]
            case 2:
                data[at:at] = data[at : at + chance.randint(1, 20)]
            case _:
                data[at:at] = chance.choice([b"\r\n", b"\x00", b"%00", b"//", b"%2e%2e/", b"\xff", b": ", b"chunked"])
    return bytes(data) or b"\n"


async def status_of(shop: Shop, request: bytes) -> int:
    """The status of the first answer, 0 if the server waits for the rest of the request or closes."""
    reader, writer = await shop.connect()
    writer.write(request)
    try:
        line = await asyncio.wait_for(reader.readline(), 3)
        return int(line.split()[1]) if line else 0
    except (TimeoutError, ConnectionError):
        return 0
    finally:
        writer.close()


async def test_no_damaged_request_makes_the_gateway_fail(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=60) as shop:
        token = shop.customer()["Authorization"].encode()
        requests = [
            b"GET /api/v1/products/1?limit=5 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhello world!",
            b"PUT /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ]
        assert [await status_of(shop, request) for request in requests] == [200, 200, 200]
        chance = random.Random(7)
        damaged = [mutated(chance.choice(requests), chance) for _ in range(200)]
        statuses = await asyncio.gather(*(status_of(shop, request) for request in damaged))
        failed = [(status, request) for status, request in zip(statuses, damaged, strict=True) if status >= 500]
        assert failed == []
        assert statuses.count(400) > 20
        assert (await shop.client.get("/api/v1/products")).status_code == 200


async def test_pipelined_requests_get_their_own_answers(shop: Shop) -> None:
    requests = b"".join(
        b"GET /api/v1/products/%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
        % (number, b"Connection: close\r\n" if number == 3 else b"")
        for number in (1, 2, 3)
    )
    answers = await shop.raw(requests)
    assert re.findall(rb'"path":"/api/v1/products/(\d)"', answers) == [b"1", b"2", b"3"]


async def test_concurrent_requests_get_their_own_answers(shop: Shop) -> None:
    async def one(number: int) -> Any:
        answer = await shop.client.post(f"/api/v1/quotes?n={number}", content=f"body {number}".encode())
        return answer.json()["query"], answer.json()["body"]

    answers = await asyncio.gather(*(one(number) for number in range(100)))
    assert answers == [(f"n={number}", f"body {number}") for number in range(100)]
