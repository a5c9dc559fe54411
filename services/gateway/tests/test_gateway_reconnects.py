"""Requests to a service that starts, stops or is unreachable, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn

from services.gateway.tests.conftest import Open, Shop, Upstream
from shop.devkit.testing import wait_until
from shop.gateway.routing import is_repeatable
from shop.kit import serve
from shop.kit.balancing.breaker import State
from shop.kit.http.pool import READY_PATH

LONG_S = 30.0
"""A window that no test outlasts."""
KEY = {"Idempotency-Key": "order-1"}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
PAGE = b"HTTP/1.1 %b\r\nContent-Type: text/html\r\n%bContent-Length: %d\r\n\r\n%b"
OURS = b"X-Request-Id: visit-7\r\n"


class Server:
    """Reads whole requests and answers the first ``answered`` of each connection; then it reads one more and closes."""

    def __init__(self, answered: int, answer: bytes = OK) -> None:
        self.answered = answered
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.requests.append(await self._read(reader))
                number += 1
                if number > self.answered:
                    break
                writer.write(self.answer)
                await writer.drain()
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length:")
        ]
        return head + await reader.readexactly(sum(lengths))


@contextlib.contextmanager
def reserved_port() -> Iterator[socket.socket]:
    """A port that refuses connections until a server listens on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def answering(server: Server, listener: socket.socket) -> AsyncIterator[str]:
    """The server listens while the block runs; connections that are kept longer are not waited for."""
    listening = await asyncio.start_server(server, sock=listener)
    try:
        yield address(listener)
    finally:
        listening.close()


@contextlib.asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    with reserved_port() as listener:
        async with answering(server, listener) as url:
            yield url


