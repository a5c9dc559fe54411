"""The boards' epochs, known to this process for a moment without asking the database again; see ADR 0058.

A cached board counts only if it has the board's epoch in the database, and a statement for each read would cost more
than everything else of it. So what the database said holds for HOLDS_S, counted from before the statement was sent, and
a process that raises an epoch waits WAIT_S after the commit before the change is answered or acknowledged: by then
none believes in the earlier epoch. No clock is compared with that of another machine; they only have to run equally
fast.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence

from shop.kit.errors import Unavailable
from shop.leaderboard.board_repository import BoardRepository

HOLDS_S = 0.4
WAIT_S = 1.1 * HOLDS_S
"""Longer by far more than clocks differ in speed."""
READ_AGAIN_S = HOLDS_S / 2
"""Epochs of this age are read again while they still hold, so that no request waits for it."""


class Epochs:
    def __init__(self, board_ids: Sequence[int], repository: BoardRepository) -> None:
        self._board_ids = list(board_ids)
        self._repository = repository
        self._known: dict[int, int] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def of(self, board_id: int) -> int:
        """The board's epoch, as it is or was HOLDS_S ago at most. Ask after the cache has answered."""
        if self._age_s() >= READ_AGAIN_S:
            self._read_soon()
        if self._age_s() >= HOLDS_S and self._reading is not None:
            await asyncio.wait([self._reading])
        if self._age_s() < HOLDS_S:
            return self._known.get(board_id, 0)
        return await self._repository.epoch(board_id)

    async def raise_all(self, board_ids: Sequence[int]) -> None:
        """Whatever is cached of these boards is not read any more, by no process, when this returns."""
        await self._repository.raise_epochs(board_ids)
        self._read_at = float("-inf")
        await self.wait_out()

    async def wait_out(self) -> None:
        """Until no process holds what the database said before now."""
        await asyncio.sleep(WAIT_S)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._read_at

    def _read_soon(self) -> None:
        """One statement for all who ask meanwhile."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=contextvars.Context())

    async def _read(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            known = await self._repository.epochs(self._board_ids)
        except Unavailable:
            return  # a request that waits for it reads the epoch itself, and answers with the error
        self._known, self._read_at = known, began
