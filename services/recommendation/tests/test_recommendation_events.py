"""What order and user events do to purchases: each takes effect once, in any order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from services.recommendation.tests.recommending import Shop, cancelled, confirmed, deleted, ids, take
from shop.contracts.events import Event, OrderConfirmed
from shop.devkit.testing import Logged, wait_until
from shop.kit import outbox
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.recommendation.consumers import PurchaseRecorder

TABLES = ("customers", "orders", "purchases")


async def counts(shop: Shop) -> dict[str, int]:
    return {table: await shop.rows(table) for table in TABLES}


async def publish_each_alone(shop: Shop, events: Sequence[Event]) -> None:
    for event in events:
        await shop.learn(event)


async def test_order_is_counted_once_however_often_its_event_arrives(shop: Shop, user: UUID) -> None:
    event = confirmed(user, await shop.products.add())
    row = outbox.row(event)
    bus = shop.replica.context.bus
    await bus.ensure_stream("order")
    for delivery in ("first", "second"):
        await (await bus.publish(row.type, row.payload.encode(), f"{row.event_id}-{delivery}"))
    await shop.learn(event, confirmed(new_id(), new_id()))
    assert await counts(shop) == {"customers": 2, "orders": 2, "purchases": 2}
    assert shop.replica.service.loaded.orders == 2


async def test_food_is_not_learned_from(shop: Shop, user: UUID) -> None:
    order = confirmed(user, await shop.products.add()).model_copy(update={"kind": "food"})
    await shop.learn(order, cancelled(order), confirmed(user, await shop.products.add()))
    assert await counts(shop) == {"customers": 1, "orders": 1, "purchases": 1}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("places", list(itertools.permutations(range(2))))
async def test_cancelled_order_does_not_count_in_any_order(
    shop: Shop, user: UUID, places: tuple[int, ...], alone: bool
) -> None:
    books = await shop.products.add_many(3)
    order, other = confirmed(user, books[0], books[1]), confirmed(new_id(), books[2])
    events: list[Event] = [order, cancelled(order)]
    in_order = [events[place] for place in places]
    if alone:
        await publish_each_alone(shop, in_order)
    else:
        await shop.learn(*in_order)
    await shop.learn(order, cancelled(order), other)
    assert await counts(shop) == {"customers": 2, "orders": 2, "purchases": 1}
    assert shop.replica.service.loaded.orders == 1
    assert await shop.replica.service.purchases.history(user) == []


async def test_what_was_cancelled_may_be_recommended_again(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(2)
    await shop.catalogue_is_read()
    order = await shop.buy(user, books[0])
    assert ids(await shop.replica.recommend(user)) == [books[1]]
    await shop.learn(cancelled(order))
    assert sorted(ids(await shop.replica.recommend(user))) == sorted(books)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("places", list(itertools.permutations(range(3))))
async def test_deleted_customer_leaves_nothing_in_any_order(
    shop: Shop, user: UUID, places: tuple[int, ...], alone: bool
) -> None:
    order = confirmed(user, new_id())
    events: list[Event] = [order, cancelled(order), deleted(user)]
    in_order = [events[place] for place in places]
    if alone:
        await publish_each_alone(shop, in_order)
    else:
        await shop.learn(*in_order)
    await shop.learn(confirmed(user, new_id()))
    assert await counts(shop) == {"customers": 0, "orders": 0, "purchases": 0}


async def test_no_column_knows_a_deleted_customer(shop: Shop, user: UUID) -> None:
    order = await shop.buy(user, new_id())
    alias = await shop.replica.context.database.fetchval("SELECT alias FROM customers")
    await shop.learn(cancelled(order), deleted(user), confirmed(new_id(), new_id()))
    stored = await everything(shop)
    assert str(shop.replica.service.loaded.version) in stored
    for personal in (user, order.order_id, alias, order.email, order.customer_name, user.hex):
        assert str(personal) not in stored


async def everything(shop: Shop) -> str:
    """Every row of every table, as text."""
    database = shop.replica.context.database
    names = await database.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    rows = [await database.fetch(f'SELECT t::text AS row FROM "{one["name"]}" t') for one in names]
    return "\n".join(row["row"] for part in rows for row in part)


async def test_event_that_could_not_be_consumed_is_erased_with_its_customer(shop: Shop, user: UUID) -> None:
    row = outbox.row(confirmed(user, new_id()))
    broken = orjson.loads(row.payload)
    broken["data"]["lines"] = [{"product_id": "none"}]
    bus = shop.replica.context.bus
    await bus.ensure_stream("order")
    await (await bus.publish(row.type, orjson.dumps(broken), str(row.event_id)))
    await shop.learn(confirmed(new_id(), new_id()))
    assert str(user) in await everything(shop)
    await shop.learn(deleted(user))
    assert str(user) not in await everything(shop)
    assert await shop.rows("dead_letter WHERE dead_at IS NOT NULL AND payload = ''") == 1


@pytest.mark.parametrize("ends", [cancelled, lambda order: deleted(order.user_id)], ids=["cancelled", "deleted"])
async def test_two_events_that_are_consumed_at_the_same_time_see_each_other(
    shop: Shop, user: UUID, ends: Callable[[OrderConfirmed], Event]
) -> None:
    """The order's transaction has begun and done nothing yet when the other one begins, and is committed last."""
    database, order = shop.replica.context.database, confirmed(user, new_id())
    recorder = PurchaseRecorder(shop.replica.service.purchases, shop.replica.service.clock)

    async def consume(event: Event) -> None:
        async with database.transaction() as connection:
            await take(recorder, connection, [received(event)])

    async with database.transaction() as connection:
        await take(recorder, connection, [received(order)])
        ending = asyncio.create_task(consume(ends(order)))
        await wait_until(lambda: ending.done() or shop.rows(WAITING))
    await ending
    assert await shop.rows("purchases") == 0


WAITING = "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def received(event: Event) -> Received:
    return Received(new_id(), event.TYPE, datetime.now(UTC), "", "", event)


async def test_logs_have_no_personal_data(shop: Shop, user: UUID, logged: Logged) -> None:
    await shop.catalogue_is_read()
    order = await shop.buy(user, new_id())
    await shop.replica.recommend(user)
    await shop.learn(cancelled(order), deleted(user))
    lines = logged()
    assert [line for line in lines if line.get("event") == "model_trained"]
    for personal in (str(user), "ada@example.com"):
        assert not [line for line in lines if personal in str(line)]