def tries(shop: Shop, noun: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request from now on that the gateway tries to send to one service."""
    seen: list[str] = []
    connections: Any = shop.gateway._connections
    send = connections.send
    urls = {instance.base_url for instance in shop.gateway.upstreams[noun].instances}

    async def counting(base_url: str, method: str, target: str, *request: object, **options: object) -> object:
        if base_url in urls and target != READY_PATH:
            seen.append(base_url + target)
        return await send(base_url, method, target, *request, **options)

    monkeypatch.setattr(connections, "send", counting)
    return seen


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_a_request_waits_for_a_service_that_is_starting(
    open_shop: Open, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    server = Server(answered=1)
    with reserved_port() as listener:
        async with open_shop(order_url=address(listener), connect_window_s=LONG_S, total_timeout_s=LONG_S) as shop:
            tried = tries(shop, "order", monkeypatch)
            request = shop.client.request(method, "/api/v1/orders", headers=shop.customer(), content=b"body")
            asked = asyncio.create_task(request)
            await wait_until(lambda: len(tried) > 6)
            assert shop.gateway.upstreams["order"].instances[0].breaker._failures == 0
            async with answering(server, listener):
                assert (await asked).status_code == 200
    [received] = server.requests
    assert received.endswith(b"\r\n\r\nbody")


async def test_a_refused_request_counts_once_however_often_it_was_tried(
    open_shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"connect_window_s": 0.6, "breaker_failures": 3, "breaker_reset_seconds": 60}
    async with open_shop(down=("order",), **limits) as shop:
        tried = tries(shop, "order", monkeypatch)
        breaker = shop.gateway.upstreams["order"].instances[0].breaker
        for number in range(1, 4):
            assert breaker.state is State.CLOSED
            assert (await shop.client.get("/api/v1/orders", headers=shop.customer())).status_code == 503
            assert len(tried) >= 2 * number
        assert breaker.state is State.OPEN
        del tried[:]
        answer = await shop.client.get("/api/v1/orders", headers=shop.customer())
        assert (answer.status_code, answer.json()["code"], tried) == (503, "order_unavailable", [])


async def test_waiting_requests_fail_when_the_breaker_opens(open_shop: Open) -> None:
    async with open_shop(down=("order",), connect_window_s=LONG_S, total_timeout_s=LONG_S) as shop:
        [instance] = shop.gateway.upstreams["order"].instances
        asked = [
            asyncio.create_task(shop.client.get("/api/v1/orders", headers=shop.customer())) for number in range(10)
        ]
        await wait_until(lambda: instance.inflight == 10)
        for _ in range(instance.breaker.failures_to_open):
            instance.breaker.failed()
        assert {(await task).status_code for task in asked} == {503}
        assert instance.inflight == 0


async def test_a_disconnect_ends_the_wait_for_a_connection(open_shop: Open) -> None:
    async with open_shop(down=("product",), connect_window_s=LONG_S, total_timeout_s=LONG_S) as shop:
        [instance] = shop.gateway.upstreams["product"].instances
        _, writer = await shop.connect()
        writer.write(b"GET /api/v1/products HTTP/1.1\r\nHost: x\r\n\r\n")
        await wait_until(lambda: instance.inflight == 1)
        writer.close()
        await wait_until(lambda: instance.inflight == 0)


async def test_of_two_unavailable_instances_the_first_ready_one_gets_the_request(open_shop: Open) -> None:
    server = Server(answered=1)
    with reserved_port() as one, reserved_port() as two:
        urls = f"{address(one)},{address(two)}"
        async with open_shop(order_url=urls, connect_window_s=LONG_S, total_timeout_s=LONG_S) as shop:
            instances = shop.gateway.upstreams["order"].instances
            asked = asyncio.create_task(shop.client.get("/api/v1/orders", headers=shop.customer()))
            await wait_until(lambda: all(instance.breaker._failures for instance in instances))
            async with answering(server, two):
                assert (await asked).status_code == 200
            assert instances[0].breaker._failures == 1


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/v1/products", {}),
        ("PUT", "/api/v1/products/7", {}),
        ("DELETE", "/api/v1/products/7", {}),
        ("POST", "/api/v1/products/7/stock", KEY),
    ],
)
async def test_a_request_lost_on_a_closing_connection_is_repeated_on_a_new_one(
    open_shop: Open, method: str, path: str, headers: dict[str, str]
) -> None:
    server = Server(answered=1)
    async with listening(server) as url, open_shop(product_url=url) as shop:
        assert (await shop.client.get("/api/v1/products")).status_code == 200
        answer = await shop.client.request(method, path, headers=shop.customer() | headers, content=b"body")
        assert answer.status_code == 200
        first, lost, again = server.requests
        assert first.startswith(b"GET")
        assert lost.startswith(f"{method} {path} ".encode())
        assert lost.endswith(b"body")
        assert (again.split(b"\r\n")[0], again[-4:]) == (lost.split(b"\r\n")[0], b"body")
        assert server.connections == 2
        assert shop.gateway.upstreams["product"].instances[0].breaker._failures == 0
        assert 'shop_gateway_repeats_total{upstream="product"}' in (await shop.client.get("/metrics")).text


async def test_every_idle_connection_may_have_been_closed(open_shop: Open) -> None:
    """A service that ends closes every one; the second try must not take the next of them."""
    server = Server(answered=1)
    async with listening(server) as url, open_shop(product_url=url) as shop:
        await asyncio.gather(*(shop.client.get("/api/v1/products") for _ in range(8)))
        answers = await asyncio.gather(*(shop.client.get("/api/v1/products") for _ in range(8)))
        assert Counter(answer.status_code for answer in answers) == {200: 8}


@pytest.mark.parametrize("length", [2, 1_000_000])
@pytest.mark.parametrize(
    ("status", "extra", "connections"),
    [
        (b"403 Forbidden", b"", 2),
        (b"404 Not Found", b"X-Request-Id: another\r\n", 2),
        (b"502 Bad Gateway", b"", 2),
        (b"404 Not Found", OURS, 1),
        (b"503 Service Unavailable", OURS, 1),
        (b"200 OK", b"", 1),
    ],
)
async def test_a_misrouted_connection_is_closed(
    open_shop: Open, status: bytes, extra: bytes, connections: int, length: int
) -> None:
    """The other program keeps it open and would answer every later request."""
    content = b"x" * length
    server = Server(answered=2, answer=PAGE % (status, extra, length, content))
    async with listening(server) as url, open_shop(storefront_url=url) as shop:
        for _ in range(2):
            answer = await shop.client.get("/", headers={"X-Request-Id": "visit-7"})
            assert (answer.status_code, answer.content) == (int(status[:3]), content)
    assert (len(server.requests), server.connections) == (2, connections)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/api/v1/products", {}),
        ("POST", "/api/v1/products", KEY),
        ("PATCH", "/api/v1/products/7", KEY),
    ],
)
async def test_what_is_not_idempotent_is_never_repeated(
    open_shop: Open, method: str, path: str, headers: dict[str, str]
) -> None:
    one, two = Server(answered=0), Server(answered=0)
    async with (
        listening(one) as one_url,
        listening(two) as two_url,
        open_shop(product_url=f"{one_url},{two_url}") as shop,
    ):
        answer = await shop.client.request(method, path, headers=shop.customer() | headers, content=b"body")
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_failed")
        assert len(one.requests) + len(two.requests) == 1


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", KEY)])
async def test_a_request_that_was_lost_goes_to_another_instance(
    open_shop: Open, method: str, headers: dict[str, str]
) -> None:
    """One that stops closes its connections, and may close a new one as well before it refuses them."""
    stopping, running = Server(answered=0), Server(answered=10)
    async with (
        listening(stopping) as stopping_url,
        listening(running) as running_url,
        open_shop(order_url=f"{stopping_url},{running_url}") as shop,
    ):
        for _ in range(10):
            answer = await shop.client.request(method, "/api/v1/orders", headers=shop.customer() | headers)
            assert answer.status_code == 200
        assert stopping.requests
        [closing] = [one for one in shop.gateway.upstreams["order"].instances if one.base_url == stopping_url]
        assert closing.breaker._failures == len(stopping.requests)


async def test_a_connection_may_be_reset_before_anything_is_written_to_it(
    open_shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those are that wait to be accepted when a service ends."""
    server = Server(answered=10)
    async with listening(server) as url, open_shop(product_url=url) as shop:
        connections: Any = shop.gateway._connections
        connect = connections._connection

        async def reset(*arguments: object, **options: object) -> Any:
            monkeypatch.undo()
            connection = await connect(*arguments, **options)
            connection._transport.abort()
            return connection

        monkeypatch.setattr(connections, "_connection", reset)
        assert (await shop.client.get("/api/v1/products")).status_code == 200
        assert len(server.requests) == 1


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", KEY)])
async def test_a_request_is_sent_at_most_twice(open_shop: Open, method: str, headers: dict[str, str]) -> None:
    server = Server(answered=0)
    async with listening(server) as url, open_shop(order_url=url) as shop:
        answer = await shop.client.request(method, "/api/v1/orders", headers=shop.customer() | headers)
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_failed")
        assert len(server.requests) == 2


async def test_a_streamed_body_is_not_sent_again(open_shop: Open) -> None:
    """It was streamed, so it is not in memory any more."""
    server = Server(answered=0)
    async with listening(server) as url, open_shop(order_url=url) as shop:
        token = shop.customer()["Authorization"]
        head = f"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nIdempotency-Key: 1\r\n"
        reader, writer = await shop.connect()
        writer.write(head.encode() + b"Content-Length: 8\r\n\r\nhalf")
        await wait_until(lambda: server.connections)
        writer.write(b"half")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), LONG_S)).startswith(b"HTTP/1.1 502")
        writer.close()
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("method", "path", "key", "repeatable"),
    [
        ("GET", "/anything", False, True),
        ("PUT", "/api/v1/products/7", False, True),
        ("PATCH", "/api/v1/products/7", True, False),
        ("POST", "/api/v1/orders", True, True),
        ("POST", "/api/v1/orders/", True, True),
        ("POST", "/api/v1/orders", False, False),
        ("POST", "/api/v1/orders/7/cancel", True, False),
        ("POST", "/api/v1/payments/7/refunds", True, True),
        ("POST", "/api/v1/users", True, False),
        ("POST", "/checkout", True, False),
    ],
)
def test_which_requests_are_repeatable(method: str, path: str, key: bool, repeatable: bool) -> None:
    headers = [("accept", "*/*"), *([("idempotency-key", "1")] if key else [])]
    assert is_repeatable(method, path, headers) is repeatable


