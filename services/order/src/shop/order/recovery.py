"""Takes up the sagas that nobody is working on: their process died, or a participant was unavailable.

Every replica runs this loop. A claim is a lease; FOR UPDATE SKIP LOCKED keeps claimers out of each other's way, and
the fence in every later statement makes a worker that lost its lease harmless.
"""

from __future__ import annotations

import asyncio
import logging

from shop.kit import telemetry
from shop.kit.errors import Problem, Unavailable
from shop.order import metrics
from shop.order.driver import Driver, Run, Superseded
from shop.order.repository import OrderRepository
from shop.order.rows import Claimed
from shop.order.settings import Settings

log = logging.getLogger(__name__)

LEASE_MARGIN = 0.7
"""The part of a lease that an attempt may use; the rest is for storing what came of it."""
PARK_TIMEOUT_S = 2.0
MEASURE_EVERY_S = 5.0


class Recovery:
    def __init__(self, repository: OrderRepository, driver: Driver, settings: Settings) -> None:
        self._repository = repository
        self._driver = driver
        self._lease_s = settings.recovery_lease_s
        self._poll_s = settings.recovery_poll_s
        self._concurrency = settings.recovery_concurrency
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Claim and drive until cancelled; database trouble ends the loop, whose supervisor starts it again."""
        try:
            while True:
                if not await self.claim_once():
                    await asyncio.sleep(self._poll_s)
                elif len(self._running) >= self._concurrency:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def claim_once(self) -> int:
        """Start an attempt at each saga that is due, as many as there is room for; return how many."""
        room = self._concurrency - len(self._running)
        claimed = await self._repository.claim(room, self._lease_s) if room else []
        for saga in claimed:
            task = asyncio.create_task(self._attempt(saga))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(claimed)

    async def settle(self) -> None:
        """Wait for the attempts under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def measure(self) -> None:
        """Keep the gauges of waiting sagas up to date, for ever."""
        while True:
            await self.measure_once()
            await asyncio.sleep(MEASURE_EVERY_S)

    async def measure_once(self) -> None:
        metrics.waiting(await self._repository.waiting())

    async def close(self) -> None:
        """Cut the attempts short; each gives its saga back."""
        for task in self._running:
            task.cancel()
        await self.settle()

    async def _attempt(self, claimed: Claimed) -> None:
        telemetry.begin(claimed.traceparent)
        run = Run.resume(claimed)
        try:
            await self._bounded(run)
        except Superseded as error:
            log.info("another worker went on: %s", error)
        except (Unavailable, Problem, TimeoutError) as error:
            log.warning("order %s goes on when its lease ends: %s", claimed.order.id, error)
        except Exception:
            log.exception("order %s could not be driven on", claimed.order.id)

    async def _bounded(self, run: Run) -> None:
        try:
            async with asyncio.timeout(self._lease_s * LEASE_MARGIN):
                await self._driver.drive(run)
        except (TimeoutError, asyncio.CancelledError) as error:
            async with asyncio.timeout(PARK_TIMEOUT_S):
                await self._driver.park(run)
            if isinstance(error, asyncio.CancelledError):
                raise
