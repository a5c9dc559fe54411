"""Experience points: entries of ledgers, and the levels, streaks, rewards and events that follow from them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, tzinfo
from functools import lru_cache
from uuid import UUID

from shop.contracts.events import (
    AchievementUnlocked,
    OrderCancelled,
    OrderConfirmed,
    PlayerChanged,
    PlayerGained,
    PlayerLevelReached,
)
from shop.kit import outbox
from shop.kit.clock import Clock
from shop.kit.currencies import major_units
from shop.kit.db import Connection
from shop.kit.formatting import find_zone
from shop.player.cache import ProfileCache
from shop.player.domain import (
    REWARD_LIFETIME,
    REWARDS,
    Gain,
    Player,
    Reward,
    achievement_xp,
    default_name,
    local_day,
    next_day,
    order_xp,
)
from shop.player.metrics import ENTRIES
from shop.player.repository import PlayerRepository

CODE_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without 0, 1, I and O, which look alike."""
CODE_CHARACTERS = 8


class Ledger:
    """Every change happens in the caller's transaction. ``default_zone`` is that of players who chose none."""

    def __init__(self, repository: PlayerRepository, cache: ProfileCache, clock: Clock, default_zone: str) -> None:
        self._repository = repository
        self._cache = cache
        self._clock = clock
        self._default_zone = default_zone

    def zone(self, time_zone: str | None) -> tzinfo:
        """The zone of a player who has this setting."""
        return _zone(time_zone or self._default_zone)

    def day(self, player: Player, at: datetime) -> date:
        """The player's local day of this moment."""
        return local_day(at, self.zone(player.zones.at(at)))

    def with_zone(self, player: Player, time_zone: str | None) -> Player:
        """The player with a new zone, which holds from the next day on: by changing it nobody begins the same day
        again. At once for who has no day yet."""
        if player.streak_on is None:
            return replace(player, time_zone=time_zone, zone_before=None, zone_since=None)
        now = self._clock.now()
        present = player.zones.at(now)
        since = next_day(now, self.zone(present))
        return replace(player, time_zone=time_zone, zone_before=present, zone_since=since)

    async def create(self, connection: Connection, people: Mapping[UUID, str | None]) -> None:
        """Create those players, by id with mail address, who do not exist; deleted users stay deleted.

        Before any lock of a player in this transaction.
        """
        now = self._clock.now()
        named = {player_id: (default_name(player_id), people[player_id]) for player_id in sorted(people)}
        created = await self._repository.create(connection, named, now)
        await outbox.publish(connection, *(changed_event(player, now) for player in created))

    async def lock(self, connection: Connection, player_ids: Iterable[UUID]) -> dict[UUID, Player]:
        """Lock those players who exist, and keep their profiles from being cached until after the commit."""
        players = await self._repository.lock(connection, player_ids)
        if players:
            await self._cache.mark(players.keys())
        return players

    async def add_orders(
        self, connection: Connection, confirmed: Sequence[OrderConfirmed], cancelled: Sequence[OrderCancelled]
    ) -> None:
        """A confirmed order gives points, and its cancellation takes them back, in whatever order they come."""
        orders = [*confirmed, *cancelled]
        await self.create(connection, {one.user_id: one.email for one in orders})
        players = await self.lock(connection, {one.user_id for one in orders})
        keys = [(one.user_id, key(one.order_id)) for one in orders for key in (_order, _order_cancelled)]
        known = await self._repository.entries(connection, keys)
        gains = []
        for order in confirmed:
            gains.append(_confirmed_gain(order, cancelled=(order.user_id, _order_cancelled(order.order_id)) in known))
            known.setdefault((order.user_id, _order(order.order_id)), gains[-1].xp)
        gains += [_cancelled_gain(order, known.get((order.user_id, _order(order.order_id)))) for order in cancelled]
        await self.post(connection, players, gains)

    async def add_achievements(self, connection: Connection, unlocked: Sequence[AchievementUnlocked]) -> None:
        await self.create(connection, {one.player_id: None for one in unlocked})
        players = await self.lock(connection, {one.player_id for one in unlocked})
        gains = [
            Gain(one.player_id, f"achievement:{one.code}", achievement_xp(one.xp), one.occurred_at) for one in unlocked
        ]
        await self.post(connection, players, gains)

    async def post(
        self,
        connection: Connection,
        players: Mapping[UUID, Player],
        gains: Sequence[Gain],
        traces: Mapping[UUID, str] | None = None,
    ) -> dict[UUID, Player]:
        """Add to the ledgers of locked players what is new, with all that follows; return the players after it.

        Gains of others, who do not exist, are dropped. ``traces`` are those of the events by player, where it is not
        the present one.
        """
        after = dict(players)
        possible = list({(gain.player_id, gain.cause): gain for gain in gains if gain.player_id in players}.values())
        if not possible:
            return after
        new = await self._repository.add_entries(connection, possible)
        added = [gain for gain in possible if (gain.player_id, gain.cause) in new]
        after |= await self._with_streaks(connection, after, added)
        now = self._clock.now()
        events: list[PlayerGained | PlayerLevelReached] = []
        rewards: list[Reward] = []
        for gain in added:
            before = after[gain.player_id]
            player = after[gain.player_id] = before.gained(gain.xp, gain.orders)
            events.append(_gained_event(gain, player, now))
            reached = range(before.level_reached + 1, player.level_reached + 1)
            rewards += [_reward(player.id, level, gain.cause, now) for level in reached if level in REWARDS]
            events += [_level_event(player, level, now) for level in reached]
            ENTRIES.labels(gain.cause.partition(":")[0]).inc()
        await self._repository.save(connection, [after[player_id] for player_id in {one.player_id for one in added}])
        traced = traces or {}
        published = await self._with_rewards(connection, events, rewards)
        await outbox.insert(connection, [outbox.row(one, traced.get(one.player_id)) for one in published])
        return after

    async def _with_streaks(
        self, connection: Connection, players: Mapping[UUID, Player], added: Sequence[Gain]
    ) -> dict[UUID, Player]:
        """The players whose streaks the added gains change, with their new streaks."""
        active = {(gain.player_id, self.day(players[gain.player_id], gain.at)) for gain in added if gain.active}
        changed = await self._repository.add_days(connection, active) if active else set()
        streaks = await self._repository.streaks(connection, changed) if changed else {}
        return {
            player_id: replace(players[player_id], streak_days=one.days, streak_on=one.on, best_streak=one.best)
            for player_id, one in streaks.items()
        }

    async def _with_rewards(
        self,
        connection: Connection,
        events: Sequence[PlayerGained | PlayerLevelReached],
        rewards: Sequence[Reward],
    ) -> list[PlayerGained | PlayerLevelReached]:
        """Store the rewards, and name those that are new in the events of their levels."""
        new = await self._repository.add_rewards(connection, rewards) if rewards else set()
        given = {(one.player_id, one.level): one for one in rewards if (one.player_id, one.level) in new}
        return [
            _with_coupon(event, given.get((event.player_id, event.level)))
            if isinstance(event, PlayerLevelReached)
            else event
            for event in events
        ]


