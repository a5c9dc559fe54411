"""An order shows how much of its payment was refunded: each refund once, however often its event is delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import Shop
from shop.contracts.events import PaymentRefunded
from shop.contracts.money import Money
from shop.devkit.testing import wait_until
from shop.kit import events
from shop.kit.bus import Bus
from shop.kit.ids import new_id
from shop.order.repository import add_refunds

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def refund(order: dict[str, Any], amount: int) -> events.OutboxRow:
    about = {"payment_id": new_id(), "order_id": UUID(order["id"]), "user_id": UUID(order["user_id"])}
    return events.row(PaymentRefunded(**about, amount=Money(amount=amount, currency="EUR"), occurred_at=NOW))


async def publish(shop: Shop, row: events.OutboxRow) -> None:
    """Under a new message id, so that the broker does not drop a repeated event."""
    bus: Bus = shop.app.state.context.bus
    await bus.ensure_stream("payment")
    await (await bus.publish(row.type, row.payload.encode(), str(new_id())))


async def refunded(shop: Shop, order_id: str, amount: int) -> None:
    async def reached() -> bool:
        return bool((await shop.order(order_id)).get("refunded") == {"amount": amount, "currency": "EUR"})

    await wait_until(reached, what=f"{amount} refunded")


async def test_refunds_add_up_and_a_repeated_event_counts_once(shop: Shop) -> None:
    order = (await shop.place()).json()
    assert "refunded" not in order
    first, second = refund(order, 300), refund(order, 200)
    await publish(shop, first)
    await refunded(shop, order["id"], 300)
    for row in (first, second, first):
        await publish(shop, row)
    await refunded(shop, order["id"], 500)
    listed = (await shop.client.get("/api/v1/orders", headers=shop.headers)).json()["items"]
    assert [one["refunded"]["amount"] for one in listed] == [500]
    assert (await shop.order(order["id"]))["version"] == order["version"]


async def test_an_event_repeated_after_its_inbox_row_was_pruned_counts_once(shop: Shop) -> None:
    order = (await shop.place()).json()
    database = shop.app.state.context.database
    row = (new_id(), UUID(order["id"]), 300, NOW)
    for _ in range(2):
        async with database.transaction() as connection:
            await add_refunds(connection, [row])
    assert (await shop.order(order["id"]))["refunded"]["amount"] == 300


async def test_the_answer_to_a_repeated_request_is_the_first_one(shop: Shop) -> None:
    first = await shop.place("once-refunded")
    await publish(shop, refund(first.json(), 100))
    await refunded(shop, first.json()["id"], 100)
    again = await shop.place("once-refunded")
    assert again.content == first.content


@pytest.mark.parametrize("amount", [0, -1])
async def test_a_refund_of_zero_or_less_is_refused_by_the_database(shop: Shop, amount: int) -> None:
    with pytest.raises(Exception, match="refunds_amount_check"):
        async with shop.app.state.context.database.transaction() as connection:
            await add_refunds(connection, [(new_id(), new_id(), amount, NOW)])
