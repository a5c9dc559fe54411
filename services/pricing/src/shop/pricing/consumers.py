"""The events that pricing consumes: a level that was reached brings a coupon, which a deleted user loses."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import PlayerLevelReached, UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.kit.text import code
from shop.pricing import personal_repository
from shop.pricing.personal_repository import DELETED_USERS, Grant
from shop.pricing.service import PricingService


def consumers(service: PricingService) -> list[Consumer]:
    """Levels are consumed only in a shop with the arcade: others do not have their stream. Deletions are consumed in
    every shop, because coupons outlive an arcade that was turned off."""
    rewards = Rewards(service.clock)
    return [rewards.deletions, *([rewards.levels] if service.arcade else [])]


class Rewards:
    """The coupons that players are given."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.levels = Consumer("rewards", [PlayerLevelReached], self._grant)
        self.deletions = Consumer.of_deletions(UserDeleted, DELETED_USERS, self._revoke, clock=clock)

    async def _grant(self, connection: Connection, events: Sequence[Received]) -> None:
        grants = [
            Grant(code(event.coupon), event.player_id, event.percent, event.expires_at)
            for event in (received.event for received in events)
            if event.coupon is not None
        ]
        if grants:
            await personal_repository.grant(connection, grants, self._clock.now())

    async def _revoke(self, connection: Connection, events: Sequence[Received]) -> None:
        await personal_repository.revoke(connection, [received.event.user_id for received in events])
