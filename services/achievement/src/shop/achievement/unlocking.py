"""Facts follow from events; an achievement is unlocked in the transaction that changes the facts it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from shop.achievement import metrics, repository
from shop.achievement.domain import OrderChange, Player, player_of
from shop.achievement.repository import AchievementRepository
from shop.achievement.rules import Rule
from shop.contracts.achievement import UnlockRequest
from shop.kit import outbox
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.events import Received


class AppliedPage(NamedTuple):
    """``last`` is the id that the next page follows, None after the last player."""

    last: UUID | None
    players: int
    unlocked: int


class Unlocking:
    """Each method changes players in one transaction, with their rows locked."""

    def __init__(
        self,
        database: Database,
        players: AchievementRepository,
        rules: Mapping[str, Rule],
        currency: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._players = players
        self._rules = rules
        self._currency = currency
        self._clock = clock

    async def take(self, connection: Connection, received: Sequence[Received]) -> None:
        """Apply events of several players in the caller's transaction; those of deleted users change nothing.

        The rules are evaluated after each event, so that it is known which one unlocked what.
        """
        players = await repository.lock(connection, (player_of(one.event) for one in received))
        known = await repository.orders(connection, [one.event.order_id for one in received if _about_order(one)])
        orders = dict(known)
        for one in sorted(received, key=lambda one: (one.time, one.event_id)):
            if (player := players.get(player_of(one.event))) is not None:
                player.take(one.event, orders)
                player.evaluate(self._rules.values(), self._currency, one.event_id, self._clock.now())
        await repository.save_orders(connection, [it for it in orders.values() if it != known.get(it.order_id)])
        await repository.save_facts(connection, players.values())
        await _announce(connection, players.values(), {one.event_id: one.traceparent for one in received})

    async def unlock(self, rule: Rule, request: UnlockRequest) -> None:
        """For a game server: nothing if the player has it, or is a deleted user."""
        async with self._database.transaction() as connection:
            players = await repository.lock(connection, [request.player_id])
            for player in players.values():
                if rule.code not in player.codes:
                    player.unlock(rule, (), None, request.occurred_at)
            await _announce(connection, players.values(), {})

    async def apply_page(self, after: UUID, limit: int) -> AppliedPage:
        """Evaluate the rules for up to ``limit`` players whose ids are greater than ``after``."""
        page = await self._players.page(after, limit)
        if not page:
            return AppliedPage(None, 0, 0)
        async with self._database.transaction() as connection:
            players = await repository.lock(connection, page, add=False)
            for player in players.values():
                player.evaluate(self._rules.values(), self._currency, None, self._clock.now())
            unlocked = await _announce(connection, players.values(), {})
        return AppliedPage(page[-1], len(players), unlocked)


async def _announce(connection: Connection, players: Iterable[Player], traces: Mapping[UUID, str]) -> int:
    """Store and publish what is new, in the traces of its events; return how many that is."""
    stored = await repository.unlock(connection, players)
    rows = [
        outbox.row(one.event(player.mail_to), traces.get(one.event_id) if one.event_id else None)
        for player, one in stored
    ]
    await outbox.insert(connection, rows)
    for _, one in stored:
        metrics.UNLOCKED.labels(one.code).inc()
    return len(stored)


def _about_order(received: Received) -> bool:
    return isinstance(received.event, OrderChange)
