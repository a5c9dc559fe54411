"""Stock that cannot be oversold: races, repetitions, releases, and the constraints of the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import asyncpg
import pytest

from services.product.tests.product_service import RunningService
from shop.contracts.events import OrderConfirmed
from shop.contracts.money import Address, Money
from shop.devkit.testing import RecordedStatements, wait_until
from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.kit.tasks import Tasks
from shop.product.domain import Request
from shop.product.repository import MOVE, ProductRepository
from shop.product.reservations import LOCK, RESERVE, ReservationRepository
from shop.product.service import StockCount


async def test_a_hundred_orders_for_ten_copies(service: RunningService) -> None:
    product = await service.product(stock=10)
    results = await asyncio.gather(*(service.reserve_one(product) for _ in range(100)))
    assert Counter((result["status"], result.get("code")) for result in results) == {
        ("reserved", None): 10,
        ("rejected", "insufficient_stock"): 90,
    }
    assert await service.stock(product) == 0
    await service.assert_conserved()


async def test_orders_of_several_products_are_whole_or_nothing(service: RunningService) -> None:
    first, second = await service.product(stock=50), await service.product(stock=7)
    wanted_by_order = [{first: 2, second: 1} if number % 2 else {second: 1, first: 1} for number in range(40)]
    results = await asyncio.gather(*(service.reserve((new_id(), lines)) for lines in wanted_by_order))
    granted = [
        lines for lines, [result] in zip(wanted_by_order, results, strict=True) if result["status"] == "reserved"
    ]
    assert len(granted) == 7
    assert await service.stock(first) == 50 - sum(lines[first] for lines in granted)
    assert await service.stock(second) == 0
    await service.assert_conserved()


async def test_a_batch_is_served_in_its_order(service: RunningService) -> None:
    product = await service.product(stock=3)
    orders = [(new_id(), {product: quantity}) for quantity in (2, 2, 1)]
    results = await service.reserve(*orders)
    assert [result["status"] for result in results] == ["reserved", "rejected", "reserved"]
    assert (results[1]["product_id"], results[1]["available"]) == (str(product), 1)


async def test_a_repeated_reservation_keeps_the_first_price(service: RunningService) -> None:
    product, order = await service.product(stock=5), new_id()
    first = await service.reserve_one(product, 2, order)
    price = {"price": {"amount": 9_999, "currency": "EUR"}}
    assert (
        await service.client.patch(f"/api/v1/products/{product}", json=price, headers=service.admin)
    ).status_code == 200
    again = await asyncio.gather(*(service.reserve_one(product, 2, order) for _ in range(10)))
    assert all(result == first for result in again)
    assert first["lines"][0]["unit_price"] == {"amount": 1_299, "currency": "EUR"}
    assert await service.stock(product) == 3
    await service.assert_conserved()


async def test_a_repeated_reservation_is_found_when_nothing_is_left(service: RunningService) -> None:
    product = await service.product(stock=2)
    orders = [new_id(), new_id()]
    first = await service.reserve(*((order, {product: 1}) for order in orders))
    again = await service.reserve(*((order, {product: 1}) for order in [new_id(), *orders]))
    assert [result["status"] for result in again] == ["rejected", "reserved", "reserved"]
    assert again[1:] == first


async def test_the_same_order_twice_in_one_batch(service: RunningService) -> None:
    product, order = await service.product(stock=5), new_id()
    results = await service.reserve((order, {product: 2}), (order, {product: 2}))
    assert [result["status"] for result in results] == ["reserved", "reserved"]
    assert await service.stock(product) == 3


async def test_an_unknown_product_is_named(service: RunningService) -> None:
    known, unknown = await service.product(), new_id()
    [result] = await service.reserve((new_id(), {known: 1, unknown: 1}))
    assert (result["code"], result["product_id"]) == ("unknown_product", str(unknown))
    assert await service.stock(known) == 10


async def test_a_release_restocks_once(service: RunningService) -> None:
    product, order = await service.product(stock=5), new_id()
    await service.reserve_one(product, 3, order)
    await asyncio.gather(*(service.release(order) for _ in range(5)))
    assert await service.stock(product) == 5
    await service.assert_conserved()


async def test_reserved_stock_can_always_be_released(service: RunningService) -> None:
    """A delivery that would exceed the count with it is refused; otherwise the order could not be cancelled."""
    product, order = await service.product(stock=10), new_id()
    await service.reserve_one(product, 10, order)
    path, keyed = f"/api/v1/products/{product}/stock", service.admin | {"Idempotency-Key": "last"}
    for delta in (10**9, 10**9):
        assert (await service.client.post(path, json={"delta": delta}, headers=service.admin)).status_code == 200
    for _ in range(2):
        assert (await service.client.post(path, json={"delta": 147_483_637}, headers=keyed)).status_code == 200
    refused = await service.client.post(path, json={"delta": 1}, headers=service.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "stock_too_large")
    assert await service.stock(product) == 2**31 - 1 - 10
    await service.release(order)
    assert await service.stock(product) == 2**31 - 1
    await service.assert_conserved()


async def test_a_reservation_after_its_release_is_refused(service: RunningService) -> None:
    product, order = await service.product(stock=5), new_id()
    await service.release(order)
    result = await service.reserve_one(product, 3, order)
    assert (result["status"], result["code"]) == ("rejected", "released")
    assert await service.stock(product) == 5
    await service.assert_conserved()


async def test_concurrent_reservations_and_releases_conserve_the_stock(service: RunningService) -> None:
    product = await service.product(stock=1_000)
    orders = [new_id() for _ in range(60)]
    await asyncio.gather(
        *(service.reserve_one(product, 2, order) for order in orders), *(service.release(order) for order in orders)
    )
    await service.release(*orders)
    assert await service.stock(product) == 1_000
    await service.assert_conserved()


async def test_a_release_waits_for_the_reservation_in_flight(service: RunningService) -> None:
    """The restocking statement must see lines that were committed after the release began."""
    product, order = await service.product(stock=10), new_id()
    async with service.database.transaction() as slow:
        await slow.execute("INSERT INTO reservations (order_id, state) VALUES ($1, 'reserved')", order)
        await slow.execute("UPDATE products SET stock = stock - 4 WHERE id = $1", product)
        await slow.execute(
            "INSERT INTO reservation_lines SELECT $1, id, 4, sku, name, category, price, currency FROM products"
            " WHERE id = $2",
            order,
            product,
        )
        releasing = asyncio.create_task(service.release(order))
        await wait_until(lambda: _waiting(service))
    await releasing
    assert await service.stock(product) == 10
    await service.assert_conserved()


async def test_a_write_off_counts_the_delivery_that_it_waited_for(service: RunningService) -> None:
    """The CHECK must not refuse it for a stock that is out of date when the answer is given."""
    product = await service.product(stock=3)
    path = f"/api/v1/products/{product}/stock"
    async with service.database.transaction() as delivery:
        await delivery.execute(MOVE, product, 10, "delivery", None, datetime.now(UTC))
        writing_off = asyncio.create_task(service.client.post(path, json={"delta": -5}, headers=service.admin))
        await wait_until(lambda: _waiting(service), what="the write-off to wait for the delivery")
    answer = await writing_off
    assert (answer.status_code, answer.json()["stock"]) == (200, 8)
    await service.assert_conserved()


async def test_a_reservation_counts_the_delivery_that_it_waited_for(service: RunningService) -> None:
    product, order = await service.product(stock=3), new_id()
    async with service.database.transaction() as delivery:
        await delivery.execute(MOVE, product, 10, "delivery", None, datetime.now(UTC))
        reserving = asyncio.create_task(service.reserve_one(product, 5, order))
        await wait_until(lambda: _waiting(service), what="the reservation to wait for the delivery")
    assert (await reserving)["status"] == "reserved"
    assert await service.stock(product) == 8
    await service.assert_conserved()


async def test_an_order_that_was_reserved_meanwhile_is_not_reserved_again(service: RunningService) -> None:
    """The statement's own look at the reservations is older than the locks that it waits for."""
    product, order, new = await service.product(stock=9), new_id(), new_id()
    async with service.database.transaction() as first:
        await first.fetch(LOCK, [product])
        reserving = asyncio.create_task(service.reserve((order, {product: 2}), (new, {product: 3})))
        await wait_until(lambda: _waiting(service), what="the reservation to wait for the lock")
        await first.execute(RESERVE, [order], [order], [product], [2], [product], [2], datetime.now(UTC))
    assert [result["status"] for result in await reserving] == ["reserved", "reserved"]
    assert await service.stock(product) == 4
    await service.assert_conserved()


