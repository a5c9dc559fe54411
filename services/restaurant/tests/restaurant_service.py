"""A running restaurant service and the requests of its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from shop.contracts.events import DeliveryChanged, DeliveryState, OrderConfirmed
from shop.contracts.money import Address, Money
from shop.contracts.restaurant import ACCEPT, PRICE, RELEASE, WITHDRAW
from shop.devkit.testing import INTERNAL_TOKEN, Tokens
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.events import EventData
from shop.kit.ids import new_id
from shop.restaurant import api, staff_api
from shop.restaurant.consumers import consumers
from shop.restaurant.hours import DAYS
from shop.restaurant.service import RestaurantService
from shop.restaurant.settings import Settings

PATH = "/api/v1/restaurants"
NOON = datetime(2026, 6, 5, 12, 0, tzinfo=UTC)
"""A Friday."""
NOTHING = Money(amount=0, currency="EUR")
HOME = Address(name="Ada", street="1 Mill Lane", city="Millbridge", postal_code="MB1", country="GB")
ADDRESS = {"street": "12 Mill Lane", "city": "Millbridge", "postal_code": "MB1 2AB", "country": "GB"}
ALL_DAY = [{"day": day, "opens": "00:00", "closes": "24:00"} for day in DAYS]
HELD = "SELECT r.held = (SELECT count(*) FROM tickets t WHERE t.restaurant_id = r.id AND t.state IN ('waiting', 'accepted', 'preparing')) FROM restaurants r WHERE r.id = $1"  # noqa: E501


def euros(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def menu() -> dict[str, Any]:
    """Soup without options; pizza in one of two sizes, with up to two toppings."""
    size = {"name": "Size", "min": 1, "max": 1, "choices": [_choice("small", 0), _choice("large", 300)]}
    toppings = {"name": "Toppings", "min": 0, "max": 2, "choices": [_choice(n, 100) for n in ("egg", "ham", "olives")]}
    pizza = {"name": "Pizza", "price": euros(900), "allergens": ["gluten", "milk"], "options": [size, toppings]}
    return {
        "sections": [
            {"name": "Food", "items": [{"name": "Soup", "price": euros(500)}, pizza]},
            {"name": "Drinks", "items": [{"name": "Beer", "price": euros(400), "category": "alcohol"}]},
        ]
    }


def _choice(name: str, price: int) -> dict[str, Any]:
    return {"name": name, "price": euros(price)}


@dataclass
class Kitchen:
    """A restaurant that the tests made."""

    service: RunningService
    id: UUID
    items: Mapping[str, dict[str, Any]]
    staff: dict[str, str]
    staff_id: UUID

    @property
    def path(self) -> str:
        return f"{PATH}/{self.id}"

    def line(self, name: str = "Soup", quantity: int = 1, choices: Sequence[str] = ()) -> dict[str, Any]:
        item = self.items[name]
        ids = {choice["name"]: choice["id"] for option in item["options"] for choice in option["choices"]}
        return {"item_id": item["id"], "quantity": quantity, "choices": [ids[choice] for choice in choices]}

    def request(self, order_id: UUID | None = None, lines: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        return {
            "order_id": str(order_id or new_id()),
            "restaurant_id": str(self.id),
            "lines": list(lines) or [self.line()],
            "user_id": str(new_id()),
            "customer_name": "Ada",
            "note": "no cutlery",
        }

    async def accept(self, order_id: UUID | None = None, lines: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        return (await self.service.accept(self.request(order_id, lines)))[0]

    async def price(self, *lines: dict[str, Any]) -> dict[str, Any]:
        return (await self.service.internal(PRICE.path, [self.request(lines=lines)]))[0]

    async def paid(self) -> UUID:
        """The order of an accepted ticket that the kitchen sees."""
        order = new_id()
        answer = await self.accept(order)
        assert answer["status"] == "accepted", answer
        await self.service.confirm(order)
        return order

    async def act(self, order_id: UUID, action: str, headers: dict[str, str] | None = None) -> httpx.Response:
        path = f"{self.path}/tickets/{order_id}/{action}"
        return await self.service.client.post(path, headers=headers or self.staff)

    async def tickets(self, **parameters: Any) -> list[dict[str, Any]]:
        answer = await self.service.client.get(f"{self.path}/tickets", params=parameters, headers=self.staff)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def change(self, **fields: Any) -> None:
        answer = await self.service.client.patch(self.path, json=fields, headers=self.staff)
        assert answer.status_code == 200, answer.text

    async def detail(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.service.client.get(self.path)).json()
        return found

    async def assert_load(self) -> None:
        """The load that the restaurant's row has is the number of its orders in work."""
        assert await self.service.database.fetchval(HELD, self.id)


