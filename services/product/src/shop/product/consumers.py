"""The events that the product service consumes: a confirmed order's reservation becomes a sale."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import OrderConfirmed, UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.deleted_users import DeletedUsers
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.product.reservations import sell
from shop.product.service import ProductService


async def orders_confirmed(connection: Connection, events: Sequence[Received]) -> None:
    await sell(connection, [received.event.order_id for received in events], Clock().now())


def consumers(_: ProductService) -> list[Consumer]:
    """Of deleted users there is only what could not be consumed."""
    deletions = Consumer.of_deletions(UserDeleted, DeletedUsers())
    return [Consumer("sales", [OrderConfirmed], orders_confirmed), deletions]
