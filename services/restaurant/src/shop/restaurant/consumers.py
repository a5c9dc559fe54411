"""The events that restaurant consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from shop.contracts.events import DeliveryChanged, OrderConfirmed, UserDeleted
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.inbox import SOON_S, Consumer, mark_processed
from shop.restaurant.repository import DELETED_USERS
from shop.restaurant.service import RestaurantService
from shop.restaurant.tickets import delete_users, lock_restaurants_of

DELIVERIES = "deliveries"


def consumers(service: RestaurantService) -> list[Consumer]:
    async def confirmed(connection: Connection, received: Sequence[Received]) -> None:
        await service.kitchens.confirmed(connection, [one.event for one in received])

    async def carried(connection: Connection, received: Sequence[Received]) -> None:
        await service.kitchens.carried(connection, [one.event for one in received])

    async def nothing_new(database: Database, received: Sequence[Received]) -> Collection[UUID] | None:
        """What changes nothing takes no transaction."""
        if not all(one.event.begins_to_wait for one in received):
            return None
        return await mark_processed(database, DELIVERIES, received)

    async def lock(connection: Connection, received: Sequence[Received]) -> None:
        await lock_restaurants_of(connection, [one.event.user_id for one in received])

    async def delete(connection: Connection, received: Sequence[Received]) -> None:
        await delete_users(connection, [one.event.user_id for one in received])

    return [
        Consumer("orders", [OrderConfirmed], confirmed, rest_s=SOON_S),
        Consumer(DELIVERIES, [DeliveryChanged], carried, at_once=nothing_new, rest_s=SOON_S),
        Consumer.of_deletions(UserDeleted, DELETED_USERS, delete, lock=lock),
    ]
