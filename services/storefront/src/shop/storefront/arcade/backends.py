"""Clients of player, leaderboard and achievement: one method per request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from shop.contracts.achievement import Achievement
from shop.kit.errors import Problem
from shop.kit.http import ServiceClient
from shop.storefront.arcade.schemas import (
    Board,
    GameSession,
    LedgerEntry,
    OwnPlace,
    OwnPlayer,
    Player,
    PlayerName,
    Ranking,
    RoundResult,
    Season,
)
from shop.storefront.schemas import Page

READ_TIMEOUT_S = 2.0
"""Of what a page is about, so that it cannot do without."""
RESULT_TIMEOUT_S = 5.0
"""The player service itself waits a second for ranks and achievements."""
LEDGER_LIMIT = 30
MAX_SELECTED_PLAYERS = 100
"""Whom one request can ask for."""


class Players:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def own(self, token: str) -> OwnPlayer:
        return OwnPlayer.model_validate(await self._read("/api/v1/players/me", token))

    async def one(self, player_id: UUID, token: str | None) -> Player:
        """Problem 404 for an unknown player."""
        return Player.model_validate(await self._read(f"/api/v1/players/{player_id}", token))

    async def change(self, token: str, changes: Mapping[str, Any]) -> None:
        await self._client.patch("/api/v1/players/me", json=changes, token=token)

    async def ledger(self, token: str, cursor: str = "") -> Page[LedgerEntry]:
        params = {"limit": LEDGER_LIMIT, **({"cursor": cursor} if cursor else {})}
        found = await self._read("/api/v1/players/me/ledger", token, params)
        return Page[LedgerEntry].model_validate(found)

    async def gained(self, token: str, cause: str) -> LedgerEntry | None:
        """The entry of one cause; None as long as there is none."""
        found = await self._read("/api/v1/players/me/ledger", token, {"cause": cause})
        entries = Page[LedgerEntry].model_validate(found).items
        return next((entry for entry in entries if entry.cause == cause), None)

    async def friends(self, token: str) -> Sequence[PlayerName]:
        return Page[PlayerName].model_validate(await self._read("/api/v1/players/me/friends", token)).items

    async def befriend(self, token: str, player_id: UUID) -> None:
        await self._client.put(f"/api/v1/players/me/friends/{player_id}", token=token)

    async def unfriend(self, token: str, player_id: UUID) -> None:
        await self._client.delete(f"/api/v1/players/me/friends/{player_id}", token=token)

    async def achievements(self, player_id: UUID, token: str | None) -> Sequence[Achievement]:
        """Another player's; Problem 404 for a private one."""
        found = await self._read(f"/api/v1/players/{player_id}/achievements", token)
        return Page[Achievement].model_validate(found).items

    async def _read(self, path: str, token: str | None, params: Mapping[str, Any] | None = None) -> Any:
        return (await self._client.get(path, token=token, params=params, timeout_s=READ_TIMEOUT_S)).json


class Games:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def open_session(self, token: str, game: str) -> GameSession:
        return GameSession.model_validate((await self._client.post(f"/api/v1/games/{game}/sessions", token=token)).json)

    async def post_result(
        self, token: str, game: str, session_id: UUID, session_token: str, moves: Sequence[int]
    ) -> RoundResult:
        """The same answer however often it is posted; a refusal is a Problem."""
        path = f"/api/v1/games/{game}/sessions/{session_id}/result"
        body = {"token": session_token, "moves": moves}
        answer = await self._client.post(path, json=body, token=token, timeout_s=RESULT_TIMEOUT_S)
        return RoundResult.model_validate(answer.json)


class Boards:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def all(self) -> Sequence[Board]:
        return Page[Board].model_validate(await self._read("/api/v1/leaderboards", {})).items

    async def ranking(
        self, board: str, *, top: int, cursor: str = "", season: str = "", players: Iterable[UUID] = ()
    ) -> Ranking:
        """With ``players`` these alone, by their ranks on the whole board. Problem 404 for no such board or season."""
        chosen = ",".join(str(player) for player in players)
        given = {"top": top, "cursor": cursor, "season": season, "players": chosen}
        params = {name: value for name, value in given.items() if value}
        return Ranking.model_validate(await self._read(f"/api/v1/leaderboards/{board}", params))

    async def place(self, board: str, player_id: UUID, neighbours: int) -> OwnPlace | None:
        """None for a player who is not on the board."""
        path = f"/api/v1/leaderboards/{board}/players/{player_id}"
        try:
            return OwnPlace.model_validate(await self._read(path, {"neighbours": neighbours}))
        except Problem as problem:
            if problem.code != "not_on_board":
                raise
            return None

    async def seasons(self, board: str) -> Sequence[Season]:
        """The newest first."""
        return Page[Season].model_validate(await self._read(f"/api/v1/leaderboards/{board}/seasons", {})).items

    async def _read(self, path: str, params: Mapping[str, Any]) -> Any:
        return (await self._client.get(path, params=params, timeout_s=READ_TIMEOUT_S)).json


class AchievementList:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def own(self, token: str) -> Sequence[Achievement]:
        return await self._read("/api/v1/achievements/me", token)

    async def all(self) -> Sequence[Achievement]:
        """What can be unlocked, without hidden ones."""
        return await self._read("/api/v1/achievements", None)

    async def _read(self, path: str, token: str | None) -> Sequence[Achievement]:
        answer = await self._client.get(path, token=token, timeout_s=READ_TIMEOUT_S)
        return Page[Achievement].model_validate(answer.json).items