@dataclass
class RunningService:
    """The service as its callers see it, its database, and the clock that it uses."""

    client: httpx.AsyncClient
    database: Database
    tokens: Tokens
    context: Context
    service: RestaurantService
    clock: FixedClock

    @property
    def admin(self) -> dict[str, str]:
        return self.tokens.headers("admin")

    async def restaurant(self, **changed: Any) -> Kitchen:
        """A new restaurant that is open day and night, with a member of its staff."""
        body = new_restaurant() | changed
        answer = await self.client.post(PATH, json=body, headers=self.admin)
        assert answer.status_code == 201, answer.text
        path = f"{PATH}/{answer.json()['id']}"
        person, token = self.tokens.customer()
        assert (await self.client.put(f"{path}/staff/{person.user_id}", headers=self.admin)).status_code == 204
        headers = {"Authorization": f"Bearer {token}"}
        document = (await self.client.get(f"{path}/menu", headers=headers)).json()
        items = {item["name"]: item for section in document["sections"] for item in section["items"]}
        return Kitchen(self, UUID(answer.json()["id"]), items, headers, person.user_id)

    async def internal(self, path: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
        answer = await self.client.post(path, json={"items": list(items)}, headers=headers)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def accept(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        return await self.internal(ACCEPT.path, requests)

    async def release(self, *orders: UUID) -> list[dict[str, Any]]:
        return await self.internal(RELEASE.path, [{"order_id": str(order)} for order in orders])

    async def withdraw(self, order_id: UUID, *, even_if_begun: bool = False) -> str:
        item = {"order_id": str(order_id), "even_if_begun": even_if_begun}
        return str((await self.internal(WITHDRAW.path, [item]))[0]["status"])

    async def confirm(self, *orders: UUID) -> None:
        """As the consumer does when the orders' event comes."""
        async with self.database.transaction() as connection:
            await self.service.kitchens.confirmed(connection, [confirmed(order) for order in orders])

    async def carry(self, *events: DeliveryChanged) -> None:
        async with self.database.transaction() as connection:
            await self.service.kitchens.carried(connection, events)

    async def state(self, order_id: UUID) -> str | None:
        state: str | None = await self.database.fetchval("SELECT state FROM tickets WHERE order_id = $1", order_id)
        return state

    async def published(self, order_id: UUID) -> list[tuple[str, int, str | None]]:
        """State, version and reason of the events of a ticket."""
        rows = await self.database.fetch("SELECT payload FROM outbox WHERE subject_id = $1 ORDER BY id", str(order_id))
        data = [httpx.Response(200, content=row["payload"]).json()["data"] for row in rows]
        return [(one["state"], one["version"], one["reason"]) for one in data]


def new_restaurant(**changed: Any) -> dict[str, Any]:
    return {
        "name": "The Copper Pan",
        "cuisine": "french",
        "address": ADDRESS,
        "time_zone": "UTC",
        "hours": {"weekly": ALL_DAY},
        "minimum_order": euros(1_000),
        "kitchen_capacity": 10,
        "preparation_s": 600,
        "menu": menu(),
    } | changed


def confirmed(order_id: UUID, **changed: Any) -> OrderConfirmed:
    fields = {
        "order_id": order_id,
        "user_id": new_id(),
        "email": "ada@example.com",
        "customer_name": "Ada",
        "kind": "food",
        "occurred_at": NOON,
        "lines": [],
        "subtotal": NOTHING,
        "discount": NOTHING,
        "tax": NOTHING,
        "shipping": NOTHING,
        "total": NOTHING,
        "address": HOME,
    }
    return OrderConfirmed.model_validate(fields | changed)


def delivery(order_id: UUID, state: DeliveryState, version: int, courier: str | None = "Bo") -> DeliveryChanged:
    return DeliveryChanged(
        order_id=order_id,
        user_id=new_id(),
        restaurant_id=new_id(),
        restaurant_name="The Copper Pan",
        state=state,
        version=version,
        courier_name=courier,
        vehicle="bicycle",
        occurred_at=NOON,
    )


async def send(service: RunningService, noun: str, *events: EventData) -> None:
    """Put events on the stream of the service ``noun``."""
    await service.context.bus.ensure_stream(noun)
    for one in events:
        row = outbox.row(one)
        await (await service.context.bus.publish(row.type, row.payload.encode(), str(row.event_id)))


def restaurant_app(settings: Settings, clock: FixedClock) -> FastAPI:
    async def build(context: Context) -> RestaurantService:
        context.clock = clock
        return await RestaurantService.build(context)

    return create_app(
        settings,
        title="Restaurants",
        routers=[staff_api.router, api.router, api.internal],
        build=build,
        consumers=consumers,
    )
