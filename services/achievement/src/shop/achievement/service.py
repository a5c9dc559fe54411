"""What achievement does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from shop.achievement import errors
from shop.achievement.domain import Entry
from shop.achievement.repository import AchievementRepository
from shop.achievement.settings import Settings
from shop.contracts.events import OrderConfirmed
from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.ids import new_id


class AchievementService:
    """Users read and write only their own entries."""

    def __init__(self, settings: Settings, repository: AchievementRepository, clock: Clock) -> None:
        self._limit = settings.achievement_entries_per_user
        self._repository = repository
        self._clock = clock

    @classmethod
    def build(cls, context: Context) -> AchievementService:
        return cls(cast(Settings, context.settings), AchievementRepository(context.database), context.clock)

    async def add(self, user_id: UUID, note: str) -> Entry:
        """The new entry; Problem 409 ``too_many_entries``."""
        entry = Entry(new_id(), user_id, "user", note, self._clock.now())
        if not await self._repository.add(entry, self._limit):
            raise errors.too_many_entries(self._limit)
        return entry

    async def entry(self, user_id: UUID, entry_id: UUID) -> Entry:
        """The user's entry; Problem 404 ``unknown_entry``, also when it belongs to another user."""
        found = await self._repository.one(user_id, entry_id)
        if found is None:
            raise errors.unknown_entry(entry_id)
        return found

    async def entries(self, user_id: UUID, before: UUID | None, limit: int) -> list[Entry]:
        return await self._repository.page(user_id, before, limit)

    async def add_orders(self, connection: Connection, orders: Sequence[OrderConfirmed]) -> None:
        """One entry per confirmed order, in the transaction that marks the events as consumed."""
        now = self._clock.now()
        entries = [Entry(new_id(), order.user_id, "order", f"Order {order.order_id}", now) for order in orders]
        await self._repository.add_in(connection, entries)