async def test_new_orders_are_reserved_by_one_statement(service: RunningService) -> None:
    first, second = await service.product(), await service.product()
    seen: list[str] = []
    repository = ReservationRepository(cast(Database, RecordedStatements(service.database, seen)))
    requests = [Request(new_id(), {first: 1, second: 2}), Request(new_id(), {first: 3})]
    assert len(await repository.reserve(requests, datetime.now(UTC))) == len(requests)
    assert len(seen) == 1
    await service.assert_conserved()


async def _waiting(service: RunningService) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await service.database.fetchval(waiting))


def confirmed(order_id: UUID) -> OrderConfirmed:
    nothing = Money(amount=0, currency="EUR")
    return OrderConfirmed(
        order_id=order_id,
        user_id=new_id(),
        email="a@example.com",
        customer_name="A",
        kind="retail",
        occurred_at=datetime.now(UTC),
        lines=[],
        subtotal=nothing,
        discount=nothing,
        tax=nothing,
        shipping=nothing,
        total=nothing,
        address=Address(name="A", street="B", city="C", postal_code="D", country="DE"),
    )


async def test_confirmed_orders_are_sold_and_cancelled_ones_restocked(service: RunningService) -> None:
    product, sold, cancelled = await service.product(stock=9), new_id(), new_id()
    await service.reserve((sold, {product: 2}), (cancelled, {product: 3}))
    await service.release(cancelled)
    bus, tasks = Bus(service.settings.nats_url, "order"), Tasks()
    bus.start(tasks)
    await wait_until(lambda: bus.connected)
    await bus.ensure_stream("order")
    for order in (sold, cancelled, new_id()):
        row = outbox.row(confirmed(order))
        await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))
    state = "SELECT state FROM reservations WHERE order_id = $1"
    await wait_until(lambda: _is(service, state, sold, "sold"), timeout_s=30)
    assert await service.database.fetchval(state, cancelled) == "released"
    assert await service.stock(product) == 7
    await service.assert_conserved()
    await service.release(sold)
    assert await service.stock(product) == 9
    await service.assert_conserved()
    await tasks.stop()
    await bus.close()


