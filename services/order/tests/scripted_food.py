"""Restaurant and delivery as one small real HTTP server that records effects and fails as configured."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from services.order.tests.scripted_services import Result, ScriptedServices, money

RESTAURANT = "0190b000-0000-7000-8000-000000000001"
CLOSED = "0190b000-0000-7000-8000-00000000dead"
PIZZA = "0190b000-0000-7000-8000-00000000f001"
SALAD = "0190b000-0000-7000-8000-00000000f002"
SOLD_OUT = "0190b000-0000-7000-8000-00000000f003"
CHEESE = "0190b000-0000-7000-8000-00000000c001"
OLIVES = "0190b000-0000-7000-8000-00000000c002"
PRICES = {PIZZA: 900, SALAD: 600, SOLD_OUT: 100}
CHOICES = {CHEESE: 100, OLIVES: 50}
DISTANCE_M = 1_500
MINIMUM_ORDER = 800
READY_AT = datetime(2099, 1, 1, 18, 30, tzinfo=UTC)
ETA = READY_AT + timedelta(minutes=12)

ACCEPT, RELEASE_TICKET, WITHDRAW = "/internal/tickets", "/internal/tickets/release", "/internal/tickets/withdraw"
RESERVE_COURIER, ASSIGN = "/internal/reservations", "/internal/assignments"
RELEASE_COURIER = "/internal/reservations/release"


class ScriptedFood(ScriptedServices):
    """``manual``: tickets wait until their state in ``tickets`` is changed. ``couriers``: how many are free."""

    def reset(self) -> None:
        super().reset()
        self.manual = False
        self.couriers = 100
        self.tickets: dict[str, str] = {}
        self.deliveries: dict[str, str] = {}
        self.released: dict[str, set[str]] = {RELEASE_TICKET: set(), RELEASE_COURIER: set()}

    def assert_nothing_left(self, order_id: str) -> None:
        """No ticket and no courier is held."""
        assert self.tickets.get(order_id, "released") in ("released", "withdrawn", "rejected")
        assert self.deliveries.get(order_id, "released") == "released"

    def actions(self) -> dict[str, Callable[[Result], Result]]:
        return {
            ACCEPT: self.accept, RELEASE_TICKET: self.release_ticket, WITHDRAW: self.withdraw,
            RESERVE_COURIER: self.hold, ASSIGN: self.assign, RELEASE_COURIER: self.release_courier,
        }  # fmt: skip

    def rejections(self) -> dict[str, Result]:
        closed = {"status": "rejected", "code": "restaurant_closed", "detail": "It has closed."}
        return {ACCEPT: closed, RESERVE_COURIER: no_courier(), ASSIGN: no_courier()}

    def accept(self, item: Result) -> Result:
        order_id = item["order_id"]
        if order_id in self.released[RELEASE_TICKET]:
            return {"status": "rejected", "code": "released", "detail": "Given up."}
        if item["restaurant_id"] != RESTAURANT:
            extra = {"opens_at": "2099-01-02T17:00:00Z"}
            code = "restaurant_closed" if item["restaurant_id"] == CLOSED else "unknown_restaurant"
            return {"status": "rejected", "code": code, "detail": "No.", "extra": extra}
        if any(line["item_id"] == SOLD_OUT for line in item["lines"]):
            extra = {"item_id": SOLD_OUT}
            return {"status": "rejected", "code": "item_sold_out", "detail": "Sold out.", "extra": extra}
        state = self.tickets.setdefault(order_id, "waiting" if self.manual else "accepted")
        if state == "waiting":
            return {"status": "waiting", "until": READY_AT.isoformat()}
        if state == "rejected":
            return {"status": "rejected", "code": "refused_by_restaurant", "detail": "Too busy."}
        return {"status": "accepted", "lines": [line_of(line) for line in item["lines"]], **kitchen()}

    def release_ticket(self, item: Result) -> Result:
        self.released[RELEASE_TICKET].add(item["order_id"])
        self.tickets[item["order_id"]] = "released"
        return {"status": "released"}

    def withdraw(self, item: Result) -> Result:
        state = self.tickets.get(item["order_id"], "")
        if state == "picked_up" or (state == "preparing" and not item["even_if_begun"]):
            return {"status": {"preparing": "begun"}.get(state, state)}
        self.tickets[item["order_id"]] = "withdrawn"
        return {"status": "withdrawn"}

    def hold(self, item: Result) -> Result:
        order_id = item["order_id"]
        if order_id in self.released[RELEASE_COURIER]:
            return {"status": "rejected", "code": "released", "detail": "Given up."}
        if order_id not in self.deliveries:
            if not self.couriers:
                return no_courier()
            self.couriers -= 1
            self.deliveries[order_id] = "reserved"
        return {"status": "reserved", "distance_m": DISTANCE_M, "eta": (ETA + timedelta(minutes=1)).isoformat()}

    def assign(self, item: Result) -> Result:
        if self.deliveries.get(item["order_id"]) not in ("reserved", "live"):
            return {"status": "rejected", "code": "released", "detail": "Given up."}
        self.deliveries[item["order_id"]] = "live"
        return {"status": "assigned", "eta": ETA.isoformat()}

    def release_courier(self, item: Result) -> Result:
        self.released[RELEASE_COURIER].add(item["order_id"])
        if self.deliveries.pop(item["order_id"], None) is not None:
            self.couriers += 1
        return {"status": "released"}


def kitchen() -> Result:
    return {
        "restaurant_name": "Da Carlo",
        "position": {"lat": 51.9, "lon": -0.2},
        "minimum_order": money(MINIMUM_ORDER),
        "ready_at": READY_AT.isoformat(),
    }


def line_of(line: Result) -> Result:
    """As the restaurant prices it: one product for each item with its choices."""
    choices = sorted(line["choices"])
    price = PRICES[line["item_id"]] + sum(CHOICES[choice] for choice in choices)
    return {
        "product_id": product_id(line["item_id"], *choices),
        "item_id": line["item_id"],
        "quantity": line["quantity"],
        "name": "Pizza",
        "category": "food",
        "unit_price": money(price),
        "choices": choices,
    }


def product_id(item_id: str, *choices: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join([item_id, *sorted(choices)])))


def no_courier() -> Result:
    return {"status": "rejected", "code": "no_courier", "detail": "Nobody is free.", "extra": {"retry_after_s": 90}}
