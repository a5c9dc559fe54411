"""Who works at a restaurant: asked of restaurant, and remembered for a few seconds."""

from __future__ import annotations

from uuid import UUID

import cachetools

from shop.contracts.restaurant import STAFF
from shop.kit.http import ServiceClient

MAX_REMEMBERED_USERS = 10_000
TIMEOUT_S = 1.0


class Staff:
    """Without a client, nobody is staff: the shop has no restaurants."""

    def __init__(self, client: ServiceClient | None, cache_s: float) -> None:
        self._client = client
        self._known: cachetools.TTLCache[UUID, frozenset[UUID]] = cachetools.TTLCache(MAX_REMEMBERED_USERS, cache_s)

    async def works_at(self, user_id: UUID, restaurant_id: UUID) -> bool:
        """Unavailable("restaurant") when it cannot be asked."""
        if self._client is None:
            return False
        known = self._known.get(user_id)
        if known is None:
            answer = await self._client.get(STAFF.path, params={"user_id": user_id}, internal=True, timeout_s=TIMEOUT_S)
            known = self._known[user_id] = frozenset(STAFF.result.validate_python(answer.json).restaurant_ids)
        return restaurant_id in known
