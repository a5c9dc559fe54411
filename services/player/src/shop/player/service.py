"""Players: their profiles, friends and ledgers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from shop.contracts.achievement import Achievement
from shop.kit import outbox
from shop.kit.app import Context
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database, Record
from shop.kit.logging import decision
from shop.kit.valkey import open_valkey
from shop.player import errors
from shop.player.arcade import Arcade
from shop.player.cache import CONNECTIONS, TIMEOUT_S, ProfileCache
from shop.player.domain import Player, Reward, local_day
from shop.player.game_servers import GameServers
from shop.player.ledger import Ledger, changed_event
from shop.player.profiles import Profile, zones_of
from shop.player.repository import PlayerRepository
from shop.player.round_repository import RoundRepository
from shop.player.rounds import Rounds
from shop.player.server_repository import ServerRepository
from shop.player.sessions import SessionTokens
from shop.player.settings import Settings
from shop.player.writes import Writes

log = logging.getLogger(__name__)

MAX_FRIENDS = 200


class PlayerService:
    """``ledger`` has the use cases of events, ``rounds`` those of game sessions, ``servers`` those of game servers."""

    def __init__(
        self,
        database: Database,
        repository: PlayerRepository,
        cache: ProfileCache,
        arcade: Arcade,
        ledger: Ledger,
        writes: Writes,
        rounds: Rounds,
        servers: GameServers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._repository = repository
        self._cache = cache
        self._writes = writes
        self._clock = clock
        self.arcade = arcade
        self.ledger = ledger
        self.rounds = rounds
        self.servers = servers

    @classmethod
    def build(cls, context: Context) -> PlayerService:
        """Also starts the loops: marks that wait for Valkey, and old Idempotency-Keys."""
        settings = cast(Settings, context.settings)
        clock, database = context.clock, context.database
        repository, results = PlayerRepository(database), RoundRepository(database)
        cache = ProfileCache(open_valkey(settings.valkey_url, connections=CONNECTIONS, timeout_s=TIMEOUT_S))
        arcade = Arcade(
            context.clients.get("leaderboard", settings.leaderboard_url),
            context.clients.get("achievement", settings.achievement_url),
            settings.call_timeout_s,
        )
        ledger = Ledger(repository, cache, clock, settings.store.time_zone or "UTC")
        writes = Writes(database, context.outbox, repository, cache)
        tokens = SessionTokens(settings.internal_token)
        rounds = Rounds(writes, results, repository, ledger, arcade, tokens, clock)
        servers = GameServers(writes, ServerRepository(database), results, repository, arcade, clock)
        context.tasks.start("profile-marks", cache.run)
        context.tasks.start("posted-scores", servers.run)
        return cls(database, repository, cache, arcade, ledger, writes, rounds, servers, clock)

    async def close(self) -> None:
        await self.rounds.close()
        await self.arcade.close()
        await self._cache.close()

    async def own(self, person: Principal) -> Player:
        """The caller as a player, who is created by the first request; Problem 404 for a deleted user."""
        found = await self._repository.one(person.user_id)
        if found is None or found.email is None:
            async with self._database.transaction() as connection:
                await self.ledger.create(connection, {person.user_id: person.email})
            found = await self._repository.one(person.user_id)
        if found is None:
            raise errors.unknown_player()
        return found

    async def profile(self, player_id: UUID) -> Profile:
        """Problem 404 ``unknown_player``."""
        document = await self._cache.read(player_id, self._repository.profile)
        if document is None:
            raise errors.unknown_player()
        return self._profile(document)

    async def own_profile(self, person: Principal) -> tuple[Profile, Player, Sequence[Reward]]:
        """Read from the database, because it has more than others see."""
        player = await self.own(person)
        document = await self._repository.profile(person.user_id)
        if document is None:
            raise errors.unknown_player()
        return self._profile(document), player, await self._repository.rewards(player.id)

    def _profile(self, document: Mapping[str, Any]) -> Profile:
        now = self._clock.now()
        return Profile.of(document, local_day(now, self.ledger.zone(zones_of(document).at(now))))

    async def change(self, person: Principal, fields: Mapping[str, Any]) -> None:
        """Set these of name, private, mails and time_zone; what stays as it was is no new version."""
        await self.own(person)
        async with self._writes.of(person.user_id) as (connection, player):
            wanted = replace(player, **fields)
            if wanted == player:
                return
            if wanted.time_zone != player.time_zone:
                wanted = replace(self.ledger.with_zone(player, wanted.time_zone), **fields)
            changed = await self._repository.change(connection, wanted)
            await outbox.publish(connection, changed_event(changed, self._clock.now()))
        decision(log, "player_changed", "player %s changed %s", person.user_id, ", ".join(sorted(fields)))

    async def ledger_page(self, person: Principal, cause: str | None, before: int | None, limit: int) -> list[Record]:
        await self.own(person)
        return await self._repository.page(person.user_id, cause, before, limit)

    async def achievements(self, player_id: UUID, person: Principal | None) -> Sequence[Achievement]:
        """Problem 404 ``private_player`` for others than the player."""
        own = person is not None and person.user_id == player_id
        profile = await self.profile(player_id)
        if profile.private and not own:
            raise errors.private_player()
        return await self.arcade.achievements(player_id)

    async def friends(self, person: Principal) -> list[Profile]:
        await self.own(person)
        return [self._profile(document) for document in await self._repository.friends(person.user_id)]

    async def add_friend(self, person: Principal, friend_id: UUID) -> None:
        """Problem 404 ``unknown_player``, 409 ``friends_full``, 422 ``own_friend``."""
        if friend_id == person.user_id:
            raise errors.own_friend()
        await self.own(person)
        async with self._writes.of(person.user_id) as (connection, player):
            if not await self._repository.exists(connection, friend_id):
                raise errors.unknown_player()
            if not await self._repository.add_friend(connection, player.id, friend_id, self._clock.now(), MAX_FRIENDS):
                raise errors.friends_full(MAX_FRIENDS)

    async def remove_friend(self, person: Principal, friend_id: UUID) -> None:
        await self._repository.remove_friend(person.user_id, friend_id)

    async def delete(self, connection: Connection, player_ids: Sequence[UUID]) -> None:
        """Remove the players and everything of them, in a transaction in which nobody stores more of them."""
        players = await self._repository.lock(connection, player_ids)
        await self._cache.mark(players.keys())
        await self._repository.delete(connection, player_ids)

    async def forget_profiles(self, player_ids: Collection[UUID]) -> None:
        """After the commit of events: profiles that were cached since, because Valkey lost the marks, are old."""
        await self._cache.forget(player_ids)
