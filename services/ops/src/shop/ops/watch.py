"""Reads the metrics and the readiness of every instance, every few seconds, and only while somebody watches.

Reading costs each service some 20 ms of CPU, so a shop that nobody looks at is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from shop.kit.errors import Problem
from shop.ops.instances import Known
from shop.ops.picture import Picture, picture
from shop.ops.scrape import Reading, parse

EVERY_S = 3.0
LINGER_S = 15.0
"""How long reading goes on after the last look: a page that is reloaded finds rates."""
READ_TIMEOUT_S = 2.0
AT_ONCE = 4
"""Instances that are read at the same time."""
MAX_WATCHERS = 32
MAX_METRICS_BYTES = 8 << 20
EMPTY = Picture((), (), ())

Instances = Callable[[], Awaitable[Mapping[str, Sequence[Known]]]]


class Watch:
    """``instances()`` are those of each service, as of now."""

    def __init__(self, instances: Instances, every_s: float = EVERY_S) -> None:
        self._instances = instances
        self._every_s = every_s
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._readings: list[Reading] = []
        self._wanted_until = float("-inf")
        self._wanted = asyncio.Event()
        self._drawn = asyncio.Condition()
        self._watchers = 0
        self._version = 0
        self.picture = EMPTY

    async def run(self) -> None:
        """Read for as long as somebody watches, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            began = loop.time()
            if began > self._wanted_until and not self._watchers:
                self._wanted.clear()
                self._readings = []
                continue
            await self._read()
            await asyncio.sleep(max(0.0, self._every_s - (loop.time() - began)))

    def look(self) -> None:
        """Somebody looks now."""
        self._wanted_until = asyncio.get_running_loop().time() + LINGER_S
        self._wanted.set()

    async def latest(self) -> Picture:
        """The picture as of the last reading, after the first one if there was none."""
        self.look()
        if self._version == 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._next(0), self._every_s + READ_TIMEOUT_S)
        return self.picture

    async def pictures(self) -> AsyncGenerator[Picture]:
        """Each new picture; Problem 503 ``too_many_streams`` when MAX_WATCHERS watch."""
        if self._watchers >= MAX_WATCHERS:
            raise Problem(503, "too_many_streams", "Too many pages are watching.", headers={"Retry-After": "5"})
        self._watchers += 1
        try:
            seen = self._version
            while True:
                self.look()
                seen = await self._next(seen)
                yield self.picture
        finally:
            self._watchers -= 1

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _next(self, seen: int) -> int:
        async with self._drawn:
            await self._drawn.wait_for(lambda: self._version > seen)
            return self._version

    async def _read(self) -> None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        known = [(noun, one) for noun, several in (await self._instances()).items() for one in several]
        readings = await asyncio.gather(*(self._read_one(self._session, *one) for one in known))
        self.picture = picture(self._readings, readings)
        self._readings = list(readings)
        async with self._drawn:
            self._version += 1
            self._drawn.notify_all()

    async def _read_one(self, session: aiohttp.ClientSession, noun: str, one: Known) -> Reading:
        loop, address = asyncio.get_running_loop(), one.address
        async with self._places:
            try:
                async with session.get(f"{address}/health/ready") as answer:
                    health: dict[str, Any] = orjson.loads(await _whole(answer))
                async with session.get(f"{address}/metrics", headers={"Accept": "text/plain"}) as answer:
                    text = (await _whole(answer)).decode(errors="replace")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                return Reading(noun, address, loop.time(), "away", id=one.id, restarts=one.restarts)
        status, checks = health.get("status"), health.get("checks")
        return Reading(
            noun,
            address,
            loop.time(),
            status if status in {"ok", "degraded", "unavailable"} else "unavailable",
            checks if isinstance(checks, dict) else {},
            parse(text),
            version=str(health.get("version", "")),
            id=one.id,
            restarts=one.restarts,
        )


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """At most MAX_METRICS_BYTES of the body."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MAX_METRICS_BYTES:
            break
    return bytes(content)
