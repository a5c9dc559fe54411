"""Runs the simulation: makes the accounts, starts everybody, prints figures, and ends with all couriers off shift."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from shop.operator.simulate import appetite, driving
from shop.operator.simulate.couriers import CourierWorker
from shop.operator.simulate.customers import Customers, Market
from shop.operator.simulate.figures import Figures
from shop.operator.simulate.kitchens import Kitchen
from shop.operator.simulate.open_orders import Orders
from shop.operator.simulate.shop_api import Account, RefusedError, ShopApi, password_of, shop_api
from shop.town import Town, town
from shop.town.geometry import Plane

MAX_COURIERS, MAX_ORDERS_PER_MINUTE, MAX_MINUTES, MAX_TIME_FACTOR = 500, 600.0, 1_440.0, 60.0
MAX_KITCHENS = 100
CUSTOMERS_PER_ORDER = 2
"""Customers for each order per minute."""
MIN_CUSTOMERS, MAX_CUSTOMERS = 10, 400
REPORT_EVERY_S = 10.0
LOOK_UP_EVERY_S = 60.0
SIGN_UPS_AT_ONCE = 4
STOP_TIMEOUT_S = 30.0
ON_THE_MAP_TIMEOUT_S = 20.0
DOMAIN = "fleet.example.com"
ORDER_S = 480.0
"""Of a courier's time for one order, on average, when some of them share a trip."""


def fitting_time_factor(couriers: int, orders_per_minute: float) -> float:
    """How fast time has to run so that so many couriers bring so many orders; 1 is real."""
    needed = orders_per_minute / 60 * ORDER_S / couriers
    return round(min(MAX_TIME_FACTOR, max(1.0, needed)), 1)


@dataclass(frozen=True)
class Plan:
    """``country`` is that of the customers' addresses; empty is the restaurant's.

    ``drain_s``: how long couriers go on after the last order, at most, until all is delivered.
    """

    url: str
    admin_email: str
    admin_password: str
    couriers: int = 20
    orders_per_minute: float = 30.0
    minutes: float = 60.0
    seed: int = 1
    time_factor: float = 1.0
    country: str = ""
    max_orders: int = 100_000
    drain_s: float = 1_800.0


