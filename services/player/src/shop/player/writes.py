"""Transactions that change players."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from uuid import UUID

from shop.kit.db import Connection, Database
from shop.kit.outbox import Outbox
from shop.player import errors
from shop.player.cache import ProfileCache
from shop.player.domain import Player
from shop.player.repository import PlayerRepository


class Writes:
    def __init__(self, database: Database, relay: Outbox, players: PlayerRepository, cache: ProfileCache) -> None:
        self._database = database
        self._relay = relay
        self._players = players
        self._cache = cache

    @contextlib.asynccontextmanager
    async def of(self, player_id: UUID) -> AsyncIterator[tuple[Connection, Player]]:
        """A transaction with the locked player; Problem 404 ``unknown_player``."""
        async with self.of_all([player_id]) as (connection, players):
            if player_id not in players:
                raise errors.unknown_player()
            yield connection, players[player_id]

    @contextlib.asynccontextmanager
    async def of_all(self, player_ids: Collection[UUID]) -> AsyncIterator[tuple[Connection, dict[UUID, Player]]]:
        """A transaction with those of the players who exist, locked.

        After an error the profiles' mark stays until it expires: whether a lost connection's transaction was committed
        is not known.
        """
        async with self._database.transaction() as connection:
            players = await self._players.lock(connection, player_ids)
            mark = await self._cache.mark(players.keys())
            yield connection, players
        await self._cache.unmark(players.keys(), mark)
        self._relay.wake()
