"""Values that are loaded again when they are too old and outlive failures of their source."""

from __future__ import annotations

import asyncio

import pytest

from shop.devkit.testing import wait_until
from shop.kit.errors import Unavailable
from shop.storefront import refreshing
from shop.storefront.refreshing import RefreshingValue

FOREVER_S = 3_600.0


class Source:
    """Counts loads; a load waits for ``ready`` and raises ``failure`` if there is one."""

    def __init__(self) -> None:
        self.loads = 0
        self.failure: Exception | None = None
        self.ready = asyncio.Event()
        self.ready.set()

    async def load(self) -> int:
        self.loads += 1
        number = self.loads
        await self.ready.wait()
        if self.failure:
            raise self.failure
        return number


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_value_is_loaded_once_until_it_is_too_old(source: Source) -> None:
    kept = RefreshingValue(source.load, FOREVER_S)
    assert [await kept.get() for _ in range(3)] == [1, 1, 1]
    always_old = RefreshingValue(source.load, ttl_s=0)
    assert [await always_old.get() for _ in range(3)] == [2, 3, 4]


async def test_requests_for_the_first_value_share_one_load(source: Source) -> None:
    value = RefreshingValue(source.load, FOREVER_S)
    assert await asyncio.gather(*(value.get() for _ in range(20))) == [1] * 20
    assert source.loads == 1


async def test_requests_during_a_load_get_the_previous_value(source: Source) -> None:
    value = RefreshingValue(source.load, ttl_s=0)
    await value.get()
    source.ready.clear()
    refreshing = asyncio.create_task(value.get())
    await wait_until(lambda: source.loads == 2)
    assert await value.get() == 1
    source.ready.set()
    assert await refreshing == 2


async def test_the_previous_value_outlives_failures(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "FAILURE_PAUSE_S", 0)
    value = RefreshingValue(source.load, ttl_s=0)
    source.failure = Unavailable("product")
    with pytest.raises(Unavailable):
        await value.get()
    source.failure = None
    assert await value.get() == 2
    source.failure = Unavailable("product")
    assert await value.get() == 2
    source.failure = None
    assert await value.get() == 4


async def test_a_failed_load_is_not_repeated_at_once(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "FAILURE_PAUSE_S", FOREVER_S)
    value = RefreshingValue(source.load, ttl_s=0)
    await value.get()
    source.failure = Unavailable("product")
    assert [await value.get() for _ in range(5)] == [1] * 5
    assert source.loads == 2


async def test_a_load_goes_on_without_the_requests_that_waited_for_it(source: Source) -> None:
    value = RefreshingValue(source.load, FOREVER_S, max_wait_s=0.01)
    source.ready.clear()
    with pytest.raises(TimeoutError):
        await value.get()
    cancelled = asyncio.create_task(value.get())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    source.ready.set()
    patient = RefreshingValue(source.load, FOREVER_S)
    assert await patient.get() == 2
    assert await value.get() == 1


async def test_closing_ends_a_load(source: Source) -> None:
    value = RefreshingValue(source.load, FOREVER_S)
    source.ready.clear()
    waiting = asyncio.create_task(value.get())
    await wait_until(lambda: source.loads == 1)
    await value.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
