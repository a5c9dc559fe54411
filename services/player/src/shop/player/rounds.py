"""Game sessions and their results: the server replays the moves and computes the score itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from shop.contracts.events import PlayerScored
from shop.games import GAMES, Game, Impossible, Outcome
from shop.kit import outbox, telemetry
from shop.kit.batch import Batcher, one_by_one_on_error
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.errors import Problem
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.player import errors
from shop.player.arcade import Arcade, Effects
from shop.player.domain import REWARDS, Gain, Player, Reward, level_of, result_xp
from shop.player.ledger import Ledger
from shop.player.metrics import RESULTS
from shop.player.repository import PlayerRepository
from shop.player.round_repository import Before, Result, RoundRepository
from shop.player.sessions import Session, SessionTokens, new_session
from shop.player.writes import Writes

log = logging.getLogger(__name__)

TICKS_PER_S = 60
MS_PER_S = 1_000
CLOCK_TOLERANCE = timedelta(seconds=2)
"""How much faster than the server's clock a round may have been."""
MAX_RESULTS_PER_PERIOD = 30
RESULT_PERIOD = timedelta(seconds=60)
MAX_STORED_AT_ONCE = 64
"""Rounds in one transaction."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A round's result, what it did elsewhere, and the coupon that its experience points earned."""

    result: Result
    effects: Effects
    reward: Reward | None


class Played(NamedTuple):
    """A round that is possible, to be stored in the trace of its request."""

    session: Session
    moves: list[int]
    outcome: Outcome
    traceparent: str


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
        self._storing = Batcher(one_by_one_on_error(self._store), max_items=MAX_STORED_AT_ONCE)

    async def close(self) -> None:
        await self._storing.close()

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
        rewarded = stored.level >= min(REWARDS)
        reward = await self._players.reward_of(player_id, _cause(session.id)) if rewarded else None
        return Finished(stored, effects, reward)

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
        played = Played(session, moves, _replayed(session, moves, now), telemetry.traceparent())
        result = await self._storing.submit(played)
        if result is not None:
            message = "player %s scored %s in %s"
            decision(log, "round_scored", message, result.player_id, result.score, result.game, result_id=result.id)
            return result, "scored"
        stored = await self._repository.result(session.id)
        if stored is None:
            raise errors.unknown_player()
        return stored, "repeated"

    async def _store(self, batch: Sequence[Played]) -> list[Result | Problem | None]:
        """In one transaction, of each player one round after the other. The results, None where there was one."""
        found: list[Result | Problem | None] = [None] * len(batch)
        async with self._writes.of_all({one.session.player_id for one in batch}) as (connection, players):
            left = list(enumerate(batch))
            while left:
                turn, left = _one_per_player(left)
                stored = await self._store_turn(connection, players, [played for _, played in turn])
                for (index, _), result in zip(turn, stored, strict=True):
                    found[index] = result
        return found

    async def _store_turn(
        self, connection: Connection, players: dict[UUID, Player], turn: Sequence[Played]
    ) -> list[Result | Problem | None]:
        """Rounds of different players, who are replaced by what they are afterwards."""
        now = self._clock.now()
        days = {one.id: self._ledger.day(one, now) for one in players.values()}
        known = [one.session for one in turn if one.session.player_id in players]
        asked = [(one.id, one.player_id, days[one.player_id]) for one in known]
        before = await self._repository.before(connection, asked, now - RESULT_PERIOD) if asked else {}
        decided = [_decided(one, players.get(one.session.player_id), before.get(one.session.id), now, days)
                   for one in turn]  # fmt: skip
        results = [one for one in decided if isinstance(one, Result)]
        await self._repository.add_results(connection, results)
        traces = {one.session.player_id: one.traceparent for one in turn}
        rows = [outbox.row(_scored(one), traces[one.player_id], event_id=one.event_id) for one in results]
        await outbox.insert(connection, rows)
        gains = [Gain(one.player_id, _cause(one.id), one.xp, one.created_at, active=True) for one in results]
        players |= await self._ledger.post(connection, players, gains, traces)
        return decided


def _one_per_player(
    rounds: Sequence[tuple[int, Played]],
) -> tuple[list[tuple[int, Played]], list[tuple[int, Played]]]:
    """The first round of each player, and the others."""
    first: dict[UUID, tuple[int, Played]] = {}
    later = [one for one in rounds if first.setdefault(one[1].session.player_id, one) is not one]
    return list(first.values()), later


def _decided(
    played: Played, player: Player | None, before: Before | None, now: datetime, days: Mapping[UUID, date]
) -> Result | Problem | None:
    """The result to be stored, None where its session has one, or why it is refused."""
    if player is None or before is None:
        return errors.unknown_player()
    if before.known:
        return None
    if before.recent >= MAX_RESULTS_PER_PERIOD:
        limits = MAX_RESULTS_PER_PERIOD, int(RESULT_PERIOD.total_seconds())
        return _refused(played.session.game, errors.too_frequent(*limits))
    xp = result_xp(played.outcome.score, before.xp_of_day)
    return _result(played.session, player, played.moves, played.outcome, now, days[player.id], xp)


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
