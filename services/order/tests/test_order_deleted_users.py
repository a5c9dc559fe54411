"""What orders keep of deleted users."""

from __future__ import annotations

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.food_events import NOW, received, tell, ticket
from services.order.tests.scripted_food import ScriptedFood
from shop.contracts.events import UserDeleted
from shop.order.consumers import consumers

CONTACTS = {"phone": "+447700900123", "note": "No nuts, please."}
KEPT = "SELECT phone, note, restaurant_id IS NOT NULL AS kept FROM food_orders"


async def delete_user(shop: Shop) -> None:
    """Have the event of the shop's user consumed."""
    (deletions,) = [one for one in consumers(shop.service) if UserDeleted in one.types]
    event = UserDeleted(user_id=shop.user_id, occurred_at=NOW)
    async with shop.app.state.context.database.transaction() as connection:
        await deletions.handle(connection, received([event]))


async def test_orders_of_a_deleted_user_lose_phone_and_note_and_stay(start_food: Start) -> None:
    async with start_food() as shop:
        placed = await shop.place_food("key", **CONTACTS)
        assert placed.status_code == 201, placed.text
        await delete_user(shop)
        assert [dict(row) for row in await shop.sql(KEPT)] == [{"phone": None, "note": "", "kept": True}]
        (row,) = await shop.sql("SELECT user_id, address FROM orders")
        assert (row["user_id"], bool(row["address"])) == (shop.user_id, True), "it is an invoice"


@pytest.mark.parametrize(("decided", "state"), [("accepted", "confirmed"), ("rejected", "rejected")])
async def test_the_note_of_a_pending_order_still_reaches_its_kitchen_and_leaves(
    start_food: Start, food: ScriptedFood, decided: str, state: str
) -> None:
    food.manual = True
    async with start_food() as shop:
        placed = await shop.place_food("key", **CONTACTS)
        assert placed.status_code == 202, placed.text
        await delete_user(shop)
        (row,) = await shop.sql("SELECT note FROM food_orders")
        assert row["note"] == CONTACTS["note"]
        order_id = placed.json()["id"]
        food.tickets[order_id] = decided
        await tell(shop, ticket(order_id, decided))
        await shop.until(order_id, state)
        assert [dict(row) for row in await shop.sql(KEPT)] == [{"phone": None, "note": "", "kept": True}]
