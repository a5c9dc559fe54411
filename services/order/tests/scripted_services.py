"""Product, pricing and payment as one small real HTTP server that records effects and fails as configured."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import orjson

BOOK = "0190a000-0000-7000-8000-000000000001"
PEN = "0190a000-0000-7000-8000-000000000002"
UNKNOWN = "0190a000-0000-7000-8000-00000000dead"
PRICES = {BOOK: 1_500, PEN: 250}
SHIPPING = 490
STOCK = 100

RESERVE, RELEASE = "/internal/reservations", "/internal/reservations/release"
QUOTE, UNQUOTE = "/internal/quotes", "/internal/quotes/release"
CHARGE, VOID, STATE = "/internal/charges", "/internal/charges/void", "/internal/charges/state"
MINIMUM = "/internal/charges/minimum"

Result = dict[str, Any]


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


class ScriptedServices:
    """``faults[path]`` holds what happens to the next requests at ``path``:

    "503" refused without effect; "lost" done, but the answer is lost; "dropped" the request itself is lost;
    "hang" done, and never answered; "reject" and "pending" as the participant would answer; "garbage" an answer about
    another order; "422" the request as such is refused.
    """

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Delete all records and faults."""
        self.stock = {BOOK: STOCK, PEN: STOCK}
        self.held: dict[str, dict[str, int]] = {}
        self.redeemed: set[str] = set()
        self.captured: dict[str, int] = {}
        self.captures: defaultdict[str, int] = defaultdict(int)
        self.refunded: dict[str, int] = {}
        self.tombstones: dict[str, set[str]] = {RELEASE: set(), UNQUOTE: set(), VOID: set()}
        self.minimum = 0
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[tuple[str, str]] = []
        self.batches: list[tuple[str, int]] = []
        self.items: list[tuple[str, Result]] = []

    def hangs_at(self, path: str) -> bool:
        """Whether the next request at ``path`` is not answered."""
        return bool(self.faults[path]) and self.faults[path][0] == "hang"

    def calls_of(self, path: str) -> int:
        return sum(called == path for called, _ in self.calls)

    def assert_no_effect_left(self, order_id: str) -> None:
        """Stock, coupon and payments are as they were before the order."""
        assert order_id not in self.held
        assert order_id not in self.redeemed
        assert self.captured.get(order_id, 0) == self.refunded.get(order_id, 0)

    def assert_reserved_and_charged(self, order: dict[str, Any]) -> None:
        """One reservation and one capture of the order's total, no refund."""
        assert self.held[order["id"]] == {line["product_id"]: line["quantity"] for line in order["lines"]}
        assert self.captured[order["id"]] == order["total"]["amount"]
        assert self.captures[order["id"]] == 1
        assert order["id"] not in self.refunded

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        send = with_request_id(scope, send)
        if scope["path"] == MINIMUM:
            await answer(send, 200, money(self.minimum)) if self.minimum else await answer(send, 404, {})
            return
        body = orjson.loads((await receive())["body"])
        path, items = scope["path"], body["items"]
        self.calls += [(path, item["order_id"]) for item in items]
        self.batches.append((path, len(items)))
        self.items += [(path, item) for item in items]
        if path in self.gates:
            await self.gates[path].wait()
        fault = self.faults[path].popleft() if self.faults[path] else ""
        if fault in ("503", "422", "404"):
            problem = {"code": "made_up", "detail": "As scripted.", "status": int(fault)}
            await answer(send, int(fault), problem)
            return
        results = [] if fault == "dropped" else [self.result(path, item, fault) for item in items]
        if fault == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
        elif fault in ("lost", "dropped"):
            await lose(send)
        else:
            results = [result | {"order_id": BOOK} for result in results] if fault == "garbage" else results
            await answer(send, 200, {"results": results})

    def actions(self) -> dict[str, Callable[[Result], Result]]:
        return {
            RESERVE: self.reserve, RELEASE: self.release, QUOTE: self.quote,
            UNQUOTE: self.unquote, CHARGE: self.charge, VOID: self.void, STATE: self.state,
        }  # fmt: skip

    def rejections(self) -> dict[str, Result]:
        return REJECTIONS

    def result(self, path: str, item: Result, fault: str) -> Result:
        if fault == "pending":
            return {"order_id": item["order_id"], "status": "pending"}
        if fault == "reject":
            return {"order_id": item["order_id"], **self.rejections()[path]}
        return {"order_id": item["order_id"], **self.actions()[path](item)}

    def reserve(self, item: Result) -> Result:
        order_id = item["order_id"]
        if order_id in self.tombstones[RELEASE]:
            return {"status": "rejected", "code": "released", "detail": "Given up."}
        for line in item["lines"]:
            product_id, quantity = line["product_id"], line["quantity"]
            if product_id not in self.stock:
                return {"status": "rejected", "code": "unknown_product", "detail": "?", "product_id": product_id}
            left = self.stock[product_id]
            if order_id not in self.held and left < quantity:
                rejection = {"code": "insufficient_stock", "detail": "Too few.", "product_id": product_id}
                return {"status": "rejected", "available": left, **rejection}
        if order_id not in self.held:
            self.held[order_id] = {line["product_id"]: line["quantity"] for line in item["lines"]}
            for product_id, quantity in self.held[order_id].items():
                self.stock[product_id] -= quantity
        return {"status": "reserved", "lines": [self.line(*held) for held in self.held[order_id].items()]}

    def line(self, product_id: str, quantity: int) -> Result:
        about = {"sku": "SKU", "name": "A book", "category": "fiction", "unit_price": money(PRICES[product_id])}
        return {"product_id": product_id, "quantity": quantity, **about}

    def release(self, item: Result) -> Result:
        self.tombstones[RELEASE].add(item["order_id"])
        for product_id, quantity in self.held.pop(item["order_id"], {}).items():
            self.stock[product_id] += quantity
        return {"status": "released"}

    def quote(self, item: Result) -> Result:
        if item["order_id"] in self.tombstones[UNQUOTE]:
            return {"status": "rejected", "code": "released", "detail": "Given up."}
        discount = 0
        if item["coupon"]:
            if item["coupon"] != "SAVE1":
                return {"status": "rejected", "code": "unknown_coupon", "detail": "There is no such coupon."}
            self.redeemed.add(item["order_id"])
            discount = 100
        lines = [
            {
                **line,
                "line_total": money(line["unit_price"]["amount"] * line["quantity"]),
                "discount": money(0),
                "tax": money(0),
            }
            for line in item["lines"]
        ]
        subtotal = sum(line["line_total"]["amount"] for line in lines)
        food = item.get("food") or {"tip": money(0), "minimum_order": money(0)}
        if subtotal < food["minimum_order"]["amount"]:
            extra = {"minimum_order": food["minimum_order"]}
            return {"status": "rejected", "code": "minimum_order_not_met", "detail": "Too little.", "extra": extra}
        amounts = {"subtotal": subtotal, "discount": discount, "tax": 7, "shipping": SHIPPING}
        amounts |= {"tip": food["tip"]["amount"]} if "distance_m" in food else {}
        total = subtotal - discount + 7 + SHIPPING + food["tip"]["amount"]
        priced = {name: money(amount) for name, amount in (amounts | {"total": total}).items()}
        return {"status": "quoted", "lines": lines, **priced}

    def unquote(self, item: Result) -> Result:
        self.tombstones[UNQUOTE].add(item["order_id"])
        self.redeemed.discard(item["order_id"])
        return {"status": "released"}

    def charge(self, item: Result) -> Result:
        order_id = item["order_id"]
        if order_id in self.tombstones[VOID]:
            return {"status": "declined", "code": "voided", "detail": "Given up.", "payment_id": order_id}
        if item["token"] == "tok_declined":
            return {"status": "declined", "code": "payment_declined", "detail": "No.", "payment_id": order_id}
        if item["token"] == "tok_small":
            return {"status": "declined", "code": "amount_below_minimum", "detail": "Small.", "payment_id": order_id}
        if order_id not in self.captured:
            self.captured[order_id] = item["amount"]["amount"]
            self.captures[order_id] += 1
        return {"status": "captured", "payment_id": order_id}

    def void(self, item: Result) -> Result:
        self.tombstones[VOID].add(item["order_id"])
        if item["order_id"] in self.captured:
            self.refunded[item["order_id"]] = self.captured[item["order_id"]]
            return {"status": "refunded"}
        return {"status": "voided"}

    def state(self, item: Result) -> Result:
        paid, back = (amounts.get(item["order_id"], 0) for amounts in (self.captured, self.refunded))
        state = "captured" if back == 0 else "refunded" if back == paid else "partially_refunded"
        return {"state": state if paid else None}


REJECTIONS: dict[str, Result] = {
    RESERVE: {
        "status": "rejected",
        "code": "insufficient_stock",
        "detail": "Too few.",
        "product_id": BOOK,
        "available": 3,
    },
    QUOTE: {"status": "rejected", "code": "coupon_expired", "detail": "It has expired."},
    CHARGE: {"status": "declined", "code": "payment_declined", "detail": "The card was declined.", "payment_id": BOOK},
}


def with_request_id(scope: dict[str, Any], send: Any) -> Any:
    """Repeat the request's id in the answer, as every service does."""
    request_id = dict(scope["headers"]).get(b"x-request-id", b"")

    async def send_with_id(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id)]}
        await send(message)

    return send_with_id


async def answer(send: Any, status: int, document: Any) -> None:
    body = orjson.dumps(document)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lose(send: Any) -> None:
    """Break the connection in the middle of the answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{"})
