"""Broadcasts reach the processes that listen now, and are stored nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shop.devkit.testing import wait_until
from shop.kit.bus import Bus
from shop.kit.tasks import Tasks

SUBJECT = "live.test"


@pytest.fixture
async def buses(nats_url: str) -> AsyncIterator[list[Bus]]:
    """Two connected processes."""
    tasks, made = Tasks(), [Bus(nats_url, "first"), Bus(nats_url, "second")]
    for number, bus in enumerate(made):
        tasks.start(f"bus-{number}", bus._connect)
    await wait_until(lambda: all(bus.connected for bus in made))
    yield made
    await tasks.stop()
    for bus in made:
        await bus.close()


async def test_a_broadcast_reaches_every_listener(buses: list[Bus]) -> None:
    received: list[list[bytes]] = [[], []]

    async def listen(bus: Bus, into: list[bytes]) -> None:
        async for payload in bus.listen(SUBJECT):
            into.append(payload)  # noqa: PERF401 - as they arrive

    listening = [asyncio.create_task(listen(bus, into)) for bus, into in zip(buses, received, strict=True)]

    async def arrived() -> bool:
        """Sent again until both subscriptions are there: what comes before is not stored."""
        await buses[0].broadcast(SUBJECT, b"position")
        return all(received)

    await wait_until(arrived, what="a broadcast at both listeners")
    assert set(received[0]) | set(received[1]) == {b"position"}
    assert await buses[0].stream.streams_info() == []
    for task in listening:
        task.cancel()


async def test_what_the_stream_of_a_service_would_store_is_refused(buses: list[Bus]) -> None:
    with pytest.raises(ValueError, match="may be stored"):
        await buses[0].broadcast("product.reads", b"changed")


async def test_without_a_broker_nothing_is_sent_and_nothing_fails() -> None:
    bus = Bus("nats://127.0.0.1:9", "alone")
    await bus.broadcast(SUBJECT, b"position")
    assert not bus.connected


async def test_a_listener_waits_for_the_connection(nats_url: str) -> None:
    bus, tasks = Bus(nats_url, "late"), Tasks()
    received: list[bytes] = []

    async def listen() -> None:
        async for payload in bus.listen(SUBJECT):
            received.append(payload)  # noqa: PERF401 - as they arrive

    listening = asyncio.create_task(listen())
    bus.start(tasks)

    async def arrived() -> bool:
        await bus.broadcast(SUBJECT, b"position")
        return bool(received)

    await wait_until(arrived)
    listening.cancel()
    await tasks.stop()
    await bus.close()
