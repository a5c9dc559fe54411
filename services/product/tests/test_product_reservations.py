"""Stock that cannot be oversold: races, repetitions, releases, and the guards that hold when code does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from services.product.tests.product_shelf import Shelf
from shop.contracts.events import OrderConfirmed
from shop.contracts.money import Address, Money
from shop.devkit.testing import wait_until
from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.ids import new_id
from shop.kit.tasks import Tasks
from shop.product.repository import MOVE


async def test_a_hundred_orders_for_ten_copies(shelf: Shelf) -> None:
    product = await shelf.product(stock=10)
    results = await asyncio.gather(*(shelf.reserve_one(product) for _ in range(100)))
    assert Counter((result["status"], result.get("code")) for result in results) == {
        ("reserved", None): 10,
        ("rejected", "insufficient_stock"): 90,
    }
    assert await shelf.stock(product) == 0
    await shelf.assert_conserved()


async def test_orders_of_several_products_are_whole_or_nothing(shelf: Shelf) -> None:
    first, second = await shelf.product(stock=50), await shelf.product(stock=7)
    wishes = [{first: 2, second: 1} if number % 2 else {second: 1, first: 1} for number in range(40)]
    results = await asyncio.gather(*(shelf.reserve((new_id(), wish)) for wish in wishes))
    granted = [wish for wish, [result] in zip(wishes, results, strict=True) if result["status"] == "reserved"]
    assert len(granted) == 7
    assert await shelf.stock(first) == 50 - sum(wish[first] for wish in granted)
    assert await shelf.stock(second) == 0
    await shelf.assert_conserved()


async def test_a_batch_is_served_in_its_order(shelf: Shelf) -> None:
    product = await shelf.product(stock=3)
    orders = [(new_id(), {product: quantity}) for quantity in (2, 2, 1)]
    results = await shelf.reserve(*orders)
    assert [result["status"] for result in results] == ["reserved", "rejected", "reserved"]
    assert (results[1]["product_id"], results[1]["available"]) == (str(product), 1)


async def test_a_repeated_reservation_keeps_the_first_price(shelf: Shelf) -> None:
    product, order = await shelf.product(stock=5), new_id()
    first = await shelf.reserve_one(product, 2, order)
    price = {"price": {"amount": 9_999, "currency": "EUR"}}
    assert (await shelf.client.patch(f"/api/v1/products/{product}", json=price, headers=shelf.admin)).status_code == 200
    again = await asyncio.gather(*(shelf.reserve_one(product, 2, order) for _ in range(10)))
    assert all(result == first for result in again)
    assert first["lines"][0]["unit_price"] == {"amount": 1_299, "currency": "EUR"}
    assert await shelf.stock(product) == 3
    await shelf.assert_conserved()


async def test_a_repeated_reservation_is_found_when_nothing_is_left(shelf: Shelf) -> None:
    product = await shelf.product(stock=2)
    orders = [new_id(), new_id()]
    first = await shelf.reserve(*((order, {product: 1}) for order in orders))
    again = await shelf.reserve(*((order, {product: 1}) for order in [new_id(), *orders]))
    assert [result["status"] for result in again] == ["rejected", "reserved", "reserved"]
    assert again[1:] == first


async def test_the_same_order_twice_in_one_batch(shelf: Shelf) -> None:
    product, order = await shelf.product(stock=5), new_id()
    results = await shelf.reserve((order, {product: 2}), (order, {product: 2}))
    assert [result["status"] for result in results] == ["reserved", "reserved"]
    assert await shelf.stock(product) == 3


async def test_an_unknown_product_is_named(shelf: Shelf) -> None:
    known, unknown = await shelf.product(), new_id()
    [result] = await shelf.reserve((new_id(), {known: 1, unknown: 1}))
    assert (result["code"], result["product_id"]) == ("unknown_product", str(unknown))
    assert await shelf.stock(known) == 10


async def test_a_release_restocks_once(shelf: Shelf) -> None:
    product, order = await shelf.product(stock=5), new_id()
    await shelf.reserve_one(product, 3, order)
    await asyncio.gather(*(shelf.release(order) for _ in range(5)))
    assert await shelf.stock(product) == 5
    await shelf.assert_conserved()


async def test_reserved_stock_can_always_be_released(shelf: Shelf) -> None:
    """A delivery that takes its place in the count is refused; else the order could never be cancelled."""
    product, order = await shelf.product(stock=10), new_id()
    await shelf.reserve_one(product, 10, order)
    path, keyed = f"/api/v1/products/{product}/stock", shelf.admin | {"Idempotency-Key": "last"}
    for delta in (10**9, 10**9):
        assert (await shelf.client.post(path, json={"delta": delta}, headers=shelf.admin)).status_code == 200
    for _ in range(2):
        assert (await shelf.client.post(path, json={"delta": 147_483_637}, headers=keyed)).status_code == 200
    refused = await shelf.client.post(path, json={"delta": 1}, headers=shelf.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "stock_too_large")
    assert await shelf.stock(product) == 2**31 - 1 - 10
    await shelf.release(order)
    assert await shelf.stock(product) == 2**31 - 1
    await shelf.assert_conserved()


async def test_a_reservation_after_its_release_is_refused(shelf: Shelf) -> None:
    product, order = await shelf.product(stock=5), new_id()
    await shelf.release(order)
    result = await shelf.reserve_one(product, 3, order)
    assert (result["status"], result["code"]) == ("rejected", "released")
    assert await shelf.stock(product) == 5
    await shelf.assert_conserved()


async def test_concurrent_reservations_and_releases_conserve_the_stock(shelf: Shelf) -> None:
    product = await shelf.product(stock=1_000)
    orders = [new_id() for _ in range(60)]
    await asyncio.gather(
        *(shelf.reserve_one(product, 2, order) for order in orders), *(shelf.release(order) for order in orders)
    )
    await shelf.release(*orders)
    assert await shelf.stock(product) == 1_000
    await shelf.assert_conserved()


async def test_a_release_waits_for_the_reservation_in_flight(shelf: Shelf) -> None:
    """The restocking statement must see lines that were committed after the release began."""
    product, order = await shelf.product(stock=10), new_id()
    async with shelf.database.transaction() as slow:
        await slow.execute("INSERT INTO reservations (order_id, state) VALUES ($1, 'reserved')", order)
        await slow.execute("UPDATE products SET stock = stock - 4 WHERE id = $1", product)
        await slow.execute(
            "INSERT INTO reservation_lines SELECT $1, id, 4, sku, name, category, price, currency FROM products"
            " WHERE id = $2",
            order,
            product,
        )
        releasing = asyncio.create_task(shelf.release(order))
        await wait_until(lambda: _waiting(shelf))
    await releasing
    assert await shelf.stock(product) == 10
    await shelf.assert_conserved()


async def test_a_write_off_counts_the_delivery_that_it_waited_for(shelf: Shelf) -> None:
    """The CHECK must not refuse it for a stock that is out of date when the answer is given."""
    product = await shelf.product(stock=3)
    path = f"/api/v1/products/{product}/stock"
    async with shelf.database.transaction() as delivery:
        await delivery.execute(MOVE, product, 10, "delivery", None, datetime.now(UTC))
        writing_off = asyncio.create_task(shelf.client.post(path, json={"delta": -5}, headers=shelf.admin))
        await wait_until(lambda: _waiting(shelf), what="the write-off to wait for the delivery")
    answer = await writing_off
    assert (answer.status_code, answer.json()["stock"]) == (200, 8)
    await shelf.assert_conserved()


async def _waiting(shelf: Shelf) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await shelf.database.fetchval(waiting))


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


async def test_confirmed_orders_are_sold_and_cancelled_ones_restocked(shelf: Shelf) -> None:
    product, sold, cancelled = await shelf.product(stock=9), new_id(), new_id()
    await shelf.reserve((sold, {product: 2}), (cancelled, {product: 3}))
    await shelf.release(cancelled)
    bus, tasks = Bus(shelf.settings.nats_url, "order"), Tasks()
    bus.start(tasks)
    await wait_until(lambda: bus.connected)
    await bus.ensure_stream("order")
    for order in (sold, cancelled, new_id()):
        row = outbox.row(confirmed(order))
        await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))
    state = "SELECT state FROM reservations WHERE order_id = $1"
    await wait_until(lambda: _is(shelf, state, sold, "sold"), timeout_s=30)
    assert await shelf.database.fetchval(state, cancelled) == "released"
    assert await shelf.stock(product) == 7
    await shelf.assert_conserved()
    await shelf.release(sold)
    assert await shelf.stock(product) == 9
    await shelf.assert_conserved()
    await tasks.stop()
    await bus.close()


async def _is(shelf: Shelf, sql: str, argument: object, wanted: object) -> bool:
    return bool(await shelf.database.fetchval(sql, argument) == wanted)


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
async def test_the_database_refuses_inconsistent_rows(shelf: Shelf, statement: str) -> None:
    product, order, given_up = await shelf.product(), new_id(), new_id()
    await shelf.reserve_one(product, 1, order)
    await shelf.release(given_up)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await shelf.database.execute(statement)
