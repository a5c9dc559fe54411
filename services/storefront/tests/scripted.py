"""The services behind the storefront, scripted: real HTTP, state in memory, responses that a test can change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid5

import jwt
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from services.storefront.tests.scripted_accounts import (
    address_routes,
    deletion_routes,
    message_routes,
    recommendation_routes,
    user_routes,
)
from services.storefront.tests.scripted_arcade import (
    ScriptedArcade,
    achievement_routes,
    friend_routes,
    leaderboard_routes,
    player_routes,
    profile_routes,
    round_routes,
)
from services.storefront.tests.scripted_data import NAMESPACE, NOW, Person, books, money, open_gate, page_of
from services.storefront.tests.scripted_food import ScriptedFood, food_routes
from services.storefront.tests.scripted_staff import (
    courier_routes,
    courier_step_routes,
    kitchen_routes,
    kitchen_setting_routes,
    staff_routes,
    town_routes,
)
from shop.kit.errors import Problem, install_error_handlers
from shop.kit.observe import Observe

TOKEN_KEY = "signatures are not verified by the storefront"
TAX_PERCENT = 7
SHIPPING = 490
PAGE_WAIT_S = 30.0


@dataclass
class ScriptedShop:
    """`down` names services, or last segments of their paths, that answer 503; `refuse` is the Problem of the next
    orders; `calls` are the requests. Lists of products wait while `product_lists` is cleared, and requests to a service
    that has a gate until it is set. `own_coupons` are the addresses of those who alone can use a code."""

    products: dict[str, dict[str, Any]] = field(default_factory=books)
    people: dict[str, Person] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    promotions: dict[str, dict[str, Any]] = field(default_factory=dict)
    own_coupons: dict[str, str] = field(default_factory=dict)
    payments: list[dict[str, Any]] = field(default_factory=list)
    refunds: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    previews: dict[str, dict[str, Any]] = field(default_factory=dict)
    sort_parameters: list[str] = field(default_factory=list)
    order_requests: list[tuple[str, str]] = field(default_factory=list)
    stock_keys: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    product_lists: asyncio.Event = field(default_factory=open_gate)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    refuse: Problem | None = None
    address_refusal: Problem | None = None
    refund_refusal: Problem | None = None
    cancel_refusal: Problem | None = None
    sign_in_refusal: Problem | None = None
    in_flight_answers: int = 0
    free_shipping_from: int | None = None
    order_state: str = "confirmed"
    token_ttl_s: int = 900
    refreshed: int = 0
    refresh_refused: bool = False
    tokens_revoked: bool = False
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listening: int = 0
    food: ScriptedFood = field(default_factory=ScriptedFood)
    arcade: ScriptedArcade = field(default_factory=ScriptedArcade)

    def person_of(self, request: Request) -> Person:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, "revoked" * 5 if self.tokens_revoked else TOKEN_KEY, ["HS256"])
        except jwt.PyJWTError:
            raise Problem(401, "invalid_token", "The access token is not valid.") from None
        return self.people[claims["email"]]

    def admin_of(self, request: Request) -> Person:
        person = self.person_of(request)
        if person.role != "admin":
            raise Problem(403, "admin_only", "Only an administrator may do this.")
        return person

    def tokens(self, person: Person) -> dict[str, Any]:
        now = int(time.time())
        claims = {"sub": person.id, "role": person.role, "email": person.email, "name": person.name}
        access = jwt.encode({**claims, "iat": now, "exp": now + self.token_ttl_s}, TOKEN_KEY, "HS256")
        return {
            "access_token": access,
            "refresh_token": f"refresh:{person.email}",
            "token_type": "Bearer",
            "expires_in": self.token_ttl_s,
        }

    def quote(self, items: list[dict[str, Any]], coupon: str = "") -> dict[str, Any]:
        if coupon and coupon.upper() != "SPRING10":
            raise Problem(422, "unknown_coupon", "There is no such coupon.")
        lines = []
        for item in items:
            if item["product_id"] not in self.products:
                raise Problem(404, "unknown_product", "There is no such product.")
            price = self.products[item["product_id"]]["price"]["amount"]
            name = self.products[item["product_id"]]["name"]
            sums = {"unit_price": money(price), "line_total": money(price * item["quantity"]), "name": name}
            lines.append({**item, **sums})
        subtotal = sum(line["line_total"]["amount"] for line in lines)
        discount = subtotal // 10 if coupon else 0
        tax = (subtotal - discount) * TAX_PERCENT // 100
        limit = self.free_shipping_from
        shipping = 0 if limit is not None and subtotal - discount >= limit else SHIPPING
        sums = {"subtotal": subtotal, "discount": discount, "tax": tax, "shipping": shipping}
        sums["total"] = subtotal - discount + tax + shipping
        lost = limit is not None and subtotal >= limit and shipping > 0
        free = {"free_shipping_from": limit if limit is None else money(limit), "free_shipping_lost": lost}
        return {"lines": lines, **{name: money(value) for name, value in sums.items()}, **free}

    def place(self, person: Person, key: str, body: dict[str, Any]) -> dict[str, Any]:
        if key in self.keys:
            seen, order = self.keys[key]
            if seen != body:
                raise Problem(422, "idempotency_key_reused", "This Idempotency-Key was used for another order.")
            return order
        if self.in_flight_answers:
            self.in_flight_answers -= 1
            raise Problem(409, "idempotency_key_in_flight", "Still being worked on.")
        if self.refuse:
            raise self.refuse
        order = self.make_order(person, body, str(uuid5(NAMESPACE, f"order {len(self.orders)}")))
        self.keys[key] = (body, order)
        return order

    def make_order(self, person: Person, body: dict[str, Any], order_id: str) -> dict[str, Any]:
        is_food = body.get("kind") == "food"
        quote = self.food.quote(body) if is_food else self.quote(body["items"], body.get("coupon", ""))
        expected = body.get("expected_total")
        if expected not in (None, quote["total"]):
            extra = {"expected_total": expected, "total": quote["total"]}
            raise Problem(409, "price_changed", "The total is not the expected one.", extra=extra)
        order = {
            "id": order_id,
            "user_id": person.id,
            "kind": body.get("kind", "retail"),
            "state": self.order_state,
            "version": 1,
            "address": body["address"],
            "created_at": NOW,
            "updated_at": NOW,
            **quote,
            **({"restaurant": self.food.restaurant_of(body)} if is_food else {}),
        }
        self.orders[order_id] = order
        return order

    def set_state(self, order_id: str, state: str) -> None:
        """Changes the state of an order and notifies its streams."""
        self.orders[order_id] |= {"state": state, "version": self.orders[order_id]["version"] + 1}
        self.changed.set()
        self.changed = asyncio.Event()

    def order_of(self, request: Request, order_id: str) -> dict[str, Any]:
        person, order = self.person_of(request), self.orders.get(order_id)
        if order is None or (order["user_id"] != person.id and person.role != "admin"):
            raise Problem(404, "unknown_order", f"There is no order {order_id}.")
        return order

    async def states(self, order_id: str) -> AsyncIterator[str]:
        self.listening += 1
        try:
            while True:
                order, changed = self.orders[order_id], self.changed
                yield f'id: {order["version"]}\nevent: state\ndata: {{"state":"{order["state"]}"}}\n\n'
                if order["state"] in {"rejected", "cancelled", "delivered"}:
                    return
                await asyncio.wait_for(changed.wait(), PAGE_WAIT_S)
        finally:
            self.listening -= 1


SERVICES = {"products": "product", "quotes": "pricing", "promotions": "pricing", "orders": "order"} | {
    "payments": "payment", "users": "user", "tokens": "user", "notifications": "notification",
    "recommendations": "recommendation", "restaurants": "restaurant", "deliveries": "delivery", "couriers": "delivery",
    "players": "player", "games": "player", "leaderboards": "leaderboard", "achievements": "achievement",
}  # fmt: skip


def scripted_app(shop: ScriptedShop) -> FastAPI:
    """One application that serves the API of every service; the storefront is given its address six times."""
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(Observe, max_body_bytes=65_536)
    _product_routes(app, shop)
    _pricing_routes(app, shop)
    _order_routes(app, shop)
    _payment_routes(app, shop)
    user_routes(app, shop)
    deletion_routes(app, shop)
    address_routes(app, shop)
    message_routes(app, shop)
    recommendation_routes(app, shop)
    for add_routes in (kitchen_routes, kitchen_setting_routes, staff_routes, courier_routes, courier_step_routes):
        add_routes(app, shop)
    town_routes(app, shop)
    food_routes(app, shop)
    for add_routes in (
        player_routes,
        friend_routes,
        profile_routes,
        round_routes,
        leaderboard_routes,
        achievement_routes,
    ):
        add_routes(app, shop)

    @app.middleware("http")
    async def record(request: Request, call_next: Any) -> Response:
        body = await request.body()
        shop.calls.append((request.method, request.url.path, body.decode()))
        segments = request.url.path.split("/")
        if shop.down & {SERVICES.get(segments[3], ""), segments[-1]}:
            return Response(status_code=503)
        if gate := shop.gates.get(SERVICES.get(segments[3], "")):
            await gate.wait()
        answer: Response = await call_next(request)
        return answer

    return app


def _product_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.get("/api/v1/products")
    async def products(request: Request) -> dict[str, Any]:
        query = request.query_params
        if "ids" in query:
            return {"items": [shop.products[one] for one in query["ids"].split(",") if one in shop.products]}
        if not query.get("cursor", "0").isdecimal():
            raise Problem(400, "invalid_cursor", "The cursor is not one that this service gave out.")
        await shop.product_lists.wait()
        shop.sort_parameters.append(query.get("sort", ""))
        words, category = query.get("query", "").lower(), query.get("category", "")
        found = [
            book
            for book in shop.products.values()
            if words in f"{book['name']} {book['attributes'].get('author', '')}".lower()
            and category in {"", book["category"]}
        ]
        return page_of(found, request)

    @app.get("/api/v1/products/categories")
    async def categories() -> dict[str, Any]:
        names = [book["category"] for book in shop.products.values()]
        return {"items": [{"name": name, "count": names.count(name)} for name in sorted(set(names))]}

    @app.get("/api/v1/products/{wanted}")
    async def one(wanted: str) -> dict[str, Any]:
        if wanted not in shop.products:
            raise Problem(404, "unknown_product", "There is no such product.")
        return shop.products[wanted]

    @app.post("/api/v1/products/{wanted}/stock")
    async def stock(wanted: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        if request.headers["idempotency-key"] in shop.stock_keys:
            return shop.products[wanted]
        shop.stock_keys.add(request.headers["idempotency-key"])
        delta = (await request.json())["delta"]
        if shop.products[wanted]["stock"] + delta < 0:
            raise Problem(409, "insufficient_stock", "There is not so much.")
        shop.products[wanted]["stock"] += delta
        return shop.products[wanted]


def _pricing_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.post("/api/v1/quotes")
    async def quote(request: Request) -> dict[str, Any]:
        body = await request.json()
        owner = shop.own_coupons.get(body.get("coupon", ""))
        if owner and (not request.headers.get("authorization") or shop.person_of(request).email != owner):
            raise Problem(422, "unknown_coupon", "There is no such coupon.")
        if owner:
            body["coupon"] = "SPRING10"
        if body.get("kind") == "food":
            await shop.food.quotes.wait()
            return shop.food.quote(body)
        return shop.quote(body["items"], body.get("coupon", ""))

    @app.get("/api/v1/promotions")
    async def promotions(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return page_of(list(shop.promotions.values()), request)

    @app.get("/api/v1/promotions/{code}")
    async def promotion(code: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        if code.upper() not in shop.promotions:
            raise Problem(404, "unknown_promotion", f"There is no promotion {code}.")
        return shop.promotions[code.upper()]

    @app.put("/api/v1/promotions/{code}")
    async def put(code: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        if request.headers.get("if-none-match") == "*" and code.upper() in shop.promotions:
            raise Problem(412, "promotion_exists", "There is a promotion with this code already.")
        shop.promotions[code.upper()] = {**await request.json(), "code": code.upper(), "used": 0}
        return shop.promotions[code.upper()]


def asked_for(shop: ScriptedShop, request: Request) -> list[dict[str, Any]]:
    """The orders, with or without rejected ones."""
    rejected = request.query_params.get("rejected")
    return [
        order
        for order in shop.orders.values()
        if rejected is None or (order["state"] == "rejected") == (rejected == "true")
    ]


def _order_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.post("/api/v1/orders")
    async def place(request: Request) -> Response:
        person = shop.person_of(request)
        shop.order_requests.append((request.headers["idempotency-key"], (await request.body()).decode()))
        order = shop.place(person, request.headers["idempotency-key"], await request.json())
        return JSONResponse(order, 202 if order["state"] == "pending" else 201)

    @app.get("/api/v1/orders")
    async def mine(request: Request) -> dict[str, Any]:
        person = shop.person_of(request)
        return page_of([order for order in asked_for(shop, request) if order["user_id"] == person.id], request)

    @app.get("/api/v1/orders/all")
    async def list_all(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        state = request.query_params.get("state")
        return page_of([order for order in asked_for(shop, request) if state in {None, order["state"]}], request)

    @app.get("/api/v1/orders/{order_id}")
    async def one(order_id: str, request: Request) -> dict[str, Any]:
        return shop.order_of(request, order_id)

    @app.get("/api/v1/orders/{order_id}/history")
    async def history(order_id: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return {"status": "done", "attempts": 1, **shop.history}

    @app.get("/api/v1/orders/{order_id}/events")
    async def events(order_id: str, request: Request) -> Response:
        shop.order_of(request, order_id)
        return StreamingResponse(shop.states(order_id), media_type="text/event-stream")

    @app.post("/api/v1/orders/{order_id}/{how}")
    async def change(order_id: str, how: str, request: Request) -> dict[str, Any]:
        order = shop.order_of(request, order_id)
        if shop.cancel_refusal:
            raise shop.cancel_refusal
        after = {"cancel": "cancelled", "fulfil": "fulfilled", "deliver": "delivered"}[how]
        if order["state"] in {"delivered", "cancelled", "rejected"}:
            raise Problem(409, "illegal_transition", f"An order that is {order['state']} cannot become {after}.")
        shop.set_state(order_id, after)
        return order


def _payment_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.get("/api/v1/payments")
    async def payments(request: Request) -> dict[str, Any]:
        order_ids = request.query_params.getlist("order_id")
        for order_id in order_ids:
            shop.order_of(request, order_id)
        return {"items": [payment for payment in shop.payments if payment["order_id"] in order_ids]}

    @app.post("/api/v1/payments/{payment_id}/refunds")
    async def refund(payment_id: str, request: Request) -> Response:
        shop.admin_of(request)
        if shop.refund_refusal:
            raise shop.refund_refusal
        shop.refunds[request.headers["idempotency-key"]] = await request.json()
        return JSONResponse({}, 201)
