"""Server-sent events of orders: one poller per process serves all clients.

A stream has no database connection of its own. The poller reads the changes of all watched orders in one statement, and
only while there are any. It reads stored transitions, so no state is skipped and a resumed stream misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from shop.kit.db import Record
from shop.order import errors, metrics
from shop.order.domain import Order, State
from shop.order.repository import OrderRepository
from shop.order.settings import Settings

MAX_STREAM_S = 1_800.0
"""A browser reconnects by itself and resumes."""
MAX_UNSENT = 16
"""More than an order has states."""


@dataclass(eq=False, slots=True)
class _Watch:
    order_id: UUID
    version: int
    unsent: asyncio.Queue[Record | None] = field(default_factory=lambda: asyncio.Queue(MAX_UNSENT))


class Watchers:
    def __init__(self, repository: OrderRepository, settings: Settings) -> None:
        self._repository = repository
        self._poll_s = settings.stream_poll_s
        self._keepalive_s = settings.stream_keepalive_s
        self._max_streams = settings.max_streams
        self._watches: dict[UUID, set[_Watch]] = defaultdict(set)
        self._count = 0
        self._watched = asyncio.Event()

    async def run(self) -> None:
        """Poll until cancelled; then every stream ends, too."""
        try:
            while True:
                await self._watched.wait()
                await self._poll()
                await asyncio.sleep(self._poll_s)
        except asyncio.CancelledError:
            for group in self._watches.values():
                for watch in group:
                    watch.unsent.put_nowait(None)
            raise

    async def _poll(self) -> None:
        seen = {order_id: min(watch.version for watch in group) for order_id, group in self._watches.items()}
        for change in await self._repository.changes(seen):
            for watch in self._watches.get(change["order_id"], ()):
                if watch.version < change["version"]:
                    watch.version = change["version"]
                    watch.unsent.put_nowait(change)

    def check_capacity(self) -> None:
        """Problem 503 ``too_many_streams`` when the maximum of streams is open."""
        if self._count >= self._max_streams:
            raise errors.too_many_streams()

    @contextlib.contextmanager
    def _registered(self, watch: _Watch) -> Iterator[_Watch]:
        self._watches[watch.order_id].add(watch)
        self._change(1)
        try:
            yield watch
        finally:
            group = self._watches[watch.order_id]
            group.discard(watch)
            if not group:
                del self._watches[watch.order_id]
            self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        metrics.STREAMS.set(self._count)
        if self._count:
            self._watched.set()
        else:
            self._watched.clear()

    async def events(self, order: Order, seen: int | None) -> AsyncIterator[bytes]:
        """The order's states as they change, until one is final. ``seen`` is the version that the client has."""
        until = asyncio.get_running_loop().time() + MAX_STREAM_S
        known = order.version if seen is None else min(seen, order.version)
        with self._registered(_Watch(order.id, known)) as watch:
            if seen is None:
                yield event(order.id, order.state, order.version, order.reason, order.updated_at)
            ended = seen is None and order.state.final
            while not ended and asyncio.get_running_loop().time() < until:
                try:
                    change = await asyncio.wait_for(watch.unsent.get(), self._keepalive_s)
                except TimeoutError:
                    yield b": keepalive\n\n"
                    continue
                if change is None:
                    return
                state = State(change["state"])
                yield event(order.id, state, change["version"], change["reason"], change["at"])
                ended = state.final


def event(order_id: UUID, state: State, version: int, reason: str | None, at: datetime) -> bytes:
    """One event in the format of text/event-stream; its data is a StateView."""
    known = reason if state.final else None
    document = {"order_id": str(order_id), "state": state, "version": version, "reason": known, "at": at}
    data = orjson.dumps(document)
    return b"id: %d\nevent: state\ndata: %s\n\n" % (version, data)
