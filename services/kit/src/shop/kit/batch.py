"""Micro-batching: concurrent callers share one statement or one request.

A lone caller does not wait: its batch is sent at once. While batches are in flight other items gather, and once
several came together the next batch keeps a distance from the last one, a few milliseconds at most, which grows while
batches are shared and shrinks when they are not. The busier the service, the larger the batches and the less each
item costs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from shop.kit import spans
from shop.kit.errors import Problem, Unavailable
from shop.kit.spans import Span

log = logging.getLogger(__name__)

MAX_ITEMS = 128
MAX_INFLIGHT = 2
MAX_QUEUED = 2_048
MAX_DISTANCE_S = 0.003
FIRST_DISTANCE_S = 0.001
DISTANCE_GROWTH = 2.0
DISTANCE_DECAY = 0.7


type _Item[T, R] = tuple[T, asyncio.Future[R], Span | None]
"""What is to be done, who waits for it, and the caller's span if that is recorded."""


class Batcher[T, R]:
    """Calls ``handle`` with up to ``max_items`` items, at most ``max_inflight`` calls at a time.

    ``handle`` returns one result per item, in order; an exception among the results goes to that item's caller
    alone, one that ``handle`` raises goes to every caller of the batch. With ``max_queued`` items waiting, a new
    one is refused with Problem 503 ``overloaded``. Batches keep at most ``max_distance_s`` seconds apart.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        max_items: int = MAX_ITEMS,
        max_inflight: int = MAX_INFLIGHT,
        max_queued: int = MAX_QUEUED,
        max_distance_s: float = MAX_DISTANCE_S,
    ) -> None:
        self._handle = handle
        self._max_items = max_items
        self._max_inflight = max_inflight
        self._max_queued = max_queued
        self._waiting: deque[_Item[T, R]] = deque()
        self._inflight: set[asyncio.Task[None]] = set()
        self._max_distance_s = max_distance_s
        self._distance_s = 0.0
        self._not_before = 0.0
        self._scheduled = False

    async def submit(self, item: T) -> R:
        """The result for ``item``. A caller that is cancelled leaves its item in the batch, which goes on."""
        if len(self._waiting) >= self._max_queued:
            detail = "Too many requests are waiting; please try again."
            raise Problem(503, "overloaded", detail, headers={"Retry-After": "1"})
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, spans.active()))
        self._schedule()
        return await future

    def _schedule(self) -> None:
        """Schedule the next batch, if there is one, for the earliest time that is allowed."""
        if self._scheduled or not self._waiting or len(self._inflight) >= self._max_inflight:
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._not_before > loop.time():
            loop.call_at(self._not_before, self._dispatch)
        else:
            loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        batch = [self._waiting.popleft() for _ in range(min(self._max_items, len(self._waiting)))]
        if not batch:
            return
        self._keep_distance(len(batch))
        self._not_before = loop.time() + self._distance_s
        task = loop.create_task(self._run(batch), context=contextvars.Context())
        self._inflight.add(task)
        task.add_done_callback(self._finished)
        self._schedule()

    def _keep_distance(self, items: int) -> None:
        if items > 1:
            wanted = max(self._distance_s * DISTANCE_GROWTH, FIRST_DISTANCE_S)
            self._distance_s = min(wanted, self._max_distance_s)
        elif self._distance_s < FIRST_DISTANCE_S:
            self._distance_s = 0.0
        else:
            self._distance_s *= DISTANCE_DECAY

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._inflight.discard(task)
        self._schedule()

    async def _run(self, batch: list[_Item[T, R]]) -> None:
        try:
            with spans.joined("batch", [caller for _, _, caller in batch if caller is not None]):
                results = await self._handle([item for item, _, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"batch of {len(batch)} items got {len(results)} results")
        except BaseException as error:
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else ConnectionAbortedError("stopping"))
            if not isinstance(error, Exception):
                raise
            return
        for (_, future, _), result in zip(batch, results, strict=True):
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


def one_by_one_on_error[T, R](
    handle: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
) -> Callable[[list[T]], Awaitable[Sequence[R | BaseException]]]:
    """A batch that fails is handled again item by item, so that an item which is refused fails alone."""

    async def handle_batch(batch: list[T]) -> Sequence[R | BaseException]:
        try:
            return await handle(batch)
        except Unavailable:
            raise
        except Exception:
            if len(batch) == 1:
                raise
            log.exception(
                "a batch of %d items failed, trying them one by one", len(batch), extra={"event": "batch_failed"}
            )
            return [await handle_one(item) for item in batch]

    async def handle_one(item: T) -> R | BaseException:
        try:
            return (await handle([item]))[0]
        except Exception as error:  # noqa: BLE001 - raised where this item is awaited
            return error

    return handle_batch