class Fleet:
    def __init__(self, plan: Plan, api: ShopApi, write: Callable[[str], None]) -> None:
        self._plan, self._api, self._write = plan, api, write
        self._admin = Account(api, plan.admin_email, plan.admin_password)
        self._town: Town = town()
        self._slots = asyncio.Semaphore(SIGN_UPS_AT_ONCE)
        self.figures = Figures()
        self._orders = Orders(self.figures, write)
        self._couriers: list[CourierWorker] = []
        self._started = time.monotonic()

    async def run(self, stopped: asyncio.Event) -> None:
        """Until the time is over, all orders are placed and delivered, or ``stopped`` is set."""
        market = Market(self._api)
        restaurants = await self._restaurants()
        self._couriers = await self._gathered(self._courier, self._plan.couriers)
        customers = self._customers(market, restaurants)
        self._orders.owner = customers.owner_of
        kitchens = await self._kitchens(restaurants)
        self.figures.couriers = len(self._couriers)
        self._write(
            f"{len(self._couriers)} couriers, {len(customers.people)} customers, {len(kitchens)} kitchens by hand;"
            f" {self._plan.orders_per_minute:g} orders a minute; {self._plan.time_factor:g} times as fast as real"
        )
        self._started = time.monotonic()
        workers = [asyncio.create_task(one.run()) for one in self._couriers]
        workers += [asyncio.create_task(one.run()) for one in kitchens]
        workers += [asyncio.create_task(self._report()), asyncio.create_task(self._look_up())]
        ordering = asyncio.create_task(self._order(customers))
        try:
            with self._codes_from_terminal():
                await self._until_over(ordering, stopped, workers)
        finally:
            await self._end([ordering, *workers])

    async def _order(self, customers: Customers) -> None:
        """Begin once the couriers are on the map, so that the first customers are not refused for want of one."""
        with contextlib.suppress(TimeoutError):
            on_the_map = (courier.on_the_map.wait() for courier in self._couriers)
            await asyncio.wait_for(asyncio.gather(*on_the_map), ON_THE_MAP_TIMEOUT_S)
        await customers.run()

    @contextlib.contextmanager
    def _codes_from_terminal(self) -> Iterator[None]:
        """Codes of people who order in the same shop and watch are typed into the terminal, if there is one."""
        if not sys.stdin or not sys.stdin.isatty():
            yield
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, lambda: self._orders.tell(sys.stdin.readline()))
        try:
            yield
        finally:
            loop.remove_reader(sys.stdin)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def _until_over(
        self, ordering: asyncio.Task[None], stopped: asyncio.Event, workers: Sequence[asyncio.Task[None]]
    ) -> None:
        waiting = asyncio.create_task(stopped.wait())
        try:
            left = max(0.0, self._plan.minutes * 60 - self.seconds)
            await asyncio.wait([ordering, waiting, *workers], timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in (ordering, *workers):
                if task.done():
                    task.result()
            ordering.cancel()
            until = time.monotonic() + self._plan.drain_s
            while self._orders.open() and not stopped.is_set() and time.monotonic() < until:
                await asyncio.wait([waiting], timeout=1.0)
        finally:
            waiting.cancel()

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leaving = asyncio.gather(*(self._limited(one.leave()) for one in self._couriers), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            left = await asyncio.wait_for(leaving, STOP_TIMEOUT_S)
            if failed := sum(isinstance(one, Exception) for one in left):
                self.figures.problems["couriers still on shift"] = failed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._orders.look_up(), STOP_TIMEOUT_S)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self._write(self.figures.line(self.seconds))

    async def _look_up(self) -> None:
        while True:
            await asyncio.sleep(LOOK_UP_EVERY_S)
            await self._orders.look_up()

    async def _gathered[T](self, make: Callable[[int], Coroutine[Any, Any, T]], count: int) -> list[T]:
        return list(await asyncio.gather(*(self._limited(make(number)) for number in range(count))))

    async def _limited[T](self, work: Coroutine[Any, Any, T]) -> T:
        async with self._slots:
            return await work

    async def _account(self, kind: str, number: int, name: str) -> Account:
        email = f"{kind}-{number + 1:03}@{DOMAIN}"
        account = Account(self._api, email, password_of(self._plan.admin_password, email))
        await account.sign_up(name)
        return account

    def _random(self, kind: str, number: int) -> Random:
        return Random(f"{self._plan.seed}/{kind}/{number}")

    async def _courier(self, number: int) -> CourierWorker:
        random = self._random("courier", number)
        vehicle = driving.vehicle_of(random)
        name = f"{random.choice(appetite.FIRST_NAMES)} {random.choice(appetite.LAST_NAMES)[0]}."
        account = await self._account("courier", number, name)
        await self._admin.call("PUT", f"/couriers/{account.user_id}", {"name": name, "vehicle": vehicle})
        start = random.choice(self._town.junctions)
        ride = driving.Ride(start, vehicle, random.uniform(0.92, 1.1), Plane(self._town.junctions[0]))
        return CourierWorker(account, ride, random, self._orders, self.figures, self._plan.time_factor)

    async def _restaurants(self) -> list[dict[str, Any]]:
        answer = await self._api.call("GET", f"/restaurants?limit={MAX_KITCHENS}")
        return list(answer["items"])

    def _customers(self, market: Market, restaurants: list[dict[str, Any]]) -> Customers:
        count = round(self._plan.orders_per_minute * CUSTOMERS_PER_ORDER)
        cuisines = [one["cuisine"] for one in restaurants]

        people = [
            appetite.person(self._random("customer", number), self._town, cuisines)
            for number in range(min(MAX_CUSTOMERS, max(MIN_CUSTOMERS, count)))
        ]
        return Customers(
            people,
            lambda number, name: self._limited(self._account("customer", number, name)),
            market,
            self._orders,
            self.figures,
            self._random("orders", 0),
            self._plan.orders_per_minute,
            self._plan.max_orders,
            self._plan.country,
        )

    async def _kitchens(self, restaurants: list[dict[str, Any]]) -> list[Kitchen]:
        """Those that accept by hand or do not go by themselves; all when time runs faster."""
        details = [await self._api.call("GET", f"/restaurants/{one['id']}") for one in restaurants]
        by_hand = [
            one
            for one in details
            if self._plan.time_factor > 1 or one.get("acceptance") == "manual" or not one.get("auto_progress", True)
        ]
        if not by_hand:
            return []
        account = await self._account("kitchen", 0, "Kitchen staff")
        kitchens = []
        for number, one in enumerate(by_hand):
            await self._admin.call("PUT", f"/restaurants/{one['id']}/staff/{account.user_id}")
            random = self._random("kitchen", number)
            kitchens.append(Kitchen(account, one["id"], random, self.figures, self._plan.time_factor))
        return kitchens


async def simulate(plan: Plan, write: Callable[[str], None]) -> dict[str, Any]:
    """Run it and return the figures; SIGINT and SIGTERM end it cleanly. RefusedError when the shop cannot be used."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with shop_api(plan.url) as api:
            fleet = Fleet(plan, api, write)
            await fleet.run(stopped)
            for line in fleet.figures.closing(plan.time_factor):
                write(line)
            return fleet.figures.document(fleet.seconds)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def reason(error: RefusedError, url: str) -> str:
    """For people: why the simulation could not begin."""
    if error.status == 0:
        return f"{url} does not answer ({error.code}); does the shop run?"
    if error.code in ("invalid_credentials", "unauthorized") or error.status == 401:
        return f"{url} refuses the administrator's password"
    return f"{url} answers {error}; is the module `food` on?"
