"""Positions of couriers: taken at one per second and courier, stored in batches, and broadcast to all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import cachetools
import numpy as np
import orjson

from shop.delivery import metrics
from shop.delivery.courier_repository import CourierRepository, Fix
from shop.delivery.settings import Settings
from shop.kit.bus import Bus
from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.town import Position, Town

SUBJECT = "live.delivery.positions"
MAX_FIXES_PER_BATCH = 1_000
MAX_REMEMBERED = 20_000
"""Couriers whose last second is remembered, so that most duplicates are dropped without the database."""

Located = Mapping[UUID, tuple[Position, datetime]]


class Positions:
    """``seen`` is called with the positions that any replica has stored."""

    def __init__(
        self, settings: Settings, couriers: CourierRepository, town: Town, bus: Bus, clock: Clock, woken: asyncio.Event
    ) -> None:
        self._flush_s = settings.flush_s
        self._fix_max_age = timedelta(seconds=settings.fix_max_age_s)
        self._couriers = couriers
        self._bus = bus
        self._clock = clock
        self._woken = woken
        self._junctions = np.array(town.junctions)
        self._shrink = np.array([1.0, np.cos(np.radians(self._junctions[:, 0].mean()))])
        self._seconds: cachetools.LRUCache[UUID, int] = cachetools.LRUCache(MAX_REMEMBERED)
        self._unsent: dict[UUID, tuple[Position, datetime]] = {}
        self._filled = asyncio.Event()

    def add(self, courier_id: UUID, position: Position, at: datetime) -> bool:
        """Take a fix, to be stored within ``flush_s``; False for one that is not in a later second than the last.

        A phone's clock may be ahead: a fix of the future counts as one of now.
        """
        at = min(at, self._clock.now())
        second = int(at.timestamp())
        if second <= self._seconds.get(courier_id, -1):
            metrics.POSITIONS.labels("dropped").inc()
            return False
        self._seconds[courier_id] = second
        self._unsent[courier_id] = (position, at)
        self._filled.set()
        return True

    async def run(self) -> None:
        """Store and broadcast until cancelled."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(self._flush_s)
            await self.flush()

    async def flush(self) -> None:
        """Store what was taken; fixes that cannot be stored now are kept unless newer ones replace them."""
        self._filled.clear()
        while self._unsent:
            batch = {key: self._unsent.pop(key) for key in list(self._unsent)[:MAX_FIXES_PER_BATCH]}
            try:
                await self._store(batch)
            except Unavailable:
                self._unsent = batch | self._unsent
                self._filled.set()
                raise

    async def _store(self, batch: Located) -> None:
        junctions = self._nearest([position for position, _ in batch.values()])
        fixes: dict[UUID, Fix] = {
            courier_id: (position, junction, at)
            for (courier_id, (position, at)), junction in zip(batch.items(), junctions, strict=True)
        }
        stored = await self._couriers.store_positions(fixes)
        metrics.POSITIONS.labels("stored").inc(len(stored))
        metrics.POSITIONS.labels("dropped").inc(len(batch) - len(stored))
        oldest = self._clock.now() - self._fix_max_age
        if any(before is None or before < oldest for before in stored.values()):
            self._woken.set()
        if stored:
            await self._bus.broadcast(SUBJECT, _encode({courier_id: batch[courier_id] for courier_id in stored}))

    def _nearest(self, positions: list[Position]) -> list[int]:
        """The junction nearest to each position in a straight line."""
        apart = (np.array(positions)[:, None, :] - self._junctions[None, :, :]) * self._shrink
        return [int(index) for index in np.argmin(np.sum(apart**2, axis=2), axis=1)]

    async def listen(self, seen: Callable[[Located], None]) -> None:
        """Hand what any replica stored to ``seen``, until cancelled."""
        async for payload in self._bus.listen(SUBJECT):
            seen(_decode(payload))


def _encode(batch: Located) -> bytes:
    return orjson.dumps([[str(key), *position, at.isoformat()] for key, (position, at) in batch.items()])


def _decode(payload: bytes) -> dict[UUID, tuple[Position, datetime]]:
    return {UUID(key): (Position(lat, lon), datetime.fromisoformat(at)) for key, lat, lon, at in orjson.loads(payload)}
