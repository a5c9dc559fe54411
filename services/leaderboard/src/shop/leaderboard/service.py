"""What leaderboard does: reads of boards, and scores that other services report by a call."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast
from uuid import UUID

from shop.contracts.leaderboard import BoardSource, BoardSources, RecordedScore, RecordScore, Standing
from shop.kit.app import Context
from shop.kit.batch import Batcher, one_by_one_on_error
from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.kit.events import Received
from shop.kit.exposition import start_at_zero
from shop.kit.inbox import Inbox
from shop.leaderboard import errors, metrics
from shop.leaderboard.archive import Archive
from shop.leaderboard.board_repository import BoardRepository, SeasonKey
from shop.leaderboard.boards import load_boards
from shop.leaderboard.cache import Answer, BoardCache
from shop.leaderboard.domain import Board, Place, Ranked, Season, member
from shop.leaderboard.epochs import Epochs
from shop.leaderboard.keeper import KEPT_AFTER_END, CacheKeeper
from shop.leaderboard.recorder import Recorder
from shop.leaderboard.settings import Settings
from shop.leaderboard.standing_repository import Entry, Found, StandingRepository

MAX_CALLS_AT_ONCE = 64
"""Scores that are taken in one transaction."""


class Listed(NamedTuple):
    """A place and the player's name."""

    ranked: Ranked
    name: str


class Standings(NamedTuple):
    """A part of a season's board, and how many it lists."""

    board: Board
    season: Season
    items: list[Listed]
    total: int


class Rank(NamedTuple):
    """``neighbours`` includes the player."""

    ranked: Ranked
    neighbours: list[Listed]


@dataclass(frozen=True)
class Parts:
    """The parts of the service, which share boards and cache."""

    boards: Mapping[int, Board]
    cache: BoardCache
    repository: BoardRepository
    standings: StandingRepository
    epochs: Epochs
    keeper: CacheKeeper
    recorder: Recorder
    clock: Clock


