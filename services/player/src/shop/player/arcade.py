"""The two other services of the arcade, as player calls them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel

from shop.contracts.achievement import (
    EVALUATE,
    OF_PLAYER,
    UNLOCK,
    Achievement,
    AchievementsQuery,
    EvaluateScore,
    UnlockRequest,
    UnlockResult,
)
from shop.contracts.calls import Message, PostCall, ReadCall
from shop.contracts.events import PlayerScored
from shop.contracts.leaderboard import BOARDS, RECORD, BoardSource, BoardsQuery, RecordScore, Standing
from shop.kit import telemetry
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.http import Response, ServiceClient

log = logging.getLogger(__name__)

BOARDS_FRESH_S = 10.0
BOARDS_RETRY_S = 1.0
"""How long a board that was not found is not looked for again."""


class Effects(NamedTuple):
    """What a score did at once. Empty parts follow by the event: the other service is away or slow."""

    standings: Sequence[Standing]
    unlocked: Sequence[Achievement]

    @property
    def rank(self) -> int | None:
        """On the main board of the score's source."""
        return self.standings[0].rank if self.standings else None


class Arcade:
    """``timeout_s`` limits each call."""

    def __init__(self, leaderboard: ServiceClient, achievement: ServiceClient, timeout_s: float) -> None:
        self._leaderboard = leaderboard
        self._achievement = achievement
        self._timeout_s = timeout_s
        self._boards: Mapping[str, BoardSource] = {}
        self._boards_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def effects(self, event_id: UUID, event: PlayerScored) -> Effects:
        """Tell both services of the score whose event has this id; both calls are idempotent by it."""
        standings, unlocked = await asyncio.gather(
            _or_nothing(self._record(event_id, event)), _or_nothing(self._evaluate(event_id, event))
        )
        return Effects(standings, unlocked)

    async def standings(self, event_id: UUID, event: PlayerScored) -> Effects:
        """The same, of leaderboard alone."""
        return Effects(await _or_nothing(self._record(event_id, event)), ())

    async def _record(self, event_id: UUID, event: PlayerScored) -> Sequence[Standing]:
        request = RecordScore(event_id=event_id, traceparent=telemetry.traceparent(), event=event)
        return (await self._post(self._leaderboard, RECORD, request)).standings

    async def _evaluate(self, event_id: UUID, event: PlayerScored) -> Sequence[Achievement]:
        request = EvaluateScore(event_id=event_id, traceparent=telemetry.traceparent(), event=event)
        return (await self._post(self._achievement, EVALUATE, request)).unlocked

    async def unlock(self, player_id: UUID, code: str, now: datetime) -> UnlockResult:
        """Unavailable("achievement") when it cannot be asked."""
        return await self._post(
            self._achievement, UNLOCK, UnlockRequest(player_id=player_id, code=code, occurred_at=now)
        )

    async def achievements(self, player_id: UUID) -> Sequence[Achievement]:
        """Unavailable("achievement") when it cannot be asked."""
        return (await self._get(self._achievement, OF_PLAYER, AchievementsQuery(player_id=player_id))).items

    async def board(self, name: str) -> BoardSource | None:
        """The board, as it was at most BOARDS_FRESH_S ago; Unavailable("leaderboard") when none are known."""
        age_s = time.monotonic() - self._boards_at
        if age_s > BOARDS_FRESH_S or (name not in self._boards and age_s > BOARDS_RETRY_S):
            await self._read_boards()
        return self._boards.get(name)

    async def main_board(self, source: str) -> str | None:
        """The first board of the source; None when leaderboard is away and none was known."""
        try:
            if time.monotonic() - self._boards_at > BOARDS_FRESH_S:
                await self._read_boards()
        except Unavailable as error:
            log.warning("boards are not known: %s", error, extra={"event": "boards_unknown"})
        return next((one.board for one in self._boards.values() if one.source == source), None)

    async def _read_boards(self) -> None:
        """One call for all who ask meanwhile, which goes on when the one who began it does not wait any more."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._call_for_boards())
            self._reading.add_done_callback(self._boards_read)
        await asyncio.shield(self._reading)

    def _boards_read(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the requests that waited for it may be gone

    async def _call_for_boards(self) -> None:
        boards = (await self._get(self._leaderboard, BOARDS, BoardsQuery())).boards
        self._boards = {one.board: one for one in boards}
        self._boards_at = time.monotonic()

    async def _post[Request: Message, Result: BaseModel](
        self, client: ServiceClient, call: PostCall[Request, Result], request: Request
    ) -> Result:
        body = request.model_dump(mode="json")
        return await _result(client, call, client.post(call.path, json=body, internal=True, timeout_s=self._timeout_s))

    async def _get[Query: Message, Result: BaseModel](
        self, client: ServiceClient, call: ReadCall[Query, Result], query: Query
    ) -> Result:
        params = query.model_dump(mode="json")
        return await _result(
            client, call, client.get(call.path, params=params, internal=True, timeout_s=self._timeout_s)
        )


async def _result[Result: BaseModel](
    client: ServiceClient, call: PostCall[Any, Result] | ReadCall[Any, Result], sent: Awaitable[Response]
) -> Result:
    """The answer, read; anything else is Unavailable: the caller of player can do nothing about it."""
    try:
        answer = await sent
        return call.result.validate_json(answer.content)
    except Problem as problem:
        raise Unavailable(client.name, f"{call.name}: {problem}") from problem
    except ValueError as error:
        raise OutcomeUnknown(client.name, f"{call.name}: not an answer of this call: {error}") from error


async def _or_nothing[Item](sent: Awaitable[Sequence[Item]]) -> Sequence[Item]:
    try:
        return await sent
    except Unavailable as error:
        log.warning("a score takes effect by its event alone: %s", error, extra={"event": "score_not_announced"})
        return ()
