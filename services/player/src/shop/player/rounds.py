"""Game sessions and their results: the server replays the moves and computes the score itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from shop.contracts.events import PlayerScored
from shop.games import GAMES, Game, Impossible, Outcome
from shop.kit import outbox
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.errors import Problem
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.player import errors
from shop.player.arcade import Arcade, Effects
from shop.player.domain import Gain, Player, Reward, level_of, result_xp
from shop.player.ledger import Ledger
from shop.player.metrics import RESULTS
from shop.player.repository import PlayerRepository
from shop.player.round_repository import Result, RoundRepository
from shop.player.sessions import Session, SessionTokens, new_session
from shop.player.writes import Writes

log = logging.getLogger(__name__)

TICKS_PER_S = 60
MS_PER_S = 1_000
CLOCK_TOLERANCE = timedelta(seconds=2)
"""How much faster than the server's clock a round may have been."""
MAX_RESULTS_PER_PERIOD = 30
RESULT_PERIOD = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finished:
    """A round's result, what it did elsewhere, and the coupon that its experience points earned."""

    result: Result
    effects: Effects
    reward: Reward | None


class Rounds:
    """``writes`` opens the transactions, ``players`` reads rewards."""

    def __init__(
        self,
        writes: Writes,
        repository: RoundRepository,
        players: PlayerRepository,
        ledger: Ledger,
        arcade: Arcade,
        tokens: SessionTokens,
        clock: Clock,
    ) -> None:
        self._writes = writes
        self._repository = repository
        self._players = players
        self._ledger = ledger
        self._arcade = arcade
        self._tokens = tokens
        self._clock = clock

    def open(self, game: str, player_id: UUID) -> tuple[Session, str]:
        """A new session and its token; Problem 404 ``unknown_game``."""
        _game(game)
        session = new_session(player_id, game, self._clock.now())
        return session, self._tokens.write(session)

    async def finish(self, game: str, session_id: UUID, player_id: UUID, token: str, moves: Sequence[int]) -> Finished:
        """The result of these moves, stored once; the same moves again have the same answer.

        Problem ``session_invalid``, ``session_foreign``, ``session_expired``, ``session_used``, ``moves_impossible``,
        ``too_frequent``.
        """
        session = self._session(token, game, session_id, player_id)
        stored = await self._repository.result(session.id)
        outcome = "repeated"
        if stored is None:
            stored, outcome = await self._play(session, list(moves))
        if stored.moves != list(moves):
            raise _refused(game, errors.session_used())
        RESULTS.labels(game, outcome).inc()
        effects = await self._arcade.effects(stored.event_id, _scored(stored))
        return Finished(stored, effects, await self._players.reward_of(player_id, _cause(session.id)))

    def _session(self, token: str, game: str, session_id: UUID, player_id: UUID) -> Session:
        _game(game)
        try:
            session = self._tokens.read(token)
        except ValueError:
            raise _refused(game, errors.session_invalid()) from None
        if session.player_id != player_id:
            raise _refused(game, errors.session_foreign())
        if (session.id, session.game) != (session_id, game):
            raise _refused(game, errors.session_invalid())
        return session

    async def _play(self, session: Session, moves: list[int]) -> tuple[Result, str]:
        """Replay the moves and store the result; the stored one if another request was first."""
        now = self._clock.now()
        if now >= session.expires_at:
            raise _refused(session.game, errors.session_expired())
        outcome = _replayed(session, moves, now)
        async with self._writes.of(session.player_id) as (connection, player):
            day = self._ledger.day(player, now)
            earned = await self._repository.xp_of_day(connection, player.id, day)
            result = _result(session, player, moves, outcome, now, day, result_xp(outcome.score, earned))
            if await self._repository.add_result(connection, result):
                await self._check_rate(connection, result)
                await outbox.insert(connection, [outbox.row(_scored(result), event_id=result.event_id)])
                await self._credit(connection, player, result)
                return result, "scored"
        stored = await self._repository.result(session.id)
        if stored is None:
            raise errors.unknown_player()
        return stored, "repeated"

    async def _check_rate(self, connection: Connection, result: Result) -> None:
        """After the result was added: it counts, too."""
        since = result.created_at - RESULT_PERIOD
        if await self._repository.recent(connection, result.player_id, since) > MAX_RESULTS_PER_PERIOD:
            limits = MAX_RESULTS_PER_PERIOD, int(RESULT_PERIOD.total_seconds())
            raise _refused(result.game, errors.too_frequent(*limits))

    async def _credit(self, connection: Connection, player: Player, result: Result) -> None:
        gain = Gain(player.id, _cause(result.id), result.xp, result.created_at, active=True)
        await self._ledger.post(connection, {player.id: player}, [gain])
        message = "player %s scored %s in %s"
        decision(log, "round_scored", message, player.id, result.score, result.game, result_id=result.id)


def _game(name: str) -> Game:
    if name not in GAMES:
        raise errors.unknown_game(name)
    return GAMES[name]


def _replayed(session: Session, moves: list[int], now: datetime) -> Outcome:
    """What the moves score, if they are possible by the rules and by the time that has passed."""
    outcome = GAMES[session.game].replay(session.seed, moves)
    if isinstance(outcome, Impossible):
        raise _refused(session.game, errors.moves_impossible(outcome.reason))
    if now - session.issued_at < timedelta(seconds=outcome.ticks / TICKS_PER_S) - CLOCK_TOLERANCE:
        raise _refused(session.game, errors.moves_impossible("The round takes longer than its session has been open."))
    return outcome


def _result(
    session: Session, player: Player, moves: list[int], outcome: Outcome, now: datetime, day: date, xp: int
) -> Result:
    return Result(
        id=session.id,
        player_id=player.id,
        game=session.game,
        moves=moves,
        score=outcome.score,
        ticks=outcome.ticks,
        statistics=dict(outcome.statistics),
        xp=xp,
        level=level_of(player.xp + xp),
        day=day,
        event_id=new_id(),
        created_at=now,
    )


def _scored(result: Result) -> PlayerScored:
    """The event that the result was stored with."""
    return PlayerScored(
        player_id=result.player_id,
        occurred_at=result.created_at,
        result_id=result.id,
        source=GAMES[result.game].source,
        score=result.score,
        duration_ms=result.ticks * MS_PER_S // TICKS_PER_S,
        statistics=dict(result.statistics),
    )


def _cause(session_id: UUID) -> str:
    return f"result:{session_id}"


def _refused(game: str, problem: Problem) -> Problem:
    """Count the refusal."""
    RESULTS.labels(game, problem.code).inc()
    return problem
