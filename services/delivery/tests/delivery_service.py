"""A running delivery service, and the couriers and orders of its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from shop.contracts.events import TicketChanged, TicketState
from shop.delivery import api, consumers, internal
from shop.delivery.service import DeliveryService
from shop.delivery.settings import Settings
from shop.devkit.testing import INTERNAL_TOKEN, Tokens, wait_until
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.auth import Principal
from shop.kit.clock import Clock, FixedClock
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.town import Position, town

HOME = "12 Mill Lane"
"""An address of the town."""

NEVER_ABOVE_CAPACITY = """
SELECT c.user_id FROM couriers c LEFT JOIN deliveries d ON d.courier_id = c.user_id
    AND d.state IN ('held', 'assigned', 'at_restaurant', 'picked_up', 'on_the_way')
GROUP BY c.user_id HAVING count(d.order_id) <> c.load OR c.load > c.capacity"""
TOLD_ONCE = """
SELECT d.order_id FROM deliveries d LEFT JOIN delivery_transitions t USING (order_id)
GROUP BY d.order_id HAVING count(t.version) <> d.version OR coalesce(max(t.version), 0) <> d.version
UNION ALL
SELECT d.order_id FROM deliveries d LEFT JOIN outbox o ON o.subject_id = d.order_id::text
GROUP BY d.order_id HAVING count(o.id) <> d.version"""


def corner(number: int) -> Position:
    """A junction of the town."""
    return town().junctions[number]


def home(number: int = 0) -> dict[str, str]:
    """One of the town's addresses."""
    streets = town().streets()
    street = streets[number % len(streets)]
    houses = town().house_numbers(street)
    house = houses[(number // len(streets)) % len(houses)]
    return {"name": "Ada", "street": f"{house} {street}", "city": "", "postal_code": "", "country": "GB"}


@dataclass
class Rider:
    """A courier with their token."""

    user: Principal
    headers: dict[str, str]
    service: RunningService

    @property
    def id(self) -> UUID:
        return self.user.user_id

    async def shift(self, on_shift: bool = True) -> dict[str, Any]:
        path = "/api/v1/couriers/me"
        courier: dict[str, Any] = await self.service.call("PATCH", path, self.headers, {"on_shift": on_shift})
        return courier

    async def at(self, position: Position, seconds: float = 0) -> None:
        """Report a position, as if ``seconds`` later, and have it stored."""
        when = (self.service.clock.now() + timedelta(seconds=seconds)).isoformat()
        body = {"lat": position.lat, "lon": position.lon, "at": when}
        answer = await self.service.client.post("/api/v1/couriers/me/positions", json=body, headers=self.headers)
        assert answer.status_code == 204, answer.text
        await self.service.app.state.service.positions.flush()

    async def jobs(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.service.call("GET", "/api/v1/couriers/me/jobs", self.headers))[
            "items"
        ]
        return items

    async def does(self, order: UUID, action: str, code: str | None = None) -> httpx.Response:
        path = f"/api/v1/deliveries/{order}/{action}"
        body = None if code is None else {"code": code}
        return await self.service.client.post(path, json=body, headers=self.headers)


@dataclass
class Order:
    id: UUID = field(default_factory=new_id)
    user_id: UUID = field(default_factory=new_id)
    restaurant_id: UUID = field(default_factory=new_id)
    pickup: Position = field(default_factory=lambda: corner(0))
    address: dict[str, str] = field(default_factory=home)
    ready_in_s: float = 300

    def request(self, now: datetime) -> dict[str, Any]:
        return {
            "order_id": str(self.id),
            "user_id": str(self.user_id),
            "restaurant_id": str(self.restaurant_id),
            "restaurant_name": "Luigi's",
            "pickup": {"lat": self.pickup.lat, "lon": self.pickup.lon},
            "address": self.address,
            "ready_at": (now + timedelta(seconds=self.ready_in_s)).isoformat(),
        }


@dataclass
class RunningService:
    """The service as its callers see it, and its database."""

    client: httpx.AsyncClient
    app: FastAPI
    database: Database
    tokens: Tokens
    clock: FixedClock

    @property
    def admin(self) -> dict[str, str]:
        return self.tokens.headers("admin")

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    async def call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
        answer = await self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def courier(self, vehicle: str = "bike", at: Position | None = None, name: str = "Ines") -> Rider:
        """A new courier; on shift with a fresh fix if there is a position."""
        user, token = self.tokens.customer()
        rider = Rider(user, {"Authorization": f"Bearer {token}"}, self)
        path = f"/api/v1/couriers/{user.user_id}"
        await self.call("PUT", path, self.admin, {"name": name, "vehicle": vehicle})
        if at is not None:
            await rider.shift()
            await rider.at(at)
        return rider

    async def reserve(self, *orders: Order) -> list[dict[str, Any]]:
        return await self.internal("/internal/reservations", [order.request(self.clock.now()) for order in orders])

    async def assign(self, *orders: Order) -> list[dict[str, Any]]:
        return await self.internal("/internal/assignments", [{"order_id": str(order.id)} for order in orders])

    async def release(self, *orders: Order) -> list[dict[str, Any]]:
        return await self.internal("/internal/reservations/release", [{"order_id": str(one.id)} for one in orders])

    async def live(self, order: Order | None = None) -> Order:
        """A paid order's delivery."""
        order = order or Order()
        [reserved] = await self.reserve(order)
        assert reserved["status"] == "reserved", reserved
        [assigned] = await self.assign(order)
        assert assigned["status"] == "assigned", assigned
        return order

    async def internal(self, path: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
        answer = await self.client.post(path, json={"items": items}, headers=headers)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def delivery(self, order: Order) -> dict[str, Any]:
        """As an administrator sees it."""
        document: dict[str, Any] = await self.call("GET", f"/api/v1/deliveries/{order.id}", self.admin)
        return document

    async def row(self, order: Order) -> dict[str, Any]:
        found = await self.database.fetchrow("SELECT * FROM deliveries WHERE order_id = $1", order.id)
        assert found is not None
        return dict(found)

    async def has_courier(self, order: Order, rider: Rider) -> bool:
        return bool((await self.row(order))["courier_id"] == rider.id)

    async def code(self, order: Order) -> str:
        return str((await self.row(order))["code"])

    async def kitchen(self, order: Order, state: TicketState, version: int = 2, ready_in_s: float = 0) -> None:
        """Have the kitchen's change consumed."""
        event = TicketChanged(
            order_id=order.id,
            user_id=order.user_id,
            restaurant_id=order.restaurant_id,
            restaurant_name="Luigi's",
            state=state,
            version=version,
            ready_at=self.clock.now() + timedelta(seconds=ready_in_s),
            occurred_at=self.clock.now(),
        )
        await self.publish(event)
        kitchen = "SELECT kitchen_version >= $2 FROM deliveries WHERE order_id = $1"
        await wait_until(lambda: self.database.fetchval(kitchen, order.id, version), what="the ticket's event")

    async def publish(self, event: TicketChanged) -> None:
        bus = self.context.bus
        await wait_until(lambda: bus.connected)
        await bus.ensure_stream("restaurant")
        row = outbox.row(event)
        await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))

    async def check(self) -> None:
        """One pass of the loop that looks after couriers and the line."""
        await self.app.state.service.work._check()

    async def assert_sound(self) -> None:
        """Loads are what is carried, no courier is above capacity, and each change was told once."""
        assert await self.database.fetch(NEVER_ABOVE_CAPACITY) == []
        assert await self.database.fetch(TOLD_ONCE) == []


def delivery_app(settings: Settings, clock: Clock) -> FastAPI:
    def build(context: Context) -> DeliveryService:
        context.clock = clock
        return DeliveryService.build(context)

    return create_app(
        settings,
        title="Delivery",
        routers=[api.couriers, api.deliveries, internal.router],
        build=build,
        consumers=consumers.consumers,
    )


NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
