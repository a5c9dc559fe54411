"""The events that player consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import AchievementUnlocked, OrderCancelled, OrderConfirmed, UserDeleted, UserRegistered
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import LATER_S, Consumer
from shop.player.repository import DELETED_USERS
from shop.player.service import PlayerService


def consumers(service: PlayerService) -> list[Consumer]:
    async def register(connection: Connection, received: Sequence[Received]) -> None:
        await service.ledger.create(connection, {one.event.user_id: one.event.email for one in received})

    async def add_orders(connection: Connection, received: Sequence[Received]) -> None:
        events = [one.event for one in received]
        confirmed = [one for one in events if isinstance(one, OrderConfirmed)]
        cancelled = [one for one in events if isinstance(one, OrderCancelled)]
        await service.ledger.add_orders(connection, confirmed, cancelled)

    async def add_achievements(connection: Connection, received: Sequence[Received]) -> None:
        await service.ledger.add_achievements(connection, [one.event for one in received])

    async def delete(connection: Connection, received: Sequence[Received]) -> None:
        await service.delete(connection, [one.event.user_id for one in received])

    async def forget_buyers(received: Sequence[Received]) -> None:
        await service.forget_profiles({one.event.user_id for one in received})

    async def forget_players(received: Sequence[Received]) -> None:
        await service.forget_profiles({one.event.player_id for one in received})

    return [
        Consumer("players", [UserRegistered], register),
        Consumer("orders", [OrderConfirmed, OrderCancelled], add_orders, after_commit=forget_buyers, rest_s=LATER_S),
        Consumer("achievements", [AchievementUnlocked], add_achievements, after_commit=forget_players),
        Consumer.of_deletions(UserDeleted, DELETED_USERS, delete, after_commit=forget_buyers),
    ]
