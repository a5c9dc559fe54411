"""The events that achievement consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Sequence

from shop.achievement.service import AchievementService
from shop.contracts.events import OrderConfirmed
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer


def consumers(service: AchievementService) -> list[Consumer]:
    async def add(connection: Connection, received: Sequence[Received]) -> None:
        await service.add_orders(connection, [one.event for one in received])

    return [Consumer("orders", [OrderConfirmed], add)]
