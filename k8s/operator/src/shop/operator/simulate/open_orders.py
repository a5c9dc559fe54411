"""The orders of the simulation: who placed them, what was promised, and the code that the customer tells."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shop.operator.simulate.figures import Figures
from shop.operator.simulate.shop_api import Account, RefusedError

MAX_OPEN = 5_000
CODE = re.compile(r"[0-9]{4}")


Owner = Callable[[str, str], Awaitable[Account | None]]
"""The account of the customer of this name whose order it is; None when it is none of the simulation's."""


@dataclass
class OpenOrder:
    customer: Account
    promised: str | None = None
    promised_at_departure: str | None = None


class Orders:
    """Open orders by id, at most `MAX_OPEN`.

    ``ask`` is shown to a person once for each order of somebody else whose courier is at the entrance: only they know
    the code, and `tell` takes it.
    """

    def __init__(self, figures: Figures, ask: Callable[[str], None]) -> None:
        self._figures = figures
        self._ask = ask
        self._asked: set[str] = set()
        self._told: list[str] = []
        self.owner: Owner | None = None
        self._open: dict[str, OpenOrder] = {}
        self._busy: set[str] = set()

    @property
    def full(self) -> bool:
        return len(self._open) >= MAX_OPEN

    def open(self) -> dict[str, OpenOrder]:
        return dict(self._open)

    async def confirmed(self, order_id: str, customer: Account) -> None:
        """Count it and read when it is to arrive."""
        self._figures.confirmed += 1
        self._open[order_id] = OpenOrder(customer)
        delivery = await customer.call("GET", f"/deliveries/{order_id}")
        self._open[order_id].promised = delivery.get("eta")

    def departed(self, order_id: str, job: dict[str, Any]) -> None:
        if order_id in self._open:
            self._open[order_id].promised_at_departure = job.get("eta")

    async def code(self, order_id: str, customer_name: str) -> str | None:
        """What the customer tells at the entrance; None for an order of somebody else who has not told it."""
        order = self._open.get(order_id) or await self._of_earlier_run(order_id, customer_name)
        if order is not None:
            return str((await order.customer.call("GET", f"/deliveries/{order_id}"))["code"])
        if order_id not in self._asked:
            self._asked.add(order_id)
            self._figures.of_others += 1
            self._ask(f"A courier is at the entrance with an order of yours, {order_id}: type its code here")
        return self._told.pop() if self._told else None

    async def _of_earlier_run(self, order_id: str, customer_name: str) -> OpenOrder | None:
        """An order that a simulation left behind: its customer is asked for, once."""
        if order_id in self._asked or self.owner is None:
            return None
        customer = await self.owner(order_id, customer_name)
        if customer is None:
            return None
        self._open[order_id] = OpenOrder(customer)
        return self._open[order_id]

    def tell(self, line: str) -> None:
        """A code that a person typed; anything else is ignored."""
        if CODE.fullmatch(line.strip()):
            self._told = [line.strip()]

    def delivered(self, order_id: str, at: datetime) -> None:
        order = self._open.pop(order_id, None)
        if order is None:
            return
        self._figures.delivered += 1
        self._figures.arrived("confirmed", order.promised, at)
        self._figures.arrived("departed", order.promised_at_departure, at)

    def cancelled(self, order_id: str) -> None:
        if self._open.pop(order_id, None):
            self._figures.cancelled += 1

    def busy(self, courier_id: str, has_jobs: bool) -> None:
        (self._busy.add if has_jobs else self._busy.discard)(courier_id)
        self._figures.busy = len(self._busy)

    async def look_up(self) -> None:
        """Count the open orders that ended without their courier: cancelled by the restaurant or for want of one."""
        for order_id, order in self.open().items():
            try:
                state = (await order.customer.call("GET", f"/orders/{order_id}"))["state"]
            except RefusedError:
                continue
            if state in ("cancelled", "rejected"):
                self.cancelled(order_id)
