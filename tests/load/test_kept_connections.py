"""The client of the load generator, against a server that answers with given bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
import uvloop

from shop.devkit.testing import wait_until
from tests.load import kept_connections
from tests.load.kept_connections import Answer, Connections, RequestFailed
from tests.load.open_loop import Outcome
from tests.load.shoppers import ADDRESS, CARD, Crowd, Shop

TIMEOUT_S = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REFUSED = b'HTTP/1.1 503 Service Unavailable\r\nRETRY-AFTER: 7\r\nContent-Length: 22\r\n\r\n{"code": "overloaded"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
Reply = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


@dataclass
class Server:
    """Requests with the number of the connection that each came on."""

    reply: Reply
    port: int = 0
    connections: int = 0
    open: int = 0
    seen: list[tuple[int, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.seen.append((number, head + await reader.readexactly(int(length or b"0"))))
                await self.reply(writer, len(self.seen))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    @property
    def used(self) -> list[int]:
        return [number for number, _ in self.seen]


@dataclass
class Ask:
    """Sends one request to the server."""

    port: int
    connections: Connections

    async def __call__(self, *, repeatable: bool = False) -> Answer:
        return await self.connections.ask(("localhost", self.port), REQUEST, repeatable=repeatable)


@contextlib.asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[tuple[Server, Ask]]:
    """The server, and what asks it."""
    server, connections = Server(reply), Connections(TIMEOUT_S)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server, Ask(server.port, connections)
    finally:
        listening.close()
        connections.close()


def always(*answers: bytes, closes: bool = False) -> Reply:
    """Each answer in turn, the last one again and again; then the connection is closed, or not."""

    async def reply(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(answers[min(number, len(answers)) - 1])
        if closes:
            writer.close()

    return reply


def resets(answer: bytes = b"") -> Reply:
    """What there is of an answer; then the connection is reset."""

    async def reply(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(answer)
        without_waiting = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, without_waiting)
        writer.close()

    return reply


def at_the_second(failing: Reply) -> Reply:
    """The second request is not answered but fails, all others are answered."""

    async def reply(writer: asyncio.StreamWriter, number: int) -> None:
        await (failing if number == 2 else always(HELLO))(writer, number)

    return reply


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving(always(HELLO)) as (server, ask):
        assert [await ask() for _ in range(3)] == [Answer(200, b"hello", b"")] * 3
        assert server.used == [1, 1, 1]


async def test_each_request_under_way_has_a_connection_and_the_one_idle_longest_is_next() -> None:
    all_arrived, release = asyncio.Event(), asyncio.Event()

    async def reply(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 3:
            all_arrived.set()
        await release.wait()
        writer.write(HELLO)

    async with serving(reply) as (server, ask):
        asked = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.wait_for(all_arrived.wait(), TIMEOUT_S)
        release.set()
        await asyncio.gather(*asked)
        for _ in range(6):
            await ask()
        assert server.connections == 3
        assert sorted(server.used[3:6]) == [1, 2, 3]
        assert server.used[3:6] == server.used[6:9]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HELLO, Answer(200, b"hello", b"")),
        (CHUNKED, Answer(200, b"hello", b"")),
        (REFUSED, Answer(503, b'{"code": "overloaded"}', b"7")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"", b"")),
    ],
)
async def test_an_answer_may_come_in_any_pieces(answer: bytes, expected: Answer) -> None:
    async def in_pieces(writer: asyncio.StreamWriter, number: int) -> None:
        for at in range(len(answer)):
            writer.write(answer[at : at + 1])
            await asyncio.sleep(0)

    async with serving(in_pieces) as (server, ask):
        assert [await ask(), await ask()] == [expected] * 2
        assert server.used == [1, 1]


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async with serving(always(b"HTTP/1.1 200 OK\r\n\r\nhello", closes=True)) as (server, ask):
        assert [await ask(), await ask()] == [Answer(200, b"hello", b"")] * 2
        assert server.used == [1, 2]


async def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    async with serving(always(LAST)) as (server, ask):
        assert [await ask(), await ask()] == [Answer(200, b"hello", b"")] * 2
        assert server.used == [1, 2]


async def test_a_connection_closed_between_requests_is_replaced() -> None:
    async with serving(always(HELLO, closes=True)) as (server, ask):
        await ask()
        await wait_until(lambda: not any(one.usable for idle in ask.connections._idle.values() for one in idle))
        assert (await ask()).status == 200
        assert server.used == [1, 2]


NOT_ANSWERED = {kept_connections.CLOSED: always(b"", closes=True), kept_connections.RESET: resets()}


@pytest.mark.parametrize("failing", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
async def test_a_read_is_sent_again_when_its_connection_ends_instead_of_an_answer(failing: Reply) -> None:
    async with serving(at_the_second(failing)) as (server, ask):
        await ask()
        assert (await ask(repeatable=True)).status == 200
        assert server.used == [1, 1, 2]


@pytest.mark.parametrize(("name", "failing"), NOT_ANSWERED.items(), ids=NOT_ANSWERED)
async def test_a_read_by_a_new_connection_is_not_sent_again(name: str, failing: Reply) -> None:
    async with serving(failing) as (server, ask):
        with pytest.raises(RequestFailed, match=f"^{name}$"):
            await ask(repeatable=True)
        assert server.used == [1]


@pytest.mark.parametrize(("name", "failing"), NOT_ANSWERED.items(), ids=NOT_ANSWERED)
async def test_a_read_is_sent_again_once(name: str, failing: Reply) -> None:
    async def only_the_first(writer: asyncio.StreamWriter, number: int) -> None:
        await (always(HELLO) if number == 1 else failing)(writer, number)

    async with serving(only_the_first) as (server, ask):
        await ask()
        with pytest.raises(RequestFailed, match=f"^{name}$"):
            await ask(repeatable=True)
        assert server.used == [1, 1, 2]


@pytest.mark.parametrize(("name", "failing"), NOT_ANSWERED.items(), ids=NOT_ANSWERED)
async def test_an_order_is_not_sent_again(name: str, failing: Reply) -> None:
    async with serving(at_the_second(failing)) as (server, ask):
        await ask()
        with pytest.raises(RequestFailed, match=f"^{name}$"):
            await ask()
        assert server.used == [1, 1]


FAULTS = {
    b"": "ServerDisconnectedError",
    b"HTTP/1.1 200 OK\r\nConte": "ServerDisconnectedError",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello": "ClientPayloadError",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe": "ClientPayloadError",
    b"hello\r\n\r\n": "ClientResponseError",
    b"HTTP/1.1 abc OK\r\n\r\n": "ClientResponseError",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n": "ClientResponseError",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "ClientResponseError",
}


RESET_AFTER = {
    b"": "ClientOSError",
    b"HTTP/1.1 200 OK\r\nConte": "ClientOSError",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello": "ClientPayloadError",
}


async def assert_failure_is_named(name: str, reply: Reply) -> None:
    """By this client, and by aiohttp."""
    async with serving(reply) as (server, ask):
        with pytest.raises(RequestFailed, match=f"^{name}$"):
            await ask()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError) as raised:
                async with session.post(f"http://127.0.0.1:{server.port}/") as response:
                    await response.read()
        assert type(raised.value).__name__ == name


@pytest.mark.parametrize(("answer", "name"), FAULTS.items())
async def test_a_broken_answer_is_named_as_aiohttp_names_it(answer: bytes, name: str) -> None:
    await assert_failure_is_named(name, always(answer, closes=True))


@pytest.mark.parametrize(("answer", "name"), RESET_AFTER.items())
async def test_a_reset_connection_is_named_as_aiohttp_names_it(answer: bytes, name: str) -> None:
    await assert_failure_is_named(name, resets(answer))


async def test_a_connection_after_a_malformed_answer_is_not_used_again() -> None:
    async with serving(always(b"hello\r\n\r\n", HELLO)) as (server, ask):
        with pytest.raises(RequestFailed, match=kept_connections.MALFORMED):
            await ask()
        assert (await ask()).status == 200
        assert server.used == [1, 2]


async def test_an_unexpected_answer_is_not_taken_for_the_next_one() -> None:
    async with serving(always(HELLO + REFUSED, HELLO)) as (server, ask):
        assert [(await ask()).status, (await ask()).status] == [200, 200]
        assert server.used == [1, 2]


async def test_silence_is_a_timeout_and_its_connection_is_closed() -> None:
    async with serving(at_the_second(always(b""))) as (server, ask):
        await ask()
        ask.connections.timeout_s = 0.2
        with pytest.raises(TimeoutError):
            await ask()
        ask.connections.timeout_s = TIMEOUT_S
        await wait_until(lambda: server.open == 0)
        assert (await ask()).status == 200
        assert server.used == [1, 1, 2]


async def test_the_connection_of_a_cancelled_request_is_not_used_again() -> None:
    release = asyncio.Event()

    async def late_at_first(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await release.wait()
        writer.write(HELLO)

    async with serving(late_at_first) as (server, ask):
        asked = asyncio.create_task(ask())
        await wait_until(lambda: len(server.seen) == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        release.set()
        assert (await ask()).status == 200
        assert server.used == [1, 2]


async def test_connections_idle_for_too_long_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always(HELLO)) as (server, ask):
        await ask()
        monkeypatch.setattr(kept_connections, "KEPT_S", -1.0)
        await ask()
        await wait_until(lambda: server.open == 1)
        assert server.used == [1, 2]


async def test_closing_ends_idle_connections_at_once_and_others_with_their_request() -> None:
    release = asyncio.Event()

    async def late_at_the_third(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 2:
            await wait_until(lambda: len(server.seen) == 3)
        if number == 3:
            await release.wait()
        writer.write(HELLO)

    async with serving(late_at_the_third) as (server, ask):
        await ask()
        early, late = asyncio.create_task(ask()), asyncio.create_task(ask())
        await early
        ask.connections.close()
        await wait_until(lambda: server.open == 1)
        assert not late.done()
        release.set()
        assert (await late).status == 200
        await wait_until(lambda: server.open == 0)


async def test_a_host_without_a_server_is_not_connected() -> None:
    async with serving(always(HELLO)) as (_, ask):
        pass
    with pytest.raises(RequestFailed, match=kept_connections.NOT_CONNECTED):
        await ask()


async def test_a_host_without_an_address_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(RequestFailed, match=kept_connections.NOT_CONNECTED):
        await Connections(TIMEOUT_S).ask(("nowhere.invalid", 80), REQUEST)


def test_the_faster_event_loop_serves_as_well() -> None:
    async def asked() -> list[int]:
        async with serving(always(HELLO)) as (server, ask):
            await ask()
            await ask()
            return server.used

    assert uvloop.run(asked()) == [1, 1]


async def test_the_same_seed_is_the_same_orders_and_reads() -> None:
    products, chance = [f"p{number}" for number in range(9)], random.Random(5)
    async with serving(always(HELLO.replace(b"200", b"201"), HELLO)) as (server, _):
        shop = Shop.at(f"http://127.0.0.1:{server.port}")
        crowd = Crowd.of(shop, ["token-a", "token-b"], products, seed=5)
        outcomes = [await crowd.send(kind) for kind in ("order", "browse", "order")]
        await shop.close()
    wanted = [chance.sample(products, chance.randint(1, 2))]
    read = chance.choice(products)
    wanted.append(chance.sample(products, chance.randint(1, 2)))
    assert outcomes[:2] == [Outcome(True, "201"), Outcome(True, "200")]
    first, second, third = (request.decode() for _, request in server.seen)
    assert second.startswith(f"GET /api/v1/products/{read} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
    for request, books, token in ((first, wanted[0], "token-a"), (third, wanted[1], "token-b")):
        head, _, body = request.partition("\r\n\r\n")
        items = [{"product_id": book, "quantity": 1} for book in books]
        assert body == json.dumps({"items": items, "address": ADDRESS, "payment": {"token": CARD}})
        assert f"\r\nAuthorization: Bearer {token}\r\n" in head
        assert "\r\nContent-Type: application/json\r\n" in head
        assert "\r\nIdempotency-Key: " in head
