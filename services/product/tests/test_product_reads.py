"""Answers that are kept are never older than a change that was answered before, in each instance of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID, uuid4

import httpx
import pytest

from services.product.tests.product_service import RunningService, product_app
from shop.devkit.testing import Running, wait_until
from shop.kit.bus import Bus
from shop.kit.tasks import Tasks
from shop.product.reads import OtherInstances, ReadCache

LONG_S = 60.0
"""Of answers that would be seen to be old for the whole test."""
WRITES = 30


def stock_in(answer: httpx.Response, product_id: UUID) -> int:
    """Of the product, which is alone or on a page."""
    document = answer.json()
    items = document.get("items", [document])
    return int(next(item["stock"] for item in items if item["id"] == str(product_id)))


@pytest.mark.parametrize("path", ["/{id}", "?ids={id}", "?query=race", "?category=races&sort=price"])
async def test_no_read_is_older_than_the_change_that_was_answered_before_it(service: RunningService, path: str) -> None:
    product_id = await service.product(stock=WRITES, name="Race", category="races")
    url = "/api/v1/products" + path.format(id=product_id)
    answered, reads, ended = WRITES, 0, asyncio.Event()

    async def read() -> None:
        nonlocal reads
        while not ended.is_set():
            expected = answered
            assert stock_in(await service.client.get(url), product_id) <= expected
            reads += 1
            await asyncio.sleep(0)  # an answer that is kept is had without giving way to others

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(WRITES):
        await service.reserve_one(product_id)
        answered = WRITES - number - 1
    await wait_until(lambda: reads > WRITES or any(reader.done() for reader in readers))
    ended.set()
    await asyncio.gather(*readers)
    assert stock_in(await service.client.get(url), product_id) == 0


@pytest.fixture
async def other(service: RunningService, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A second instance, and both keep answers for long."""
    settings = service.settings.model_copy(update={"read_cache_seconds": LONG_S})
    first, second = product_app(settings), product_app(settings)
    async with running(first) as client, running(second) as other_client:
        service.client = client
        one, another = (app.state.service._others for app in (first, second))
        await wait_until(lambda: one._name in another.known and another._name in one.known)
        yield other_client


async def test_an_administrators_change_is_answered_when_no_instance_has_the_old_answer(
    service: RunningService, other: httpx.AsyncClient
) -> None:
    product_id = await service.product(name="Name 0", category="told")
    url, page = f"/api/v1/products/{product_id}", "/api/v1/products?category=told"
    for number in range(1, 6):
        for reader in (service.client, other):
            assert (await reader.get(url)).json()["name"] == f"Name {number - 1}"
            assert [item["name"] for item in (await reader.get(page)).json()["items"]] == [f"Name {number - 1}"]
        writer = other if number % 2 else service.client
        assert (await writer.patch(url, json={"name": f"Name {number}"}, headers=service.admin)).status_code == 200
        for reader in (service.client, other):
            assert (await reader.get(url)).json()["name"] == f"Name {number}"
            assert [item["name"] for item in (await reader.get(page)).json()["items"]] == [f"Name {number}"]


async def test_other_instances_hear_of_reservations_and_releases(
    service: RunningService, other: httpx.AsyncClient
) -> None:
    product_id, order_id = await service.product(stock=5), uuid4()
    url = f"/api/v1/products/{product_id}"

    async def seen_by_the_other(stock: int) -> bool:
        return stock_in(await other.get(url), product_id) == stock

    assert await seen_by_the_other(5)
    await service.reserve_one(product_id, 2, order_id)
    await wait_until(lambda: seen_by_the_other(3))
    await service.release(order_id)
    await wait_until(lambda: seen_by_the_other(5))


async def test_an_instance_that_is_gone_is_waited_for_once(nats_url: str) -> None:
    tasks, buses = Tasks(), [Bus(nats_url, "first"), Bus(nats_url, "second")]
    instances = [OtherInstances(bus, ReadCache(LONG_S), wait_s=LONG_S) for bus in buses]
    for bus in buses:
        bus.start(tasks)
    receiving = [asyncio.create_task(one.receive()) for one in instances]
    await wait_until(lambda: all(one.known for one in instances))
    await instances[0].invalidated_everywhere([uuid4()])
    assert instances[0].known
    receiving[1].cancel()
    await asyncio.gather(receiving[1], return_exceptions=True)
    instances[0]._wait_s = 0.05
    await instances[0].invalidated_everywhere([uuid4()])
    assert not instances[0].known
    receiving[0].cancel()
    await asyncio.gather(receiving[0], return_exceptions=True)
    await tasks.stop()
    for bus in buses:
        await bus.close()


class Reading:
    """A read of the database that takes until it is let go."""

    def __init__(self, body: bytes) -> None:
        self.began, self.ends, self.body = asyncio.Event(), asyncio.Event(), body

    async def products(self, ids: Sequence[UUID]) -> Mapping[UUID, bytes]:
        self.began.set()
        await self.ends.wait()
        return dict.fromkeys(ids, self.body)

    async def page(self, shown: Sequence[UUID]) -> tuple[bytes, Sequence[UUID]]:
        self.began.set()
        await self.ends.wait()
        return self.body, shown


@pytest.mark.parametrize("listings", [False, True])
async def test_what_was_read_during_a_change_is_not_kept(listings: bool) -> None:
    cache, product_id, another = ReadCache(LONG_S), uuid4(), uuid4()
    old, unconcerned = Reading(b"old"), Reading(b"unconcerned")
    reads = [
        asyncio.create_task(cache.products([product_id], old.products)),
        asyncio.create_task(cache.page("page", lambda: old.page([product_id]))),
        asyncio.create_task(cache.page("other page", lambda: unconcerned.page([another]))),
    ]
    await asyncio.gather(old.began.wait(), unconcerned.began.wait())
    cache.invalidate([product_id], listings=listings)
    old.ends.set()
    unconcerned.ends.set()
    await asyncio.gather(*reads)
    new = Reading(b"new")
    new.ends.set()
    assert [one.body for one in await cache.products([product_id], new.products)] == [b"new"]
    assert (await cache.page("page", lambda: new.page([product_id]))).body == b"new"
    kept = await cache.page("other page", lambda: new.page([another]))
    assert kept.body == (b"new" if listings else b"unconcerned")


@pytest.mark.parametrize("path", ["/{id}", "?query=tagged", "?ids={id}", "/categories"])
async def test_an_answer_that_the_client_has_is_not_sent_again(service: RunningService, path: str) -> None:
    product_id = await service.product(name="Tagged")
    url = "/api/v1/products" + path.format(id=product_id)
    first = await service.client.get(url)
    known = {"If-None-Match": first.headers["etag"]}
    again = await service.client.get(url, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"].removeprefix("W/") == first.headers["etag"].removeprefix("W/")
    assert again.headers["cache-control"] == first.headers["cache-control"] == "public, no-cache"
    change = {"name": "Tagged twice", "category": "tagged"}
    await service.client.patch(f"/api/v1/products/{product_id}", json=change, headers=service.admin)
    changed = await service.client.get(url, headers=known)
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
