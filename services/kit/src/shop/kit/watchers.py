"""Server-sent events of entities that change: one poller per process serves all clients.

A stream has no database connection of its own. The poller reads the changes of all watched entities in one statement,
and only while there are any. It reads stored versions, so a resumed stream misses nothing. What is not stored, such as
a position, is handed to the open streams with ``send``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Gauge

from shop.kit.errors import Problem

MAX_STREAM_S = 1_800.0
"""A browser reconnects by itself and resumes."""
MAX_UNSENT = 64
"""Changes that wait for one client; while there are so many, no further ones are read for it."""
KEEPALIVE = b": keepalive\n\n"


@dataclass(frozen=True, slots=True)
class Change[T]:
    """``version`` of the entity ``key`` grows with each change. No change follows the ``last`` one."""

    key: UUID
    version: int
    content: T
    last: bool = False


class _Newest:
    """Stands for the newest event without a version."""


NEWEST = _Newest()


@dataclass(eq=False, slots=True)
class _Watch[T]:
    key: UUID
    version: int
    unsent: asyncio.Queue[Change[T] | _Newest | None] = field(default_factory=lambda: asyncio.Queue(MAX_UNSENT))
    """Changes, the place of ``newest`` among them, and None for the end of the stream."""
    newest: bytes | None = None


class Watchers[T]:
    """``read`` returns the changes of entities after the version of each, in the order of their versions."""

    def __init__(
        self,
        read: Callable[[Mapping[UUID, int]], Awaitable[Iterable[Change[T]]]],
        *,
        poll_s: float,
        keepalive_s: float,
        max_streams: int,
        streams: Gauge,
    ) -> None:
        self._read = read
        self._poll_s = poll_s
        self._keepalive_s = keepalive_s
        self._max_streams = max_streams
        self._streams = streams
        self._watches: dict[UUID, set[_Watch[T]]] = defaultdict(set)
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
                    _end(watch)
            raise

    async def _poll(self) -> None:
        seen = {key: min(watch.version for watch in group) for key, group in self._watches.items()}
        for change in await self._read(seen):
            for watch in self._watches.get(change.key, ()):
                if watch.version < change.version and not watch.unsent.full():
                    watch.version = change.version
                    watch.unsent.put_nowait(change)

    def watched(self) -> frozenset[UUID]:
        """The entities that clients of this process watch."""
        return frozenset(self._watches)

    def send(self, key: UUID, event: bytes) -> None:
        """Send an event without a version to those who watch ``key`` now; a slow client gets the newest alone."""
        for watch in self._watches.get(key, ()):
            if watch.newest is None and not watch.unsent.full():
                watch.unsent.put_nowait(NEWEST)
                watch.newest = event
            elif watch.newest is not None:
                watch.newest = event

    def check_capacity(self) -> None:
        """Problem 503 ``too_many_streams`` when the maximum of streams is open."""
        if self._count >= self._max_streams:
            detail = "Too many clients are watching; please try again."
            raise Problem(503, "too_many_streams", detail, headers={"Retry-After": "5"})

    @contextlib.contextmanager
    def _registered(self, watch: _Watch[T]) -> Iterator[_Watch[T]]:
        self._watches[watch.key].add(watch)
        self._change(1)
        try:
            yield watch
        finally:
            group = self._watches[watch.key]
            group.discard(watch)
            if not group:
                del self._watches[watch.key]
            self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        self._streams.set(self._count)
        if self._count:
            self._watched.set()
        else:
            self._watched.clear()

    async def events(
        self, key: UUID, version: int, encode: Callable[[Change[T]], bytes], first: Change[T] | None = None
    ) -> AsyncIterator[bytes]:
        """The changes of ``key`` after ``version``, as ``encode`` writes them, until the last one.

        ``first`` is sent before them. Without it a comment is, so that a client whose entity is quiet, and a proxy
        before it, know at once that they are connected.
        """
        until = asyncio.get_running_loop().time() + MAX_STREAM_S
        with self._registered(_Watch[T](key, version)) as watch:
            yield KEEPALIVE if first is None else encode(first)
            ended = first is not None and first.last
            while not ended and asyncio.get_running_loop().time() < until:
                try:
                    change = await asyncio.wait_for(watch.unsent.get(), self._keepalive_s)
                except TimeoutError:
                    yield KEEPALIVE
                    continue
                if change is None:
                    return
                if isinstance(change, _Newest):
                    newest, watch.newest = watch.newest, None
                    yield newest or KEEPALIVE
                else:
                    yield encode(change)
                    ended = change.last


def event(kind: str, document: Mapping[str, Any], version: int | None = None) -> bytes:
    """One event in the format of text/event-stream; a client resumes after the last one that has a version."""
    head = b"" if version is None else b"id: %d\n" % version
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), orjson.dumps(document, default=str))


def _end(watch: _Watch[Any]) -> None:
    if watch.unsent.full():
        watch.unsent.get_nowait()
    watch.unsent.put_nowait(None)
