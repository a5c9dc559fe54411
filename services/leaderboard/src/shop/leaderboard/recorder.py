"""Takes scores from events. Each takes effect once, in any order, and is cached after its commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shop.contracts.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    PlayerChanged,
    PlayerGained,
    PlayerScored,
    UserDeleted,
)
from shop.kit.clock import Clock
from shop.kit.currencies import major_units
from shop.kit.db import Connection
from shop.kit.errors import Unavailable
from shop.kit.events import Received
from shop.kit.inbox import LATER_S, Consumer
from shop.leaderboard import metrics, score_repository
from shop.leaderboard.board_repository import BoardRepository, SeasonKey
from shop.leaderboard.boards import ORDERS, XP
from shop.leaderboard.cache import BoardCache, Hidden
from shop.leaderboard.domain import (
    ARCHIVED_AFTER,
    MAX_SCORE,
    Board,
    Scored,
    as_utc,
    in_range,
    microseconds,
)
from shop.leaderboard.epochs import Epochs
from shop.leaderboard.keeper import WRITTEN_AFTER_END, CacheKeeper
from shop.leaderboard.score_repository import Cancelled, Player
from shop.leaderboard.standing_repository import Entry, StandingRepository

MAX_SEASONS = 20_000
"""Of all boards within ARCHIVED_AFTER: 64 daily boards have 5,760."""


class Recorder:
    def __init__(
        self,
        boards: Mapping[int, Board],
        keeper: CacheKeeper,
        cache: BoardCache,
        repository: BoardRepository,
        standings: StandingRepository,
        epochs: Epochs,
        clock: Clock,
    ) -> None:
        self._boards = boards
        self._keeper = keeper
        self._cache = cache
        self._repository = repository
        self._standings = standings
        self._epochs = epochs
        self._clock = clock
        self._by_source: dict[str, list[Board]] = {}
        for board in boards.values():
            self._by_source.setdefault(board.source, []).append(board)
        cached: dict[str, Any] = {"after_commit": self._cache_scores, "rest_s": LATER_S}
        self.scores = Consumer("scores", [PlayerScored], self._record, **cached)
        self.gains = Consumer("gains", [PlayerGained], self._record, **cached)
        self.orders = Consumer("orders", [OrderConfirmed, OrderCancelled], self._record_orders, **cached)
        self.players = Consumer("players", [PlayerChanged], self._change_players, after_commit=self._cache_players)
        self.deletions = Consumer.of_deletions(
            UserDeleted,
            score_repository.DELETED_USERS,
            self._delete,
            clock=clock,
            after_commit=self._uncache_players,
        )

    def consumers(self) -> list[Consumer]:
        return [self.scores, self.gains, self.orders, self.players, self.deletions]

    def boards_of(self, source: str) -> Sequence[Board]:
        """In the order of the file."""
        return self._by_source.get(source, ())

    async def _record(self, connection: Connection, received: Sequence[Received]) -> None:
        scored = [score for one in received for score in self._scores(one.event)]
        taken = await score_repository.record(connection, scored) if scored else 0
        _count(scored, taken)

    async def _record_orders(self, connection: Connection, received: Sequence[Received]) -> None:
        cancelled = [one.event for one in received if isinstance(one.event, OrderCancelled)]
        if cancelled:
            await score_repository.lock_entries(connection, {one.event.user_id for one in received})
        confirmed = [one for one in received if isinstance(one.event, OrderConfirmed)]
        if confirmed:
            await self._record(connection, confirmed)
        taken_back = [
            Cancelled(board.id, f"order:{event.order_id}", event.user_id, as_utc(event.occurred_at))
            for event in cancelled
            for board in self.boards_of(ORDERS)
            if in_range(event.occurred_at)
        ]
        await score_repository.take_back(connection, taken_back)

    async def _change_players(self, connection: Connection, received: Sequence[Received]) -> None:
        events: list[PlayerChanged] = [one.event for one in received]
        players = [Player(one.player_id, one.name, one.private, one.version) for one in events]
        await score_repository.change_players(connection, players)
        await self._hide(connection, _hidden(received))

    async def _delete(self, connection: Connection, received: Sequence[Received]) -> None:
        await score_repository.delete_players(connection, [one.event.user_id for one in received])
        await self._hide(connection, _deleted(received))

    async def _hide(self, connection: Connection, hidden: Sequence[Hidden]) -> None:
        """Before the commit: a process that ends after it, before the cache has the change, leaves nobody listed."""
        try:
            await self._cache.hide(hidden)
        except Unavailable:
            await self._repository.raise_epochs(list(self._boards), connection)

    async def _show(self, hidden: Sequence[Hidden]) -> None:
        """After the change is cached. What cannot be removed here ends by itself."""
        with contextlib.suppress(Unavailable):
            await self._cache.show(hidden)

    def _scores(self, event: Event) -> list[Scored]:
        """What an event scores, for each board that it counts for."""
        match event:
            case PlayerScored(player_id=player_id, result_id=result_id, source=source, score=score):
                return self._for_boards(source, player_id, f"result:{result_id}", score, event.occurred_at)
            case OrderConfirmed(user_id=user_id, order_id=order_id, total=total):
                units = min(max(int(major_units(total.amount, total.currency)), 0), MAX_SCORE)
                return self._for_boards(ORDERS, user_id, f"order:{order_id}", units, event.occurred_at)
            case PlayerGained(player_id=player_id, version=version, total_xp=total_xp):
                cause = f"xp:{player_id}:{version}"
                score = min(max(total_xp, 0), MAX_SCORE)
                return self._for_boards(XP, player_id, cause, score, event.occurred_at, version)
        return []

    def _for_boards(
        self, source: str, player_id: UUID, cause: str, score: int, at: datetime, position: int | None = None
    ) -> list[Scored]:
        boards = self.boards_of(source)
        if not in_range(at):
            for board in boards:
                metrics.SCORES.labels(board.board, "out_of_range").inc()
            return []
        moment = as_utc(at)
        position = microseconds(moment) if position is None else position
        made = [Scored(one, one.season(moment), player_id, cause, score, moment, position) for one in boards]
        return [one for one in made if self._is_taken(one)]

    def _is_taken(self, scored: Scored) -> bool:
        ends_at = scored.season.ends_at
        if ends_at is None or ends_at + ARCHIVED_AFTER > self._clock.now():
            return True
        metrics.SCORES.labels(scored.board.board, "too_late").inc()
        return False

    async def _cache_scores(self, received: Sequence[Received]) -> None:
        """Read after the commit: the present entries, not what this batch made of them."""
        wanted: dict[tuple[SeasonKey, UUID], None] = {}
        for one in received:
            if isinstance(one.event, OrderCancelled):
                continue
            for score in self._scores(one.event):
                wanted[SeasonKey(score.board.id, score.season.name), score.player_id] = None
        players = {one.event.user_id for one in received if isinstance(one.event, OrderCancelled)}
        entries = await self._standings.exact(list(wanted)) if wanted else []
        if players:
            entries += await self._recent_of(players)
        await self._keeper.write(entries)

    async def _cache_players(self, received: Sequence[Received]) -> None:
        await self._keeper.write(await self._recent_of({one.event.player_id for one in received}))
        await self._show(_hidden(received))

    async def _recent_of(self, player_ids: Iterable[UUID]) -> list[Entry]:
        """Those that may be cached. A player has one in each daily season, of which 90 are kept."""
        return await self._standings.recent_of(player_ids, self._clock.now() - WRITTEN_AFTER_END)

    async def _uncache_players(self, received: Sequence[Received]) -> None:
        keys = await self._repository.all_seasons(MAX_SEASONS)
        try:
            await self._cache.remove(keys, sorted({one.event.user_id for one in received}))
        except Unavailable:
            await self._epochs.raise_all(list(self._boards))
        await self._show(_deleted(received))


def _hidden(received: Sequence[Received]) -> list[Hidden]:
    return [Hidden(one.event.player_id, one.event_id) for one in received if one.event.private]


def _deleted(received: Sequence[Received]) -> list[Hidden]:
    return [Hidden(one.event.user_id, one.event_id) for one in received]


def _count(scored: Iterable[Scored], taken: int) -> None:
    for number, one in enumerate(scored):
        metrics.SCORES.labels(one.board.board, "taken" if number < taken else "duplicate").inc()
