"""Streams on a real NATS with little storage: sizes change safely, and what does not fit is reported and retried."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.kit.bus import MIN_STREAM_BYTES, Bus
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

MIB = 1 << 20


@pytest.fixture(scope="module")
def small_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that stores 64 MiB at the most."""
    folder: Path = tmp_path_factory.mktemp("small-nats")
    server = embedded.start_nats(folder, max_store="64MB")
    yield server.url
    server.stop()


@contextlib.asynccontextmanager
async def connected(url: str, stream_bytes: int) -> AsyncIterator[Bus]:
    bus, tasks = Bus(url, "test", stream_bytes), Tasks()
    bus.start(tasks)
    try:
        await wait_until(lambda: bus.connected)
        yield bus
        for info in await bus.stream.streams_info():
            await bus.stream.delete_stream(str(info.config.name))
    finally:
        await tasks.stop()
        await bus.close()


def with_size(bus: Bus, stream_bytes: int) -> Bus:
    """The same connection, with streams of another size."""
    other = copy.copy(bus)
    other._stream_bytes = stream_bytes
    return other


async def size(bus: Bus, noun: str) -> int | None:
    return (await bus.stream.stream_info(noun)).config.max_bytes


async def test_a_stream_that_does_not_fit_is_named_and_made_once_there_is_room(
    small_nats: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(small_nats, 40 * MIB) as bus:
        await bus.ensure_stream("order")
        with pytest.raises(Unavailable, match="stream payment of 41943040 bytes: insufficient storage"):
            await bus.ensure_stream("payment")
        assert "too small for all streams" in bus.state()

        tasks = Tasks()
        with caplog.at_level(logging.WARNING, "shop.kit.tasks"):
            tasks.start("relay", lambda: bus.ensure_stream("payment"))
            await wait_until(lambda: "relay waits: the broker refuses the stream payment" in caplog.text)
        assert not any(record.exc_info for record in caplog.records)
        await bus.stream.delete_stream("order")
        await wait_until(lambda: bus.state() == "ok")
        await tasks.stop()


async def test_a_stream_is_resized_and_keeps_its_messages(small_nats: str) -> None:
    async with connected(small_nats, 48 * MIB) as bus:
        await bus.ensure_stream("order")
        for number in range(40):
            await (await bus.publish("order.confirmed.v1", b"x" * 512 * 1024, str(number)))
        smaller = with_size(bus, MIN_STREAM_BYTES)
        await smaller.ensure_stream("order")
        assert 20 * MIB < (await size(bus, "order") or 0) < 48 * MIB
        assert (await bus.stream.stream_info("order")).state.messages == 40

        await bus.stream.purge_stream("order")
        await smaller.ensure_stream("order")
        assert await size(bus, "order") == MIN_STREAM_BYTES


async def test_growth_that_does_not_fit_leaves_the_stream_as_it_is(small_nats: str) -> None:
    async with connected(small_nats, 20 * MIB) as bus:
        await bus.ensure_stream("order")
    async with connected(small_nats, 20 * MIB) as bus:
        await bus.ensure_stream("order")
        larger = with_size(bus, 128 * MIB)
        await larger.ensure_stream("order")
        assert (await size(bus, "order"), larger.state()) == (20 * MIB, "ok")
