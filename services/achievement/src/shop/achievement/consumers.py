"""The events that achievement consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Sequence

from shop.achievement import repository
from shop.achievement.service import AchievementService
from shop.contracts.events import PlayerChanged, UserDeleted
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer


def consumers(service: AchievementService) -> list[Consumer]:
    async def delete(connection: Connection, received: Sequence[Received]) -> None:
        await repository.delete_players(connection, [one.event.user_id for one in received])

    return [
        service.facts,
        Consumer("profiles", [PlayerChanged], service.take_profiles),
        Consumer.of_deletions(UserDeleted, repository.DELETED_USERS, delete, clock=service.clock),
    ]
