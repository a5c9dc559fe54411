"""Customers who order and browse at a fixed rate until they are stopped, and the outcome of every request."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from shop.devkit.testing import wait_until
from tests.integration.buyers import Answer, ends_as, insist, new_product, order
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import REQUEST_TIMEOUT_S, Shop, require_local

STOCK = 100_000
BUYERS = 8
ORDERS_PER_S = 6.0
PAGES_PER_S = 10.0
MAX_IN_FLIGHT = 500
READS_AT_ONCE = 8
"""Orders whose state is read at the same time."""
SETTLED_BEFORE = 10
SETTLE_TIMEOUT_S = 90.0
GOOD = frozenset({201, 202})
REST = 20
"""Orders placed after a rollout."""
MAX_PRINTED = 10
"""Failures of one kind that a test prints; all are counted."""


def fresh_connections(url: str) -> Shop:
    """A client that opens a connection per request, as many customers do, so that requests reach all pods."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    return Shop(require_local(url), aiohttp.ClientSession(connector=connector, timeout=timeout))


@dataclass
class Customers:
    """`failures` counts failed requests by kind."""

    timeline: Timeline
    api: Shop
    buyers: list[str]
    product_id: str
    insistent: bool
    answers: list[Answer] = field(default_factory=list)
    pages: int = 0
    failures: list[str] = field(default_factory=list)
    _in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    _number: int = 0

    def fail(self, kind: str) -> None:
        """Count a failure and print it at once, because an interrupted run prints no summary."""
        self.failures.append(kind)
        if self.failures.count(kind) <= MAX_PRINTED:
            print(f"failed at {self.timeline.now()}: {kind}", flush=True)

    async def buy(self) -> None:
        """One order; insistent customers repeat it until it gets a response, others count every error as a failure."""
        self._number += 1
        buyer = self.buyers[self._number % len(self.buyers)]
        try:
            answer = await (insist if self.insistent else order)(self.api, buyer, self.product_id)
        except (aiohttp.ClientError, TimeoutError, AssertionError, ValueError) as error:
            self.fail(f"order: {type(error).__name__}: {error}")
            return
        self.answers.append(answer)
        if answer.status not in GOOD:
            self.fail(f"order: {answer.status} {answer.code}")

    async def browse(self) -> None:
        """One product page's data."""
        try:
            async with self.api.session.get(f"{self.api.url}/api/v1/products/{self.product_id}") as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self.fail(f"page: {type(error).__name__}: {getattr(error, 'os_error', error)!r}")
            return
        self.pages += 1
        if status != 200:
            self.fail(f"page: {status}")

    async def keep_at(self, action: Callable[[], Awaitable[None]], per_s: float) -> None:
        """Start `action` at a fixed rate, however slow the responses are; never more than `MAX_IN_FLIGHT` at once."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if len(self._in_flight) < MAX_IN_FLIGHT:
                task = loop.create_task(_as_coroutine(action))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)
            due += 1 / per_s
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def finish(self) -> None:
        """Wait for the requests in flight; each has a timeout."""
        await asyncio.gather(*self._in_flight)

    async def more(self, count: int) -> None:
        """Wait for the responses to `count` more orders."""
        goal = len(self.answers) + count
        await wait_until(lambda: len(self.answers) >= goal, SETTLE_TIMEOUT_S, f"{count} more answered orders")

    async def outcomes(self) -> Counter[str]:
        """Final state of every acknowledged order, counted."""
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def outcome(answer: Answer) -> str:
            async with gate:
                return await ends_as(self.api, answer)

        acknowledged = (answer for answer in self.answers if answer.status in GOOD)
        return Counter(await asyncio.gather(*map(outcome, acknowledged)))


async def _as_coroutine(action: Callable[[], Awaitable[None]]) -> None:
    await action()


@contextlib.asynccontextmanager
async def shopping(
    timeline: Timeline, api: Shop, admin: str, *, insistent: bool = False, pages_per_s: float = PAGES_PER_S
) -> AsyncIterator[Customers]:
    """Customers during the block, entered once orders succeed; afterwards every request has its response."""
    product = await new_product(api, admin, STOCK)
    customers = Customers(timeline, api, await api.sign_up_many(BUYERS), product["id"], insistent)
    loops = [
        asyncio.create_task(customers.keep_at(customers.buy, ORDERS_PER_S)),
        asyncio.create_task(customers.keep_at(customers.browse, pages_per_s)),
    ]
    try:
        await customers.more(SETTLED_BEFORE)
        yield customers
        await customers.more(SETTLED_BEFORE)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await customers.finish()