async def _is(service: RunningService, sql: str, argument: object, wanted: object) -> bool:
    return bool(await service.database.fetchval(sql, argument) == wanted)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE products SET stock = -1",
        "INSERT INTO reservations SELECT * FROM reservations",
        "UPDATE reservations SET state = 'reserved' WHERE state = 'released'",
        "UPDATE reservations SET state = 'sold' WHERE state = 'released'",
        "INSERT INTO reservation_lines SELECT * FROM reservation_lines",
    ],
)
async def test_the_database_refuses_inconsistent_rows(service: RunningService, statement: str) -> None:
    product, order, released_order = await service.product(), new_id(), new_id()
    await service.reserve_one(product, 1, order)
    await service.release(released_order)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await service.database.execute(statement)


async def test_counting_stock_takes_a_small_part_of_the_time_however_much_was_sold(service: RunningService) -> None:
    count = StockCount(ProductRepository(service.database), 60.0)
    assert [count.pause_after_s(took_s) for took_s in (0.01, 0.2, 2.0)] == [60.0, 60.0, 600.0]


async def test_products_without_stock_and_with_a_wrong_one_are_counted(service: RunningService) -> None:
    products = ProductRepository(service.database)
    sold_out, drift = await products.count_stock()
    first, second = await service.product(stock=1), await service.product(stock=5)
    await service.reserve_one(first, 1)
    await service.reserve_one(second, 2)
    assert await products.count_stock() == (sold_out + 1, drift)
    await service.database.execute("UPDATE products SET stock = stock + 1 WHERE id = $1", second)
    assert await products.count_stock() == (sold_out + 1, drift + 1)
    await service.database.execute("UPDATE products SET stock = stock - 1 WHERE id = $1", second)
    assert await products.count_stock() == (sold_out + 1, drift)
