"""Simulated couriers: on shift, a position each second, and the buttons of the courier's page at the right time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from shop.operator.simulate.driving import HANDLING_S, Job, Press, Ride, Stop, departures, next_stop, presses
from shop.operator.simulate.figures import Figures
from shop.operator.simulate.open_orders import Orders
from shop.operator.simulate.shop_api import Account, RefusedError
from shop.town import town

TICK_S = 1.05
"""Between two positions: the shop takes at most one a second."""
MAX_MOVE_S = 5.0
"""A courier whose report took longer, on a busy machine, has waited meanwhile."""
JOBS_EVERY_S = 10.0
"""Jobs are read at least so often, even without an event."""
STREAM_PAUSE_S = 3.0
REST_S = (20.0, 90.0)
REJECT_SHARE = 0.02
MAX_JOBS = 50


@dataclass
class CourierWorker:
    """One courier. ``time_factor`` is how much faster than real they ride and handle bags."""

    account: Account
    ride: Ride
    random: Random
    orders: Orders
    figures: Figures
    time_factor: float = 1.0
    on_the_map: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the shop has the first position: from then on there can be jobs."""
    _jobs: list[Job] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: Stop | None = None
    _handled_at: float = 0.0
    _rests_until: float = 0.0
    _seen: set[str] = field(default_factory=set)
    _waiting: set[str] = field(default_factory=set)
    """At whose entrance no code was known: they come last."""

    async def run(self) -> None:
        """Work until cancelled; ends off shift."""
        await self.account.call("PATCH", "/couriers/me", {"on_shift": True})
        watching = asyncio.create_task(self._watch())
        try:
            await self._work()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def leave(self) -> None:
        """Off shift; what is not picked up goes to others."""
        await self.account.call("PATCH", "/couriers/me", {"on_shift": False})

    async def _watch(self) -> None:
        """Set `_changed` with each event; without a stream the regular reads remain."""
        while True:
            with contextlib.suppress(RefusedError):
                async for _ in self.account.api.events("/couriers/me/events", await self.account.token()):
                    self._changed.set()
            await asyncio.sleep(STREAM_PAUSE_S)

    def _idle(self, now: float) -> None:
        """Without a job, wait a while at each corner and ride on to a neighbouring one."""
        if self._jobs or not self.ride.stands or now < self._rests_until:
            return
        self._rests_until = now + self.random.uniform(*REST_S) / self.time_factor
        ways = town().ways_from(town().nearest(self.ride.position))
        self.ride.follow(self.random.choice(ways), self.random)

    async def _work(self) -> None:
        read_at, tick_at, moved_at = 0.0, time.monotonic(), time.monotonic()
        while True:
            now = time.monotonic()
            passed_s, moved_at = min(now - moved_at, MAX_MOVE_S), now
            try:
                if self._changed.is_set() or now - read_at > JOBS_EVERY_S:
                    self._changed.clear()
                    read_at = now
                    await self._read_jobs()
                self._idle(now)
                self.ride.advance(passed_s * self.time_factor)
                await self._report()
                await self._act(now)
            except RefusedError as refused:
                self.figures.problems[str(refused)] += 1
            tick_at = max(tick_at + TICK_S, time.monotonic())
            await asyncio.sleep(tick_at - time.monotonic())

    async def _read_jobs(self) -> None:
        self._jobs = (await self.account.call("GET", "/couriers/me/jobs"))["items"][:MAX_JOBS]
        stop = next_stop([job for job in self._jobs if job["order_id"] not in self._waiting]) or next_stop(self._jobs)
        if stop is None or self._stop is None or stop.position != self._stop.position:
            self._handled_at = 0.0
            self.ride.follow([*stop.route, stop.position] if stop else [], self.random)
        self._stop = stop
        self.orders.busy(self.account.user_id, bool(self._jobs))

    async def _report(self) -> None:
        fix = self.ride.fix(self.random)
        body = {"lat": fix.lat, "lon": fix.lon, "at": datetime.now(UTC).isoformat()}
        await self.account.call("POST", "/couriers/me/positions", body)
        self.figures.positions += 1
        self.on_the_map.set()

    async def _act(self, now: float) -> None:
        due = self._refusals() or departures(self._jobs)
        if not due and self._stop and self.ride.is_at(self._stop.position):
            due = presses(self._jobs, self._stop, self._handled(self._stop, now))
        for press in due:
            await self._press(press)

    def _refusals(self) -> list[Press]:
        """A few jobs are rejected, when they are first seen or not at all."""
        new = [job for job in self._jobs if job["order_id"] not in self._seen and "reject" in job.get("actions", ())]
        self._seen = {job["order_id"] for job in self._jobs}
        return [(job["order_id"], "reject") for job in new if self.random.random() < REJECT_SHARE]

    def _handled(self, stop: Stop, now: float) -> bool:
        """Whether the bag is handed over; the first time at a stop it is drawn how long that takes."""
        if not self._handled_at:
            least, most = HANDLING_S["pick-up" if stop.pickup else "deliver"]
            self._handled_at = now + self.random.uniform(least, most) / self.time_factor
        return now >= self._handled_at

    def _job(self, order_id: str) -> Job:
        return next((job for job in self._jobs if job["order_id"] == order_id), {})

    async def _press(self, press: Press) -> None:
        order_id, action = press
        self._changed.set()
        body: dict[str, Any] | None = None
        if action == "deliver":
            code = await self.orders.code(order_id, self._job(order_id).get("customer_name", ""))
            if code is None:
                self._waiting.add(order_id)
                return
            body = {"code": code}
        if action == "depart":
            self.orders.departed(order_id, self._job(order_id))
        await self.account.call("POST", f"/deliveries/{order_id}/{action}", body)
        self.figures.presses += 1
        if action == "deliver":
            self.orders.delivered(order_id, datetime.now(UTC))
