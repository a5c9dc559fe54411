"""The events that restaurant consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import DeliveryChanged, OrderConfirmed, UserDeleted
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import SOON_S, Consumer
from shop.restaurant.repository import DELETED_USERS
from shop.restaurant.service import RestaurantService
from shop.restaurant.tickets import delete_users, lock_restaurants_of


def consumers(service: RestaurantService) -> list[Consumer]:
    async def confirmed(connection: Connection, received: Sequence[Received]) -> None:
        await service.kitchens.confirmed(connection, [one.event for one in received])

    async def carried(connection: Connection, received: Sequence[Received]) -> None:
        await service.kitchens.carried(connection, [one.event for one in received])

    async def lock(connection: Connection, received: Sequence[Received]) -> None:
        await lock_restaurants_of(connection, [one.event.user_id for one in received])

    async def delete(connection: Connection, received: Sequence[Received]) -> None:
        await delete_users(connection, [one.event.user_id for one in received])

    return [
        Consumer("orders", [OrderConfirmed], confirmed, rest_s=SOON_S),
        Consumer("deliveries", [DeliveryChanged], carried, rest_s=SOON_S),
        Consumer.of_deletions(UserDeleted, DELETED_USERS, delete, lock=lock),
    ]
