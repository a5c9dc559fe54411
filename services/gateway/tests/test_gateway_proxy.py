from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Handler, Open, Shop, answer_json, read_body
from shop.devkit.testing import wait_until

TOTAL_S = 1.0
"""Of a request whose answer has to begin, or to reach its service, before the end."""


async def test_a_request_passes_through_byte_for_byte(shop: Shop) -> None:
    body = {"sku": "a", "name": "Größe"}
    token = shop.customer()["Authorization"]
    headers = [(b"Authorization", token.encode()), (b"X-Custom", "Jürgen".encode()), (b"Cookie", b"a=1; b=2")]
    answer = await shop.client.post("/api/v1/products/caf%C3%A9?q=a%20b&q=%2F+c", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["service"] == "product"
    (call,) = shop.product.calls
    assert (call.method, call.path, call.query) == ("POST", "/api/v1/products/caf%C3%A9", "q=a%20b&q=%2F+c")
    assert call.body == b'{"sku":"a","name":"Gr\xc3\xb6\xc3\x9fe"}'
    assert call.header("content-type") == ["application/json"]
    assert call.header("cookie") == ["a=1; b=2"]
    assert call.header("x-custom") == ["Jürgen"]
    assert call.header("authorization") == [token]
    assert call.header("content-length") == [str(len(call.body))]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_passes(shop: Shop, method: str) -> None:
    answer = await shop.client.request(method, "/api/v1/orders", headers=shop.customer())
    assert answer.status_code == 200
    assert [call.method for call in shop.order.calls] == [method]


@pytest.mark.parametrize("status", [201, 202, 204, 304, 302, 402, 404, 409, 422, 500, 503])
async def test_every_status_is_passed_through(shop: Shop, status: int) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"location", b"/elsewhere"), (b"retry-after", b"7"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if status in (204, 304) else b'{"code":"theirs"}'})

    shop.product.handler = handler
    answer = await shop.client.get("/api/v1/products")
    assert answer.status_code == status
    assert answer.headers["location"] == "/elsewhere"
    assert answer.headers["retry-after"] == "7"
    assert answer.content == (b"" if status in (204, 304) else b'{"code":"theirs"}')


async def test_an_encoded_answer_is_not_decoded(shop: Shop) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-encoding", b"gzip"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"not really gzip"})

    shop.upstreams["storefront"].handler = handler
    async with shop.client.stream("GET", "/") as answer:
        assert b"".join([part async for part in answer.aiter_raw()]) == b"not really gzip"
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_events_arrive_one_by_one(shop: Shop) -> None:
    go_on = asyncio.Event()
    shop.order.handler = streaming(go_on)
    async with shop.client.stream("GET", "/api/v1/orders/1/events", headers=shop.customer()) as answer:
        events = answer.aiter_raw()
        assert await anext(events) == b"data: 1\n\n"
        go_on.set()
        assert await anext(events) == b"data: 2\n\n"
        with pytest.raises(StopAsyncIteration):
            await anext(events)


def streaming(go_on: asyncio.Event) -> Handler:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.wait_for(go_on.wait(), 10)
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    return handler


async def test_a_stream_outlives_the_total_timeout(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=TOTAL_S) as shop:
        go_on = asyncio.Event()
        shop.order.handler = streaming(go_on)
        too_late = time.monotonic() + TOTAL_S
        async with shop.client.stream("GET", "/api/v1/orders/1/events", headers=shop.customer()) as answer:
            events = answer.aiter_raw()
            assert await anext(events) == b"data: 1\n\n"
            await wait_until(lambda: time.monotonic() > too_late + 0.5)
            go_on.set()
            assert await anext(events) == b"data: 2\n\n"


async def test_a_silent_stream_is_closed(open_shop: Open) -> None:
    async with open_shop(stream_idle_timeout_s=0.3) as shop:
        seen: list[bytes] = []
        shop.order.handler = streaming(asyncio.Event())
        async with shop.client.stream("GET", "/api/v1/orders/1/events", headers=shop.customer()) as answer:
            with pytest.raises(httpx.RemoteProtocolError):
                await read_into(seen, answer)
        assert seen == [b"data: 1\n\n"]


async def read_into(seen: list[bytes], answer: httpx.Response) -> None:
    async for part in answer.aiter_raw():
        seen.append(part)  # noqa: PERF401 - an interrupted comprehension would keep nothing


async def test_a_request_body_is_forwarded_while_it_arrives(shop: Shop) -> None:
    arrived = asyncio.Event()
    parts: list[bytes] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            parts.append(message["body"])
            if b"first" in b"".join(parts):
                arrived.set()
            if not message.get("more_body"):
                break
        await answer_json(send, {})

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.wait_for(arrived.wait(), 10)
        yield b"second"

    shop.order.handler = handler
    assert (await shop.client.post("/api/v1/orders", content=body(), headers=shop.customer())).status_code == 200
    assert b"".join(parts) == b"firstsecond"


