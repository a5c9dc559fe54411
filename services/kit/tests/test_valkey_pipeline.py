"""Commands over one connection: each gets its own answer, whatever happens to the others or to the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.kit import valkey_pipeline
from shop.kit.valkey_pipeline import ValkeyPipeline

TIMEOUT_S = 10.0
SHORT_S = 1.0
MANY = 200


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[ValkeyPipeline]:
    pipeline = ValkeyPipeline(valkey_url, timeout_s=TIMEOUT_S)
    yield pipeline
    await pipeline.close()


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """It accepts connections and answers nothing."""
    connected: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    server.close()
    for writer in connected:
        writer.close()


async def test_each_command_gets_its_own_answer(valkey: ValkeyPipeline) -> None:
    answers = await asyncio.gather(*(valkey.execute("ECHO", number) for number in range(MANY)))
    assert answers == [str(number).encode() for number in range(MANY)]
    assert await valkey.execute("SET", b"\x00\xff", "é") == b"OK"
    assert await valkey.execute("GET", b"\x00\xff") == "é".encode()
    assert await valkey.execute("GET", "nothing") is None
    assert await valkey.execute("EVAL", "return {1, {'a'}, false}", 0) == [1, [b"a"], None]


async def test_errors_are_of_their_command_alone(valkey: ValkeyPipeline) -> None:
    commands = [("EVALSHA", "0" * 40, 0), ("ECHO", "x"), ("NOTHING",), ("ECHO", "y")]
    found = await asyncio.gather(*(valkey.execute(*one) for one in commands), return_exceptions=True)
    assert [type(one) for one in found] == [NoScriptError, bytes, ResponseError, bytes]
    assert [found[1], found[3]] == [b"x", b"y"]


async def test_a_caller_that_does_not_wait_any_more_takes_no_other_answer(valkey: ValkeyPipeline) -> None:
    connection = await valkey.execute("CLIENT", "ID")
    given_up = asyncio.create_task(valkey.execute("ECHO", "given up"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await valkey.execute("ECHO", "next") == b"next"
    assert given_up.cancelled()
    assert await valkey.execute("CLIENT", "ID") == connection, "the connection stays, and so do its other commands"


async def test_a_command_is_sent_again_over_a_new_connection(valkey: ValkeyPipeline, valkey_url: str) -> None:
    """The server closes the connection while it waits for an answer."""
    waiting = asyncio.create_task(valkey.execute("BLPOP", "list", 0))
    other = ValkeyPipeline(valkey_url, timeout_s=TIMEOUT_S)

    async def blocked() -> bytes | None:
        lines = (await other.execute("CLIENT", "LIST")).splitlines()
        return next((line.split()[0].removeprefix(b"id=") for line in lines if b"cmd=blpop" in line), None)

    first = await wait_until(blocked)
    await other.execute("CLIENT", "KILL", "ID", first)

    async def blocked_again() -> bool:
        return await blocked() not in (None, first)

    await wait_until(blocked_again)
    await other.execute("RPUSH", "list", "sent")
    assert await waiting == [b"list", b"sent"]
    await other.close()


async def test_a_restarted_server_is_connected_to_again(valkey_server: embedded.Server, valkey: ValkeyPipeline) -> None:
    await valkey.execute("PING")
    valkey_server.stop()
    with pytest.raises((ValkeyConnectionError, OSError)):
        await valkey.execute("PING")
    valkey_server.start()
    assert await asyncio.gather(*(valkey.execute("ECHO", "x") for _ in range(3))) == [b"x"] * 3


async def test_a_server_that_does_not_answer_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_pipeline, "MAX_WAITING", 3)
    async with silent_server() as url:
        valkey = ValkeyPipeline(url, timeout_s=SHORT_S)
        refused = await asyncio.gather(*(valkey.execute("ECHO", "x") for _ in range(4)), return_exceptions=True)
        assert [type(one) for one in refused] == [ValkeyTimeoutError] * 4
        assert sorted(str(one) for one in refused) == [
            "3 commands wait for an answer",
            *["no answer after 1 s"] * 3,
        ]
        with pytest.raises(ValkeyTimeoutError):
            await valkey.execute("ECHO", "again, over a new connection")
        await valkey.close()


async def test_a_user_a_password_and_a_database(valkey: ValkeyPipeline, valkey_url: str) -> None:
    await valkey.execute("ACL", "SETUSER", "reader", "on", ">secret 1", "~*", "+@all")
    parts = urlsplit(valkey_url)
    address = f"{parts.hostname}:{parts.port}"
    mine = ValkeyPipeline(f"redis://reader:secret%201@{address}/3", timeout_s=TIMEOUT_S)
    await mine.execute("SET", "key", "of database 3")
    assert await mine.execute("ACL", "WHOAMI") == b"reader"
    assert await valkey.execute("GET", "key") is None
    wrong = ValkeyPipeline(f"redis://reader:wrong@{address}/3", timeout_s=TIMEOUT_S)
    with pytest.raises(ValkeyConnectionError, match=r"^'AUTH': WRONGPASS"):
        await wrong.execute("GET", "key")
    await valkey.execute("ACL", "DELUSER", "reader")
    for one in (mine, wrong):
        await one.close()
