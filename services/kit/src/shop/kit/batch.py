"""Micro-batching: concurrent callers share one statement or one request.

A batch leaves at once while a slot is free, so a lone caller waits for nobody; while batches are in flight the
others gather. The busier the service, the larger the batches and the less each item costs.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from shop.kit.errors import Problem

MAX_ITEMS = 128
MAX_INFLIGHT = 2
MAX_QUEUED = 2_048


class Batcher[T, R]:
    """Calls ``handle`` with up to ``max_items`` items, at most ``max_inflight`` calls at a time.

    ``handle`` returns one result per item, in order; an exception among the results goes to that item's caller
    alone, one that ``handle`` raises goes to every caller of the batch. With ``max_queued`` items waiting, a new
    one is refused with Problem 503 ``overloaded``.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        max_items: int = MAX_ITEMS,
        max_inflight: int = MAX_INFLIGHT,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self._handle = handle
        self._max_items = max_items
        self._max_inflight = max_inflight
        self._max_queued = max_queued
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._inflight: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def submit(self, item: T) -> R:
        """The result for ``item``. A caller that is cancelled leaves its item in the batch, which goes on."""
        if len(self._waiting) >= self._max_queued:
            detail = "Too many requests are waiting; please try again."
            raise Problem(503, "overloaded", detail, headers={"Retry-After": "1"})
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._scheduled and len(self._inflight) < self._max_inflight:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)
        return await future

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._inflight) < self._max_inflight:
            batch = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
            task = asyncio.get_running_loop().create_task(self._run(batch), context=contextvars.Context())
            self._inflight.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._inflight.discard(task)
        self._dispatch()

    async def _run(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._handle([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"batch of {len(batch)} items got {len(results)} results")
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else ConnectionAbortedError("stopping"))
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def close(self) -> None:
        """Wait for what is in flight; nothing new is taken after the server has stopped."""
        while self._inflight:
            await asyncio.wait(set(self._inflight))
