"""Events of tickets and deliveries, as restaurant and delivery publish them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.order.tests.conftest import Shop
from services.order.tests.scripted_food import RESTAURANT
from shop.contracts.events import DeliveryChanged, Event, TicketChanged
from shop.kit.events import Received
from shop.kit.ids import new_id

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _about(order_id: str, version: int) -> dict[str, Any]:
    return {
        "order_id": UUID(order_id),
        "user_id": new_id(),
        "restaurant_id": UUID(RESTAURANT),
        "restaurant_name": "Da Carlo",
        "version": version,
        "occurred_at": NOW,
    }


def ticket(order_id: str, state: str, version: int = 2, **more: Any) -> TicketChanged:
    return TicketChanged(**_about(order_id, version), state=state, **more)


def delivery(order_id: str, state: str, version: int = 2, **more: Any) -> DeliveryChanged:
    return DeliveryChanged(**_about(order_id, version), state=state, **more)


def course(order_id: str) -> list[DeliveryChanged]:
    """The events of a delivery that goes well."""
    states = ("assigned", "at_restaurant", "picked_up", "on_the_way", "delivered")
    return [
        delivery(order_id, state, version, courier_name="Bo", vehicle="bicycle")
        for version, state in enumerate(states, 1)
    ]


async def tell(shop: Shop, *events: Event) -> None:
    """Have the replica take the events in one batch, as its inbox does."""
    handlers = shop.service.food_events
    assert handlers is not None
    async with shop.app.state.context.database.transaction() as connection:
        if tickets := [event for event in events if isinstance(event, TicketChanged)]:
            await handlers.take_tickets(connection, received(tickets))
        if deliveries := [event for event in events if isinstance(event, DeliveryChanged)]:
            await handlers.take_deliveries(connection, received(deliveries))


def received(events: Sequence[Event]) -> list[Received]:
    trace_id = new_id().hex
    return [Received(new_id(), event.TYPE, NOW, trace_id, f"00-{trace_id}-{'ab' * 8}-00", event) for event in events]
