"""Prunes what ended long ago: in small statements, so that nothing else waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from shop.kit.clock import Clock
from shop.leaderboard.board_repository import BoardRepository
from shop.leaderboard.domain import ARCHIVED_AFTER, Board

BATCH_ROWS = 2_000
MAX_BATCHES = 500
"""Of one turn of the loop."""
REMOVED_AFTER = timedelta(days=1)
"""By then no replica has the removed board any more."""


class Archive:
    def __init__(self, boards: Mapping[int, Board], repository: BoardRepository, clock: Clock) -> None:
        self._boards = boards
        self._repository = repository
        self._clock = clock

    async def run(self, pause_s: float) -> None:
        """Every ``pause_s`` seconds, until cancelled."""
        while True:
            await self.prune()
            await asyncio.sleep(pause_s)

    async def prune(self) -> None:
        """Of seasons that ended long ago keep the first entries, of removed boards nothing."""
        now = self._clock.now()
        # A day later than scores of the season are refused, so that none is on its way.
        before = now - ARCHIVED_AFTER - timedelta(days=1)
        for _ in range(MAX_BATCHES):
            key = await self._repository.ended(before, list(self._boards))
            if key is None:
                break
            await self._repository.archive(key, self._boards[key.board_id].size, BATCH_ROWS, now)
        for _ in range(MAX_BATCHES):
            if not await self._repository.prune_removed(now - REMOVED_AFTER, BATCH_ROWS):
                break