class LeaderboardService:
    def __init__(self, parts: Parts, inbox: Inbox) -> None:
        self._boards = {board.board: board for board in parts.boards.values()}
        self._cache = parts.cache
        self._repository = parts.repository
        self._standings = parts.standings
        self._epochs = parts.epochs
        self._clock = parts.clock
        self._inbox = inbox
        self.keeper = parts.keeper
        self.recorder = parts.recorder
        self._calls = Batcher(one_by_one_on_error(self._record_all), max_items=MAX_CALLS_AT_ONCE)

    @classmethod
    async def build(cls, context: Context) -> LeaderboardService:
        """Raises BoardsError for boards that cannot be served."""
        settings, clock = cast(Settings, context.settings), context.clock
        repository, standings = BoardRepository(context.database), StandingRepository(context.database)
        listed = await repository.synchronize(load_boards(settings.boards, settings.store.time_zone), clock.now())
        boards = {board.id: board for board in listed}
        start_at_zero(metrics.SCORES, [board.board for board in listed], metrics.SCORE_OUTCOMES)
        cache = BoardCache.open(settings.valkey_url)
        epochs = Epochs(list(boards), repository)
        keeper = CacheKeeper(boards, cache, repository, standings, epochs, clock)
        recorder = Recorder(boards, keeper, cache, repository, standings, epochs, clock)
        inbox = Inbox(settings.service, context.database, context.bus)
        service = cls(Parts(boards, cache, repository, standings, epochs, keeper, recorder, clock), inbox)
        keeper.want(SeasonKey(board.id, board.season(clock.now()).name) for board in listed)
        archive = Archive(boards, repository, clock)
        context.tasks.start("cache", keeper.run)
        context.tasks.start("cache comparison", lambda: keeper.compare(settings.check_seconds))
        context.tasks.start("archive", lambda: archive.run(settings.archive_seconds))
        return service

    async def close(self) -> None:
        await self._calls.close()
        await self._epochs.close()
        await self._cache.close()

    @property
    def boards(self) -> list[Board]:
        """In the order of the file."""
        return list(self._boards.values())

    def present_season(self, board: Board) -> Season:
        return board.season(self._clock.now())

    def board(self, name: str) -> Board:
        """Problem 404 ``unknown_board``."""
        if (found := self._boards.get(name)) is None:
            raise errors.unknown_board(name)
        return found

    async def season(self, board: Board, name: str | None) -> Season:
        """The present season without a name; Problem 404 ``unknown_season`` for one in which nobody scored."""
        present = self.present_season(board)
        if name is None or name == present.name:
            return present
        if (found := await self._repository.season(board.id, name)) is None:
            raise errors.unknown_season(board.board, name)
        return found

    async def seasons(self, board: Board, before: str | None, limit: int) -> list[Season]:
        return await self._repository.seasons(board.id, before, limit)

    async def top(self, board: Board, season: Season, after: tuple[Place, UUID] | None, limit: int) -> Standings:
        """The first entries, or the next ones after a place."""
        key = SeasonKey(board.id, season.name)
        content, place = (member(*after), after[0]) if after else (b"", None)
        return await self._read(
            board,
            season,
            lambda: self._cache.top(key, content, limit),
            lambda: self._standings.top(key, place, limit),
        )

    async def among(self, board: Board, season: Season, player_ids: Sequence[UUID]) -> Standings:
        """Those of the players whom the board lists, with their ranks on the whole board."""
        key = SeasonKey(board.id, season.name)
        return await self._read(
            board,
            season,
            lambda: self._cache.among(key, player_ids),
            lambda: self._standings.among(key, player_ids),
        )

    async def rank(self, board: Board, season: Season, player_id: UUID, neighbours: int) -> Rank:
        """Problem 404 ``not_on_board``, also for a player who is private."""
        key = SeasonKey(board.id, season.name)
        around = await self._read(
            board,
            season,
            lambda: self._cache.around(key, player_id, neighbours),
            lambda: self._standings.around(key, player_id, neighbours),
        )
        for one in around.items:
            if one.ranked.player_id == player_id:
                return Rank(one.ranked, around.items)
        raise errors.not_on_board(board.board, player_id)

    async def _read(
        self,
        board: Board,
        season: Season,
        from_cache: Callable[[], Awaitable[Answer | None]],
        from_database: Callable[[], Awaitable[Found]],
    ) -> Standings:
        cached = await self._read_cache(board, season, from_cache)
        metrics.READS.labels("database" if cached is None else "cache").inc()
        found = await from_database() if cached is None else cached
        items = [Listed(one, found.names[one.player_id]) for one in found.items]
        return Standings(board, season, items, found.total)

    async def _read_cache(
        self, board: Board, season: Season, from_cache: Callable[[], Awaitable[Answer | None]]
    ) -> Found | None:
        """What the cache says, if it has the board's epoch and lists nobody who is being hidden.

        It is not asked for a season that ended long ago, whose changes are not written to it.
        """
        if season.ends_at is not None and season.ends_at + KEPT_AFTER_END <= self._clock.now():
            return None
        answer = None
        with contextlib.suppress(Unavailable):
            answer = await from_cache()
        if answer is None or answer.epoch != await self._epochs.of(board.id):
            self.keeper.want([SeasonKey(board.id, season.name)])
            return None
        names = {one.player_id: name for one, name in zip(answer.items, answer.names, strict=True)}
        return Found(answer.items, names, answer.total) if all(answer.names) else None

    async def record(self, request: RecordScore) -> RecordedScore:
        """Take the event's score, once together with the event itself; the player's places of now."""
        found = await self._calls.submit(request)
        standings = [await self._standing(*place) for place in found]
        return RecordedScore(standings=standings)

    async def _record_all(self, requests: Sequence[RecordScore]) -> list[list[tuple[Board, Season, Entry]]]:
        """The entries of each request's player on the boards that the score counts for, in the order of the file."""
        now = self._clock.now()
        kind = self.recorder.scores.types[0].TYPE
        events = [Received(one.event_id, kind, now, "", one.traceparent, one.event) for one in requests]
        await self._inbox.process(self.recorder.scores, events)
        present = {one.id: (one, self.present_season(one)) for one in self.boards}
        wanted = [
            [(SeasonKey(board.id, present[board.id][1].name), one.event.player_id) for board in boards]
            for one in requests
            for boards in [self.recorder.boards_of(one.event.source)]
        ]
        read = list(dict.fromkeys(itertools.chain.from_iterable(wanted)))
        found = {(one.key, one.player_id): one for one in await self._standings.exact(read)} if read else {}
        return [[(*present[key[0].board_id], found[key]) for key in keys if key in found] for keys in wanted]

    async def _standing(self, board: Board, season: Season, entry: Entry) -> Standing:
        """Without a rank while the player is private."""
        rank = await self._rank_of(board, season, entry.player_id) if entry.listed else None
        return Standing(board=board.board, season=season.name, score=entry.place.score, rank=rank)

    async def _rank_of(self, board: Board, season: Season, player_id: UUID) -> int | None:
        found = await self.among(board, season, [player_id])
        return found.items[0].ranked.rank if found.items else None

    def sources(self) -> BoardSources:
        found = [BoardSource(board=one.board, source=one.source, external=one.external) for one in self.boards]
        return BoardSources(boards=found)
