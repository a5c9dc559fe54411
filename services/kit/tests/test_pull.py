"""Events as the broker sends them to a waiting request: none is lost or late, and nothing is asked for twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shop.devkit.testing import wait_until
from shop.kit.bus import Bus
from shop.kit.errors import Unavailable
from shop.kit.pull import Pull
from shop.kit.tasks import Tasks

NOUN, DURABLE = "pulled", "reader"
WAIT_S = 10.0
"""Far below the broker's time for an event that was not acknowledged."""
FOREVER_S = 600.0


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus, tasks = Bus(nats_url, "test"), Tasks()
    bus.start(tasks)
    await wait_until(lambda: bus.connected)
    await bus.ensure_consumer(NOUN, DURABLE, [f"{NOUN}.>"])
    yield bus
    await bus.stream.delete_stream(NOUN)
    await tasks.stop()
    await bus.close()


async def publish(bus: Bus, *payloads: bytes) -> None:
    for payload in payloads:
        await (await bus.publish(f"{NOUN}.happened", payload, payload.decode()))


async def until_a_request_waits(bus: Bus) -> None:
    """The broker drops, without an answer, a request that it has read and not yet given to the consumer it deletes."""

    async def waits() -> bool:
        consumer = await bus.stream.consumer_info(NOUN, DURABLE)
        return bool(consumer.num_waiting)

    await wait_until(waits)


async def test_one_request_brings_events_as_they_come(bus: Bus) -> None:
    async with Pull(bus, NOUN, DURABLE) as pull:
        assert await pull.take(0.01) == []
        asked = bus._client.stats["out_msgs"]
        for payload in (b"1", b"2", b"3"):
            await publish(bus, payload)
            (message,) = await pull.take(WAIT_S)
            assert message.data == payload
            assert await pull.take(0.001) == []
        assert bus._client.stats["out_msgs"] == asked + 3, "no more than what was published"


async def test_a_request_that_is_used_up_is_followed_by_another(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.kit.pull.MAX_EVENTS", 2)
    await publish(bus, *(b"%d" % number for number in range(5)))
    async with Pull(bus, NOUN, DURABLE) as pull:
        found: list[bytes] = []
        while len(found) < 5:
            found += [message.data for message in await pull.take(WAIT_S)]
        assert found == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_was_not_taken_goes_to_another_replica_at_once(bus: Bus) -> None:
    async with Pull(bus, NOUN, DURABLE) as leaving:
        assert await leaving.take(0.01) == []
        await publish(bus, b"1", b"2")
        await wait_until(lambda: len(leaving._arrived) == 2)
    async with Pull(bus, NOUN, DURABLE) as other:
        found: list[bytes] = []
        while len(found) < 2:
            messages = await other.take(WAIT_S)
            assert messages, "nothing within the time"
            found += [message.data for message in messages]
        assert sorted(found) == [b"1", b"2"]


async def test_a_consumer_that_is_deleted_is_noticed_while_waiting(bus: Bus) -> None:
    async with Pull(bus, NOUN, DURABLE) as pull:
        taking = asyncio.create_task(pull.take(FOREVER_S))
        await until_a_request_waits(bus)
        await bus.stream.delete_consumer(NOUN, DURABLE)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(taking, WAIT_S)


async def test_a_request_that_never_arrived_is_followed_by_another(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, asked = bus.ask, 0

    async def lose_the_first(*consumer: str, events: int, for_s: float) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            await ask(*consumer, events=events, for_s=for_s)
        short.undo()

    monkeypatch.setattr(bus, "ask", lose_the_first)
    await publish(bus, b"1")
    with pytest.MonkeyPatch.context() as short:
        short.setattr("shop.kit.pull.REQUEST_S", 0.1)
        short.setattr("shop.kit.pull.ANSWER_S", 0.1)
        async with Pull(bus, NOUN, DURABLE) as pull:
            (message,) = await pull.take(WAIT_S)
    assert (message.data, asked) == (b"1", 2)


async def test_a_consumer_that_does_not_exist_is_noticed(bus: Bus) -> None:
    async with Pull(bus, NOUN, "nobody") as pull:
        with pytest.raises(Unavailable):
            await pull.take(WAIT_S)


async def test_a_lost_connection_is_noticed_while_waiting(bus: Bus) -> None:
    async with Pull(bus, NOUN, DURABLE) as pull:
        taking = asyncio.create_task(pull.take(FOREVER_S))
        await wait_until(lambda: pull._asked)
        await bus._client._process_op_err(ConnectionResetError())
        with pytest.raises(Unavailable):
            await asyncio.wait_for(taking, WAIT_S)
    await wait_until(lambda: bus.connected)
