"""The events that the product service consumes: a confirmed order's reservation becomes a sale."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from shop.contracts.events import OrderConfirmed, UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.deleted_users import DeletedUsers
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.product.reservations import sell
from shop.product.service import ProductService

SALES = "sales"
SALES_REST_S = 1.0
"""No one waits until what is reserved counts as sold: either can be released."""


async def _sell(database: Database, events: Sequence[Received]) -> Collection[UUID]:
    sales = [(received.event_id, received.event.order_id) for received in events]
    return await sell(database, SALES, sales, Clock().now())


def consumers(_: ProductService) -> list[Consumer]:
    """Of deleted users there is only what could not be consumed."""
    deletions = Consumer.of_deletions(UserDeleted, DeletedUsers())
    return [Consumer(SALES, [OrderConfirmed], at_once=_sell, rest_s=SALES_REST_S), deletions]
