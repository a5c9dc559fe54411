"""Transactions that change one player."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
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
        """A transaction with the locked player; Problem 404 ``unknown_player``.

        After an error the profile's mark stays until it expires: whether a lost connection's transaction was committed
        is not known.
        """
        async with self._database.transaction() as connection:
            player = (await self._players.lock(connection, [player_id])).get(player_id)
            if player is None:
                raise errors.unknown_player()
            mark = await self._cache.mark([player_id])
            yield connection, player
        await self._cache.unmark([player_id], mark)
        self._relay.wake()
