"""Keeps the cached boards equal to the database: writes them anew while they are served, and compares them.

See ADR 0054. One replica at a time writes a board; all others go on reading from the database meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from shop.kit.backoff import backoff_s
from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.kit.logging import decision
from shop.leaderboard import metrics
from shop.leaderboard.board_repository import BoardRepository, SeasonKey
from shop.leaderboard.cache import BoardCache
from shop.leaderboard.domain import Board
from shop.leaderboard.epochs import Epochs
from shop.leaderboard.standing_repository import Entry, StandingRepository

log = logging.getLogger(__name__)

PAGE_ENTRIES = 2_000
LOCK_S = 15.0
MAX_WANTED = 1_024
IDLE_S = 5.0
KEPT_AFTER_END = timedelta(days=1)
"""How long the cached board of an ended season stays, and is read."""
WRITTEN_AFTER_END = 2 * KEPT_AFTER_END
"""Changes of a season are cached for longer than it is read: clocks of two replicas differ by less than a day."""
COMPARED_PLAYERS = 50
COMPARISONS = 3
COMPARE_AGAIN_S = 1.0
"""A change is committed before it is cached: only what differs each time is wrong."""
NO_PLAYER = UUID(int=0)


class CacheKeeper:
    def __init__(
        self,
        boards: Mapping[int, Board],
        cache: BoardCache,
        repository: BoardRepository,
        standings: StandingRepository,
        epochs: Epochs,
        clock: Clock,
    ) -> None:
        self._boards = boards
        self._cache = cache
        self._repository = repository
        self._standings = standings
        self._epochs = epochs
        self._clock = clock
        self._wanted: dict[SeasonKey, None] = {}
        self._wake = asyncio.Event()

    def want(self, keys: Iterable[SeasonKey]) -> None:
        """Have these seasons cached soon, those that go on or ended not long ago."""
        for key in keys:
            if len(self._wanted) < MAX_WANTED and self._is_kept(key):
                self._wanted[key] = None
                self._wake.set()

    async def write(self, entries: list[Entry]) -> None:
        """After the commit of a change. What the cache does not take makes it out of date for every reader."""
        if not entries:
            return
        try:
            self.want(await self._cache.apply(entries))
        except Unavailable:
            await self._epochs.raise_all(sorted({one.key.board_id for one in entries}))
            self.want(one.key for one in entries)

    async def run(self) -> None:
        """Write wanted seasons, one after the other, until cancelled; after a failure with growing pauses."""
        attempt = 0
        while True:
            self._wake.clear()
            try:
                for key in list(self._wanted):
                    await self.rebuild(key)
                    self._wanted.pop(key, None)
                attempt = 0
            except Unavailable as error:
                metrics.REBUILDS.labels("failed").inc()
                log.warning("a board is not cached: %s", error, extra={"event": "board_not_cached"})
                await asyncio.sleep(backoff_s(attempt))
                attempt += 1
                continue
            await _wait(self._wake, IDLE_S)

    async def rebuild(self, key: SeasonKey) -> bool:
        """Write a season to the cache; False when another process does."""
        name = f"{key.board_id}:{key.season}"
        if not await self._cache.lock(name, LOCK_S):
            return False
        try:
            began = asyncio.get_running_loop().time()
            written = await self._write_generation(key, name)
        finally:
            await self._cache.unlock(name)
        seconds = asyncio.get_running_loop().time() - began
        metrics.REBUILDS.labels("done" if written is not None else "overtaken").inc()
        metrics.REBUILD_SECONDS.observe(seconds)
        if written is not None:
            message = "board %s: %d entries cached in %.2f s"
            decision(log, "board_cached", message, name, written, seconds)
        return written is not None

    async def _write_generation(self, key: SeasonKey, name: str) -> int | None:
        """The number of entries; None when another process began a generation.

        The epoch is read first: a change that the cache does not take from then on raises it, and the generation does
        not count. A change after `begin` is written to the generation by the process that made it, too.
        """
        generation, server = uuid4().hex, await self._cache.server()
        await self._cache.begin(key, generation, await self._repository.epoch(key.board_id))
        after, written = NO_PLAYER, 0
        while page := await self._standings.page(key, after, PAGE_ENTRIES):
            if not await self._cache.fill(key, generation, page):
                return None
            await self._cache.keep_lock(name, LOCK_S)
            after, written = page[-1].player_id, written + len(page)
        return written if await self._cache.switch(key, generation, server, self._expires_at(key)) else None

    def _is_kept(self, key: SeasonKey) -> bool:
        expires_at = self._expires_at(key)
        return key.board_id in self._boards and (expires_at is None or self._clock.now() < expires_at)

    def _expires_at(self, key: SeasonKey) -> datetime | None:
        """None for a season that goes on without an end."""
        board = self._boards.get(key.board_id)
        if board is None:
            return None
        present = board.season(self._clock.now())
        if present.name == key.season:
            return present.ends_at + KEPT_AFTER_END if present.ends_at else None
        previous = board.season(self._clock.now() - KEPT_AFTER_END)
        ended = previous.name == key.season and previous.ends_at
        return ended + KEPT_AFTER_END if ended else self._clock.now()

    async def compare(self, pause_s: float) -> None:
        """Compare the present seasons with the database, one process for all of them, until cancelled."""
        while True:
            await asyncio.sleep(pause_s)
            try:
                if await self._cache.lock("compare", pause_s / 2):
                    for board in self._boards.values():
                        await self.compare_season(SeasonKey(board.id, board.season(self._clock.now()).name))
            except Unavailable as error:
                log.warning("boards are not compared: %s", error, extra={"event": "boards_not_compared"})

    async def compare_season(self, key: SeasonKey) -> bool:
        """Whether what is cached is right; it is written anew otherwise."""
        for attempt in range(COMPARISONS):
            if attempt:
                await asyncio.sleep(COMPARE_AGAIN_S)
            if await self._is_equal(key):
                return True
        metrics.MISMATCHES.inc()
        decision(log, "board_differs", "board %d, season %s: the cache is wrong", *key, level=logging.WARNING)
        await self._epochs.raise_all([key.board_id])
        self.want([key])
        return False

    async def _is_equal(self, key: SeasonKey) -> bool:
        """By the number of entries, and by some of the database's entries and some of the cache's."""
        sample = await self._standings.page(key, uuid4(), COMPARED_PLAYERS)
        sample += await self._standings.page(key, NO_PLAYER, COMPARED_PLAYERS - len(sample))
        before = await self._standings.count(key)
        stored = await self._cache.stored(key, [one.player_id for one in sample])
        if stored is None or stored.epoch != await self._repository.epoch(key.board_id):
            self.want([key])
            return True
        for one, revision in zip(sample, stored.revisions, strict=True):
            if (one.listed and revision is None) or (revision is not None and revision < one.revision):
                return False
        known = {one.player_id for one in await self._standings.exact([(key, one) for one in stored.some_players])}
        if not known.issuperset(stored.some_players):
            return False
        return stored.total == before or before != await self._standings.count(key)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
