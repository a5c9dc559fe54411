"""The scripted restaurant and delivery services, and the food quotes of pricing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from services.storefront.tests.scripted_data import NOW, money, open_gate, page_of, product_id
from shop.kit.errors import Problem

if TYPE_CHECKING:
    from services.storefront.tests.scripted import ScriptedShop

OPENS_AT = "2026-03-05T18:00:00+00:00"
FOOD_TAX_PERCENT = 10
DELIVERY_FEE = 259
PAGE_WAIT_S = 30.0
CODE = "4711"


WEEKLY = (("friday", "11:30", "14:30"), ("friday", "18:00", "01:00"), ("saturday", "00:00", "24:00"))
SETTINGS: dict[str, Any] = {
    "acceptance": "automatic", "acceptance_deadline_s": 300, "kitchen_capacity": 20, "orders_in_work": 1,
    "base_preparation_s": 600, "time_zone": "Europe/London",
    "hours": {"weekly": [{"day": d, "opens": o, "closes": c} for d, o, c in WEEKLY], "special": []},
}  # fmt: skip
"""What the staff of every restaurant has set."""


def food_id(name: str) -> str:
    return product_id(f"food {name}")


def choice(name: str, price: int = 0) -> dict[str, Any]:
    return {"id": food_id(name), "name": name, "price": money(price)}


def item(name: str, price: int, **more: Any) -> dict[str, Any]:
    common = {"id": food_id(name), "name": name, "description": f"Our {name}.", "price": money(price)}
    return {**common, "category": "food", "available": True, "allergens": [], "options": [], **more}


def restaurant(name: str, cuisine: str, position: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        "id": food_id(name),
        "name": name,
        "cuisine": cuisine,
        "description": f"{name} cooks {cuisine} food.",
        "open": True,
        "position": {"lat": position[0], "lon": position[1]},
        "address": {"street": "1 Abbot Gate", "city": "Millbridge", "postal_code": "10117", "country": "DE"},
        "preparation_s": 900,
        "minimum_order": money(1000),
        **SETTINGS,
        **more,
    }


def restaurants() -> dict[str, dict[str, Any]]:
    found = [
        restaurant("Napoli", "pizza", (51.8991, -0.1994)),
        restaurant("Sakura", "sushi", (51.9020, -0.2030), minimum_order=money(0)),
        restaurant("Night Owl", "burgers", (51.8970, -0.1950), open=False, opens_at=OPENS_AT),
    ]
    return {one["id"]: one for one in found}


def menus() -> dict[str, list[dict[str, Any]]]:
    sizes = {"name": "Size", "min": 1, "max": 1, "choices": [choice("Small"), choice("Large", 300)]}
    extras = {
        "name": "Extras",
        "min": 0,
        "max": 2,
        "choices": [choice("Olives", 50), choice("Ham", 120), choice("Egg")],
    }
    pizzas = [item("Margherita", 900, allergens=["gluten", "milk"], options=[sizes, extras]), item("Calzone", 1100)]
    drinks = [item("Water", 250), item("Lemonade", 300, available=False)]
    return {
        food_id("Napoli"): [{"name": "Pizza", "items": pizzas}, {"name": "Drinks", "items": drinks}],
        food_id("Sakura"): [{"name": "Rolls", "items": [item("Maki", 700)]}],
        food_id("Night Owl"): [{"name": "Burgers", "items": [item("Burger", 1200)]}],
    }


@dataclass
class ScriptedFood:
    """``refuse`` is the Problem of the next food quotes, which wait while ``quotes`` is cleared."""

    restaurants: dict[str, dict[str, Any]] = field(default_factory=restaurants)
    menus: dict[str, list[dict[str, Any]]] = field(default_factory=menus)
    deliveries: dict[str, dict[str, Any]] = field(default_factory=dict)
    positions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refuse: Problem | None = None
    quotes: asyncio.Event = field(default_factory=open_gate)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listening: int = 0
    resumed_after: list[str] = field(default_factory=list)
    staff: dict[str, list[str]] = field(default_factory=dict)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    couriers: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)

    def etag(self, restaurant_id: str, part: str) -> str:
        """Of the restaurant's menu or hours."""
        return f'"{self.versions[f"{part} {restaurant_id}"]}"'

    def replace(self, request: Request, restaurant_id: str, part: str) -> None:
        """A new version, if the request names the present one."""
        if request.headers["if-match"] != self.etag(restaurant_id, part):
            raise Problem(412, "changed_meanwhile", "Somebody has changed this meanwhile. Read it again first.")
        self.versions[f"{part} {restaurant_id}"] += 1

    def works(self, user_id: str, restaurant_id: str) -> bool:
        return restaurant_id in self.staff.get(user_id, [])

    def find(self, restaurant_id: str, item_id: str) -> dict[str, Any] | None:
        items = [one for section in self.menus[restaurant_id] for one in section["items"]]
        return next((one for one in items if one["id"] == item_id), None)

    def quote(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.refuse:
            raise self.refuse
        lines = []
        for asked in body["items"]:
            found = self.find(body["restaurant_id"], asked["item_id"])
            if found is None or not found["available"]:
                raise Problem(409, "item_sold_out", "Sold out.", extra={"item_id": asked["item_id"]})
            choices = [one for option in found["options"] for one in option["choices"] if one["id"] in asked["choices"]]
            each = found["price"]["amount"] + sum(one["price"]["amount"] for one in choices)
            sums = {"unit_price": money(each), "line_total": money(each * asked["quantity"])}
            lines.append({**asked, "product_id": food_id(str(asked)), "name": found["name"], **sums})
        subtotal = sum(line["line_total"]["amount"] for line in lines)
        tip, tax = body["tip"]["amount"], subtotal * FOOD_TAX_PERCENT // 100
        amounts = {"subtotal": subtotal, "discount": 0, "tax": tax, "shipping": DELIVERY_FEE, "tip": tip}
        amounts["total"] = subtotal + tax + DELIVERY_FEE + tip
        return {"lines": lines, **{name: money(value) for name, value in amounts.items()}, "distance_m": 900}

    def restaurant_of(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self.restaurants[body["restaurant_id"]]
        return {"id": found["id"], "name": found["name"], "state": "accepted", "ready_at": None}

    def deliver(self, order_id: str, state: str = "waiting", **more: Any) -> None:
        """The delivery of an order has a new state; its streams are notified."""
        known = self.deliveries.get(order_id, {"history": [], "version": 0, "kitchen": "accepted"})
        ends = {"pickup": {"lat": 51.8991, "lon": -0.1994}, "dropoff": {"lat": 51.9030, "lon": -0.2060}}
        route = [ends["pickup"], {"lat": 51.9010, "lon": -0.2020}, ends["dropoff"]]
        fields = {"order_id": order_id, "courier": None, "eta": None, "position": None, "code": CODE, "route": route}
        changed = {**fields, **ends, **known, "state": state, "updated_at": NOW, **more}
        changed["version"] = known["version"] + 1
        changed["history"] = [*known["history"], {"state": more.get("kitchen", state), "at": NOW}]
        self.deliveries[order_id] = changed
        self.notify()

    def move(self, order_id: str, lat: float, lon: float) -> None:
        """The courier sends a position."""
        self.positions.setdefault(order_id, []).append({"lat": lat, "lon": lon, "at": NOW})
        self.deliveries[order_id]["position"] = {"lat": lat, "lon": lon}
        self.notify()

    def change_ticket(self, order_id: str, state: str) -> None:
        self.tickets[order_id] |= {"state": state, "version": self.tickets[order_id]["version"] + 1}
        self.notify()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """One more of the streams that are open."""
        self.listening += 1
        try:
            yield
        finally:
            self.listening -= 1

    async def events(self, order_id: str) -> AsyncIterator[str]:
        version, sent = -1, len(self.positions.get(order_id, []))
        with self.stream():
            while True:
                delivery, changed = self.deliveries[order_id], self.changed
                if delivery["version"] > version:
                    version = delivery["version"]
                    yield f"id: {version}\nevent: state\ndata: {json.dumps(delivery)}\n\n"
                for position in self.positions.get(order_id, [])[sent:]:
                    sent += 1
                    yield f"event: position\ndata: {json.dumps(position)}\n\n"
                if delivery["state"] in {"delivered", "failed", "cancelled"}:
                    return
                await asyncio.wait_for(changed.wait(), PAGE_WAIT_S)


def food_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.get("/api/v1/restaurants")
    async def restaurants(request: Request) -> dict[str, Any]:
        query = request.query_params
        found = [
            one
            for one in food.restaurants.values()
            if query.get("query", "").lower() in one["name"].lower()
            and query.get("cuisine", one["cuisine"]) == one["cuisine"]
            and (one["open"] or "open_now" not in query)
        ]
        return page_of(found, request)

    @app.get("/api/v1/restaurants/{restaurant_id}")
    async def one(restaurant_id: str, response: Response) -> dict[str, Any]:
        if restaurant_id not in food.restaurants:
            raise Problem(404, "unknown_restaurant", "There is no such restaurant.")
        response.headers["ETag"] = food.etag(restaurant_id, "hours")
        return {"closures": [], **food.restaurants[restaurant_id]}

    @app.get("/api/v1/restaurants/{restaurant_id}/menu")
    async def menu(restaurant_id: str, request: Request, response: Response) -> dict[str, Any]:
        found = await one(restaurant_id, response)
        staff = "authorization" in request.headers and food.works(shop.person_of(request).id, restaurant_id)
        if found.get("paused") and not staff:
            raise Problem(404, "restaurant_paused", "The restaurant takes no orders at the moment.")
        if not found["open"] and not staff:
            extra = {"opens_at": found["opens_at"]}
            raise Problem(404, "restaurant_closed", "The restaurant is closed.", extra=extra)
        response.headers["ETag"] = food.etag(restaurant_id, "menu")
        return {"restaurant": found, "sections": food.menus[restaurant_id]}

    @app.get("/api/v1/deliveries/{order_id}")
    async def delivery(order_id: str, request: Request) -> dict[str, Any]:
        shop.order_of(request, order_id)
        if order_id not in food.deliveries:
            raise Problem(404, "unknown_delivery", "There is no such delivery.")
        return food.deliveries[order_id]

    @app.get("/api/v1/deliveries/{order_id}/events")
    async def events(order_id: str, request: Request) -> Response:
        await delivery(order_id, request)
        food.resumed_after.append(request.headers.get("last-event-id", ""))
        return StreamingResponse(food.events(order_id), media_type="text/event-stream")