async def test_a_body_in_chunks_with_a_length_keeps_its_length(shop: Shop) -> None:
    token = shop.customer()["Authorization"].encode()
    reader, writer = await shop.connect()
    writer.write(b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n")
    writer.write(b"Content-Length: 10\r\nConnection: close\r\n\r\n01234")
    await wait_until(lambda: shop.order.calls, what="the head of the request upstream")
    writer.write(b"56789")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    (call,) = shop.order.calls
    assert (call.body, call.header("content-length")) == (b"0123456789", ["10"])
    assert call.header("transfer-encoding") == []


async def test_expect_continue_is_answered(shop: Shop) -> None:
    reader, writer = await shop.connect()
    writer.write(b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n")
    writer.write(b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"hello")
    assert b"HTTP/1.1 200" in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    (call,) = shop.upstreams["pricing"].calls
    assert (call.body, call.header("expect")) == (b"hello", [])


async def test_a_client_that_disconnects_within_its_body_is_no_failure_of_the_service(shop: Shop) -> None:
    noticed = asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await disconnected(receive)
        noticed.set()

    shop.upstreams["pricing"].handler = handler
    _, writer = await shop.connect()
    writer.write(b"POST /api/v1/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
    await wait_until(lambda: shop.upstreams["pricing"].calls)
    writer.close()
    await asyncio.wait_for(noticed.wait(), 10)
    instance = shop.gateway.upstreams["pricing"].instances[0]
    await wait_until(lambda: instance.inflight == 0)
    assert instance.breaker._failures == 0


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_a_disconnect_cancels_the_request(shop: Shop) -> None:
    noticed = asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await disconnected(receive)
        noticed.set()

    shop.order.handler = handler
    token = shop.customer()["Authorization"]
    _, writer = await shop.connect()
    writer.write(f"GET /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
    await wait_until(lambda: shop.order.calls)
    writer.close()
    await asyncio.wait_for(noticed.wait(), 10)
    await wait_until(lambda: shop.gateway.upstreams["order"].instances[0].inflight == 0)
    assert shop.gateway.upstreams["order"].instances[0].breaker.state == "closed"


async def test_a_disconnect_ends_a_stream(shop: Shop) -> None:
    noticed = asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        await disconnected(receive)
        noticed.set()

    shop.order.handler = handler
    async with shop.client.stream("GET", "/api/v1/orders/1/events", headers=shop.customer()) as answer:
        await anext(answer.aiter_raw())
    await asyncio.wait_for(noticed.wait(), 10)


@pytest.mark.parametrize("declared", [(b"content-length", b"1000"), (b"x-chunked", b"yes")])
async def test_an_answer_that_breaks_off_looks_incomplete(shop: Shop, declared: tuple[bytes, bytes]) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [declared]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ConnectionAbortedError

    shop.product.handler = handler
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.client.get("/api/v1/products")


async def test_an_upstream_that_is_too_slow_is_a_504(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=TOTAL_S) as shop:
        request_ended = asyncio.Event()

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            await read_body(receive)
            await disconnected(receive)
            request_ended.set()

        shop.order.handler = handler
        answer = await shop.client.post("/api/v1/orders", json={}, headers=shop.customer())
        assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")
        await asyncio.wait_for(request_ended.wait(), 10)
        assert len(shop.order.calls) == 1


async def test_an_answer_that_stalls_is_closed(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=TOTAL_S) as shop:

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await disconnected(receive)

        shop.product.handler = handler
        with pytest.raises(httpx.RemoteProtocolError):
            await shop.client.get("/api/v1/products")


async def test_a_slow_upload_is_a_408_and_no_failure_of_the_service(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=0.3) as shop:
        token = shop.customer()["Authorization"]
        head = f"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 10\r\n\r\n01"
        answer = await shop.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in answer
        assert shop.gateway.upstreams["order"].instances[0].breaker.state == "closed"


async def test_more_requests_than_an_instance_takes_are_refused_at_once(
    open_shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.kit.balancing.balancer.MAX_INFLIGHT", 2)
    go_on = asyncio.Event()
    async with open_shop() as shop:

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.wait_for(go_on.wait(), 10)
            await answer_json(send, {})

        shop.product.handler = handler
        held = [asyncio.create_task(shop.client.get("/api/v1/products")) for _ in range(2)]
        await wait_until(lambda: len(shop.product.calls) == 2)
        refused = await shop.client.get("/api/v1/products")
        assert (refused.status_code, refused.json()["code"]) == (503, "product_unavailable")
        assert refused.headers["retry-after"] == "1"
        go_on.set()
        assert [(await task).status_code for task in held] == [200, 200]