class EmbeddedServer(serve.Server):
    """A service with the server of `shop.kit.serve`, in this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def test_no_request_fails_when_a_service_stops_under_load(open_shop: Open) -> None:
    """Requests that must not be sent twice, while one of two instances ends as it does in a rollout."""
    with reserved_port() as one, reserved_port() as two:
        servers = [
            EmbeddedServer(uvicorn.Config(Upstream("order"), lifespan="off", log_config=None, server_header=False))
            for _ in range(2)
        ]
        running = [asyncio.create_task(servers[0].serve([one])), asyncio.create_task(servers[1].serve([two]))]
        await wait_until(lambda: all(server.started for server in servers))
        async with open_shop(order_url=f"{address(one)},{address(two)}") as shop:
            seen: Counter[int] = Counter()

            async def buyer() -> None:
                while not running[0].done():
                    answer = await shop.client.post("/api/v1/orders", headers=shop.customer(), content=b"{}")
                    seen[answer.status_code] += 1

            buyers = [asyncio.create_task(buyer()) for _ in range(4)]
            await wait_until(lambda: seen[200] > 40)
            servers[0].should_exit = True
            await asyncio.gather(*buyers)
            assert seen.keys() == {200}
        servers[1].should_exit = True
        await asyncio.gather(*running)
