"""Of orders that ended long ago the sagas and the changes of state are removed, and nothing that is still needed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from services.order.tests.conftest import Shop
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.kit.retention import Retention
from shop.order import retention_repository

KEEP = timedelta(days=90)


async def pass_days(shop: Shop, days: int) -> None:
    """Remove what is due so many days from now."""
    clock, database = FixedClock(datetime.now(UTC) + timedelta(days=days)), shop.app.state.context.database
    await Retention(database, clock, [retention_repository.rule(KEEP)]).remove_once()


async def rows(shop: Shop, order_id: str) -> tuple[int, int]:
    """How many sagas and changes of state the order has."""
    counts = (
        "SELECT (SELECT count(*) FROM sagas WHERE order_id = $1), count(*) FROM order_transitions WHERE order_id = $1"
    )
    ((sagas, transitions),) = await shop.sql(counts, UUID(order_id))
    return sagas, transitions


async def placed(shop: Shop, *then: str) -> str:
    """A confirmed order with which ``then`` is done."""
    order_id: str = (await shop.place()).json()["id"]
    for what in then:
        assert (await shop.post(order_id, what, admin=True)).status_code == 200
    return order_id


async def test_only_orders_that_ended_long_ago_lose_their_history(shop: Shop) -> None:
    cancelled, delivered = await placed(shop, "cancel"), await placed(shop, "fulfil", "deliver")
    confirmed, fulfilled = await placed(shop), await placed(shop, "fulfil")
    await pass_days(shop, 89)
    assert [await rows(shop, one) for one in (cancelled, delivered)] == [(1, 2), (1, 3)]
    await pass_days(shop, 91)
    assert [await rows(shop, one) for one in (cancelled, delivered)] == [(0, 0), (0, 0)]
    assert [await rows(shop, one) for one in (confirmed, fulfilled)] == [(1, 1), (1, 2)]
    noted = "SELECT bool_and(o.updated_at <= r.ended_until) FROM orders o, removed_history r WHERE o.id = ANY ($1)"
    ((is_noted,),) = await shop.sql(noted, [UUID(cancelled), UUID(delivered)])
    assert is_noted
    assert (await shop.post(confirmed, "cancel")).status_code == 200


async def test_an_order_without_history_is_answered_as_what_it_became(shop: Shop) -> None:
    sold = await shop.place("sold")
    order_id = sold.json()["id"]
    for what in ("fulfil", "deliver"):
        await shop.post(order_id, what, admin=True)
    refused = await shop.place("refused", payment={"token": "tok_declined"})
    await pass_days(shop, 91)
    again, refused_again = await shop.place("sold"), await shop.place("refused", payment={"token": "tok_declined"})
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (201, order_id, "delivered")
    assert refused_again.status_code == refused.status_code == 402
    assert refused_again.json()["code"] == refused.json()["code"]
    assert refused_again.json()["order_id"] == refused.json()["order_id"]
    history = (await shop.client.get(f"/api/v1/orders/{order_id}/history", headers=shop.admin)).json()
    assert (history["status"], history["steps"], history["transitions"]) == ("done", [], [])
    assert (await shop.post(order_id, "retry", admin=True)).json()["code"] == "not_waiting"


async def test_a_stream_that_is_resumed_after_that_ends_with_the_last_state(shop: Shop) -> None:
    order_id = await placed(shop, "fulfil", "deliver")
    await pass_days(shop, 91)
    url = f"/api/v1/orders/{order_id}/events"
    async with asyncio.timeout(10):
        answer = await shop.client.get(url, headers=shop.headers | {"Last-Event-ID": "2"})
    assert answer.text.startswith("id: 4\nevent: state\ndata: ")


async def test_what_is_unfinished_is_kept_whatever_its_age(shop: Shop) -> None:
    unfinished, food = await placed(shop, "cancel"), await placed(shop, "cancel")
    run_on = "UPDATE sagas SET status = 'compensating', due_at = 'infinity' WHERE order_id = $1"
    await shop.sql(run_on, UUID(unfinished))
    to_release = "INSERT INTO food_orders (order_id, restaurant_id, tip, release_due) VALUES ($1, $2, 0, true)"
    await shop.sql(to_release, UUID(food), new_id())
    await pass_days(shop, 91)
    assert [await rows(shop, one) for one in (unfinished, food)] == [(1, 2), (1, 2)]


async def test_the_oldest_are_found_by_an_index(shop: Shop) -> None:
    connection = await asyncpg.connect(shop.database_url)
    await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    plan: list[Any] = await connection.fetch(f"EXPLAIN {retention_repository.REMOVE_HISTORY}", datetime.now(UTC))
    await connection.close()
    assert "Index Scan using order_transitions_ended" in "\n".join(row[0] for row in plan)