def changed_event(player: Player, now: datetime) -> PlayerChanged:
    return PlayerChanged(
        player_id=player.id,
        occurred_at=now,
        name=player.name,
        private=player.private,
        mail_to=player.mail_to,
        version=player.version,
    )


def _order(order_id: UUID) -> str:
    return f"order:{order_id}"


def _order_cancelled(order_id: UUID) -> str:
    return f"order_cancelled:{order_id}"


def _confirmed_gain(order: OrderConfirmed, *, cancelled: bool) -> Gain:
    """Without points if the cancellation came first; the day counts all the same."""
    xp = 0 if cancelled else order_xp(int(major_units(order.total.amount, order.total.currency)))
    orders = 0 if cancelled else 1
    return Gain(order.user_id, _order(order.order_id), xp, order.occurred_at, active=True, orders=orders)


def _cancelled_gain(order: OrderCancelled, given: int | None) -> Gain:
    """``given`` is what the order gave, None if its confirmation did not come yet."""
    orders = 0 if given is None else -1
    return Gain(order.user_id, _order_cancelled(order.order_id), -(given or 0), order.occurred_at, orders=orders)


def _gained_event(gain: Gain, player: Player, now: datetime) -> PlayerGained:
    return PlayerGained(
        player_id=player.id,
        occurred_at=now,
        cause=gain.cause,
        xp=gain.xp,
        total_xp=player.xp,
        level=player.level,
        streak_days=player.streak_days,
        version=player.ledger_version,
    )


def _level_event(player: Player, level: int, now: datetime) -> PlayerLevelReached:
    return PlayerLevelReached(
        player_id=player.id, occurred_at=now, level=level, name=player.name, mail_to=player.mail_to
    )


def _reward(player_id: UUID, level: int, cause: str, now: datetime) -> Reward:
    tail = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_CHARACTERS))
    return Reward(player_id, level, cause, f"LEVEL{level}-{tail}", REWARDS[level], now + REWARD_LIFETIME)


def _with_coupon(event: PlayerLevelReached, reward: Reward | None) -> PlayerLevelReached:
    if reward is None:
        return event
    coupon = {"coupon": reward.code, "percent": reward.percent, "expires_at": reward.expires_at}
    return event.model_copy(update=coupon)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> tzinfo:
    return find_zone(name)
