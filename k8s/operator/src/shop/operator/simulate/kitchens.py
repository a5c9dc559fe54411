"""Simulated staff: accepts by hand, begins, and says when the food is ready, where a kitchen does not go by itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from shop.operator.simulate.figures import Figures
from shop.operator.simulate.shop_api import Account, RefusedError

POLL_S = 2.0
DECIDES_S = (4.0, 25.0)
"""How long a new ticket lies before it is looked at."""
MAX_COOKING_S = 15.0
"""Faster than real speed, so that couriers ride within half a minute of the first order."""
MAX_TICKETS = 50
MAX_WAITING = 10_000
REFUSE_SHARE = 0.02


@dataclass
class Kitchen:
    """One restaurant's staff. ``time_factor`` is how much faster than the menu says it cooks."""

    account: Account
    restaurant_id: str
    random: Random
    figures: Figures
    time_factor: float = 1.0
    _due: dict[tuple[str, str], float] = field(default_factory=dict)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                page = await self.account.call("GET", f"{self._tickets}?limit={MAX_TICKETS}")
                for ticket in page["items"]:
                    await self._work(ticket)
            except RefusedError as refused:
                self.figures.problems[f"kitchen: {refused}"] += 1
            await asyncio.sleep(POLL_S)

    @property
    def _tickets(self) -> str:
        return f"/restaurants/{self.restaurant_id}/tickets"

    async def _work(self, ticket: dict[str, Any]) -> None:
        action = next_action(ticket)
        if action is None:
            return
        key = ticket["order_id"], action
        if key not in self._due:
            if len(self._due) >= MAX_WAITING:
                self._due.clear()
            self._due[key] = time.monotonic() + wait_s(self.random, ticket, action, datetime.now(UTC), self.time_factor)
        if time.monotonic() < self._due[key]:
            return
        del self._due[key]
        if action == "accept" and self.random.random() < REFUSE_SHARE:
            action = "reject"
        await self.account.call("POST", f"{self._tickets}/{ticket['order_id']}/{action}")
        self.figures.presses += 1


def next_action(ticket: dict[str, Any]) -> str | None:
    """What the kitchen does next with a ticket; None when it has to wait or is done."""
    if ticket["state"] == "accepted":
        return "begin" if ticket.get("paid") else None
    return {"waiting": "accept", "preparing": "ready"}.get(ticket["state"])


def wait_s(random: Random, ticket: dict[str, Any], action: str, now: datetime, time_factor: float) -> float:
    """Seconds until the staff does it: cooking ends about when it was promised, a little early or late."""
    if action != "ready":
        return random.uniform(*DECIDES_S) / time_factor
    ready_at = ticket.get("ready_at")
    left_s = (datetime.fromisoformat(ready_at) - now).total_seconds() if ready_at else 0.0
    cooking_s = max(0.0, left_s * random.uniform(0.85, 1.15)) / time_factor
    return cooking_s if time_factor == 1 else min(cooking_s, MAX_COOKING_S)
