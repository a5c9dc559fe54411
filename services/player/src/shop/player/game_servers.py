"""Game servers: programs that post scores to external boards and unlock external achievements."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

import orjson

from shop.contracts.achievement import Achievement
from shop.contracts.events import PlayerScored
from shop.contracts.leaderboard import BoardSource
from shop.kit import outbox
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.errors import OutcomeUnknown
from shop.kit.idempotency import key_reused
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.kit.tasks import poll
from shop.player import errors
from shop.player.arcade import Arcade, Effects
from shop.player.repository import PlayerRepository
from shop.player.round_repository import PostedScore, RoundRepository
from shop.player.server_repository import GameServer, ServerRepository
from shop.player.writes import Writes

log = logging.getLogger(__name__)

MAX_GAME_SERVERS = 100
TOKEN_BYTES = 32
POSTED_SCORES_KEPT = timedelta(days=7)
"""How long a score's Idempotency-Key is remembered."""
FORGET_EVERY_S = 600.0


class Poster(NamedTuple):
    """Who posts: a game server, or an administrator, who may post scores of any ``sources``."""

    id: UUID
    sources: Sequence[str] | None


class Posted(NamedTuple):
    score: PostedScore
    effects: Effects


class GameServers:
    def __init__(
        self,
        writes: Writes,
        servers: ServerRepository,
        rounds: RoundRepository,
        players: PlayerRepository,
        arcade: Arcade,
        clock: Clock,
    ) -> None:
        self._writes = writes
        self._servers = servers
        self._rounds = rounds
        self._players = players
        self._arcade = arcade
        self._clock = clock

    async def add(self, name: str, sources: Sequence[str], admin: Principal) -> tuple[GameServer, str]:
        """A new game server and its token, which is not stored; Problem 409 ``name_taken``."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        server = GameServer(new_id(), name, sources, self._clock.now())
        added = await self._servers.add(server, _digest(token), MAX_GAME_SERVERS)
        if added == "taken":
            raise errors.name_taken(name)
        if added == "full":
            raise errors.too_many_game_servers(MAX_GAME_SERVERS)
        decision(log, "game_server_added", "game server %s was added", server.id, admin_id=admin.user_id)
        return server, token

    async def all(self) -> list[GameServer]:
        return await self._servers.all(MAX_GAME_SERVERS)

    async def remove(self, server_id: UUID, admin: Principal) -> None:
        """Its token is not accepted any more; Problem 404 ``unknown_game_server``."""
        if not await self._servers.remove(server_id):
            raise errors.unknown_game_server()
        decision(log, "game_server_removed", "game server %s was removed", server_id, admin_id=admin.user_id)

    async def of_token(self, token: str) -> Poster:
        """Problem 401 ``game_server_token_invalid``."""
        server = await self._servers.of_token(_digest(token))
        if server is None:
            raise errors.game_server_token_invalid()
        return Poster(server.id, server.sources)

    async def post_score(self, poster: Poster, key: str, player_id: UUID, board: str, score: int) -> Posted:
        """Store and publish a score, once per poster and Idempotency-Key.

        Problem ``unknown_board``, ``board_not_external``, ``source_not_allowed``, ``unknown_player``,
        ``idempotency_key_reused``.
        """
        source = (await self._external_board(poster, board)).source
        digest = sha256(orjson.dumps([str(player_id), board, score])).digest()
        posted = PostedScore(
            poster_id=poster.id,
            key=key,
            request_digest=digest,
            id=new_id(),
            player_id=player_id,
            board=board,
            source=source,
            score=score,
            event_id=new_id(),
            created_at=self._clock.now(),
        )
        stored = await self._rounds.posted(poster.id, key) or await self._stored(posted)
        if stored.request_digest != digest:
            raise key_reused()
        return Posted(stored, await self._arcade.standings(stored.event_id, _scored(stored)))

    async def _external_board(self, poster: Poster, name: str) -> BoardSource:
        board = await self._arcade.board(name)
        if board is None:
            raise errors.unknown_board(name)
        if not board.external:
            raise errors.board_not_external(name)
        if poster.sources is not None and board.source not in poster.sources:
            raise errors.source_not_allowed(board.source)
        return board

    async def _stored(self, posted: PostedScore) -> PostedScore:
        """The score of this poster and key: this one, or one that another request stored first."""
        async with self._writes.of(posted.player_id) as (connection, _):
            if await self._rounds.add_posted(connection, posted):
                await outbox.insert(connection, [outbox.row(_scored(posted), event_id=posted.event_id)])
                return posted
        first = await self._rounds.posted(posted.poster_id, posted.key)
        if first is None:
            raise key_reused()
        return first

    async def unlock(self, player_id: UUID, code: str) -> Achievement:
        """Problem ``unknown_player``, ``unknown_achievement``, ``achievement_not_external``."""
        if await self._players.one(player_id) is None:
            raise errors.unknown_player()
        result = await self._arcade.unlock(player_id, code, self._clock.now())
        if result.problem == "unknown_achievement":
            raise errors.unknown_achievement(code)
        if result.problem == "not_external":
            raise errors.achievement_not_external(code)
        if result.achievement is None:
            raise OutcomeUnknown("achievement", f"achievement did not unlock {code}: {result.problem}")
        return result.achievement

    async def run(self) -> None:
        """Forget old Idempotency-Keys, until cancelled."""

        async def step() -> int:
            return await self._rounds.forget_posted(self._clock.now(), POSTED_SCORES_KEPT)

        await poll(step, FORGET_EVERY_S)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _scored(posted: PostedScore) -> PlayerScored:
    return PlayerScored(
        player_id=posted.player_id,
        occurred_at=posted.created_at,
        result_id=posted.id,
        source=posted.source,
        score=posted.score,
    )
