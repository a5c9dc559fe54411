"""Simulated customers: they come at random times, choose by taste, order, and sometimes change their mind."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from shop.operator.simulate.appetite import CANCEL_SHARE, Person, choose_restaurant, order_body
from shop.operator.simulate.figures import Figures
from shop.operator.simulate.open_orders import Orders
from shop.operator.simulate.shop_api import Account, RefusedError, ShopApi

KEPT_S = 30.0
"""How long the list of open restaurants and a menu are used before they are read again."""
MAX_RESTAURANTS = 100
MAX_ORDERING = 64
"""Customers that are ordering at the same time; more wait."""
PENDING_POLL_S, PENDING_FOR_S = 3.0, 960.0
CHANGE_OF_MIND_S = (3.0, 40.0)


@dataclass
class Market:
    """The open restaurants and their menus, as the pages show them."""

    api: ShopApi
    _kept: dict[str, tuple[float, Any]] = field(default_factory=dict)

    async def restaurants(self) -> list[dict[str, Any]]:
        answer = await self._read(f"/restaurants?open_now=true&limit={MAX_RESTAURANTS}")
        return list(answer["items"])

    async def menu(self, restaurant_id: str) -> dict[str, Any]:
        return dict(await self._read(f"/restaurants/{restaurant_id}/menu"))

    async def _read(self, path: str) -> Any:
        read_at, answer = self._kept.get(path, (0.0, None))
        if answer is None or time.monotonic() - read_at > KEPT_S:
            answer = await self.api.call("GET", path)
            self._kept[path] = time.monotonic(), answer
        return answer


@dataclass
class Customers:
    """``people`` order at random times, ``orders_per_minute`` together; a seed gives always the same sequence.

    ``sign_up`` makes the account of one of them, given by number and name, when it is first needed.
    """

    people: Sequence[Person]
    sign_up: Callable[[int, str], Coroutine[Any, Any, Account]]
    market: Market
    orders: Orders
    figures: Figures
    random: Random
    orders_per_minute: float
    max_orders: int
    country: str = ""
    _accounts: dict[int, asyncio.Task[Account]] = field(default_factory=dict)

    async def run(self) -> None:
        """Order until ``max_orders`` are placed or cancelled."""
        free = asyncio.Semaphore(MAX_ORDERING)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.max_orders):
                await asyncio.sleep(self.random.expovariate(self.orders_per_minute / 60))
                number = self.random.randrange(len(self.people))
                await free.acquire()
                task = group.create_task(self._order(number, Random(self.random.random())))
                task.add_done_callback(lambda _: free.release())

    async def owner_of(self, order_id: str, name: str) -> Account | None:
        """The account whose order it is, among the people of this name; an order of an earlier simulation has one."""
        for number, person in enumerate(self.people):
            if person.name == name:
                account = await self._account(number)
                with contextlib.suppress(RefusedError):
                    await account.call("GET", f"/deliveries/{order_id}")
                    return account
        return None

    async def _account(self, number: int) -> Account:
        """Made when it is first needed; a sign-up that was refused is tried again the next time."""
        if number not in self._accounts:
            self._accounts[number] = asyncio.create_task(self.sign_up(number, self.people[number].name))
        try:
            return await asyncio.shield(self._accounts[number])
        except RefusedError:
            self._accounts.pop(number, None)
            raise

    async def _order(self, number: int, random: Random) -> None:
        try:
            await self._place(await self._account(number), self.people[number], random)
        except RefusedError as refused:
            self.figures.refused[refused.code if refused.status else "no_answer"] += 1

    async def _place(self, account: Account, person: Person, random: Random) -> None:
        restaurants = await self.market.restaurants()
        chosen = choose_restaurant(random, restaurants, person, _hour(restaurants))
        if chosen is None or self.orders.full:
            self.figures.refused["no_open_restaurant" if chosen is None else "too_many_open_orders"] += 1
            return
        menu = await self.market.menu(chosen["id"])
        body = order_body(random, menu, person, self.country or chosen["address"]["country"])
        if body is None:
            self.figures.refused["nothing_on_the_menu"] += 1
            return
        self.figures.placed += 1
        order = await account.call("POST", "/orders", body, key=str(uuid.uuid4()))
        if await self._confirmed(account, order):
            await self.orders.confirmed(order["id"], account)
            if random.random() < CANCEL_SHARE:
                await self._cancel(account, order["id"], random)

    async def _confirmed(self, account: Account, order: dict[str, Any]) -> bool:
        """Whether the order is confirmed in the end; one that was answered 202 is looked at for a while."""
        until = time.monotonic() + PENDING_FOR_S
        while order["state"] == "pending" and time.monotonic() < until:
            await asyncio.sleep(PENDING_POLL_S)
            order = await account.call("GET", f"/orders/{order['id']}")
        if order["state"] in ("pending", "rejected", "cancelled"):
            self.figures.refused[str(order.get("reason") or order["state"])] += 1
            return False
        return True

    async def _cancel(self, account: Account, order_id: str, random: Random) -> None:
        await asyncio.sleep(random.uniform(*CHANGE_OF_MIND_S))
        try:
            await account.call("POST", f"/orders/{order_id}/cancel")
        except RefusedError as refused:
            self.figures.problems[f"cancel: {refused.code}"] += 1
        else:
            self.orders.cancelled(order_id)


def _hour(restaurants: list[dict[str, Any]]) -> int:
    """The hour of the day where the restaurants are."""
    zone = next((one["time_zone"] for one in restaurants if one.get("time_zone")), "Europe/London")
    return datetime.now(ZoneInfo(zone)).hour
