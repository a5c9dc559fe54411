"""One order: where it is, live; cancelling it; the same books again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.contracts.money import Money
from shop.kit.errors import Problem, Unavailable
from shop.storefront.backends import MAX_IDS
from shop.storefront.carts import MAX_QUANTITY
from shop.storefront.confirmation import Question, ask_first
from shop.storefront.formatting import reason_text
from shop.storefront.schemas import SOLD_STATES, Order, OrderLine, Payment
from shop.storefront.service import Storefront
from shop.storefront.web import CurrentVisit, Posted, Shop, SignedIn, go, page

router = APIRouter(include_in_schema=False)

JOURNEY = (
    ("pending", "Order placed"),
    ("confirmed", "Confirmed and paid"),
    ("fulfilled", "Shipped"),
    ("delivered", "Delivered"),
)

HEADLINES = {
    "pending": (
        "Order received",
        "Your order is being processed. This is taking longer than usual; we will email you when it is confirmed.",
    ),
    "confirmed": ("Thank you for your order", "Your order is confirmed and paid. We will ship it soon."),
    "fulfilled": ("Your order has shipped", "Your parcel is on its way."),
    "delivered": ("Delivered", "Your order was delivered. Enjoy!"),
    "rejected": ("Order not completed", ""),
    "cancelled": ("Order cancelled", "Your order was cancelled and any payment is refunded."),
}
"""Headline and sentence by state."""


UNSENT = {"confirmed": " The order will not be shipped."}
"""What is added about a refunded order by its state."""


@dataclass(frozen=True)
class Step:
    title: str
    look: str
    at: datetime | None = None


@router.get("/orders/{order_id}")
async def show(request: Request, order_id: UUID, shop: Shop, session: SignedIn) -> Response:
    order = await _named(shop, await shop.backends.orders.order(session.access_token, order_id))
    order = await with_refunds(shop, session.access_token, order)
    headline, explanation = words(order)
    return await page(
        request, "order.html", order=order, headline=headline, explanation=explanation, steps=steps(order)
    )


def words(order: Order) -> tuple[str, str]:
    """A headline and a sentence about where the order is."""
    if order.given_up:
        return HEADLINES["cancelled"][0], "You cancelled this order before it was confirmed. You were not charged."
    if order.state == "rejected":
        return HEADLINES["rejected"][0], reason_text(order.reason or "")
    if order.cancel_requested_at and order.state in {"pending", "confirmed"}:
        return "Cancellation in progress", "Any payment will be refunded."
    if order.refund == "full":
        return "Refunded", "Your payment was refunded in full." + UNSENT.get(order.state, "")
    headline, explanation = HEADLINES.get(order.state, (order.state, ""))
    return headline, explanation + (" Part of your payment was refunded." if order.refund else "")


async def with_refunds(shop: Storefront, token: str, order: Order) -> Order:
    """The order with what went back of its payment; without that while the payment service is away."""
    return (await all_with_refunds(shop, token, [order]))[0]


async def all_with_refunds(shop: Storefront, token: str, orders: Sequence[Order]) -> Sequence[Order]:
    """Orders of one page, each with what went back of its payment; as ``with_refunds``."""
    sold = [order.id for order in orders if order.state in SOLD_STATES]
    if not sold:
        return orders
    try:
        payments = await shop.backends.payments.of_orders(token, sold)
    except (Problem, Unavailable):
        return orders
    return [refunded_by(order, [payment for payment in payments if payment.order_id == order.id]) for order in orders]


def refunded_by(order: Order, payments: Sequence[Payment]) -> Order:
    """The order with what went back of its payments."""
    if order.total is None:
        return order
    back = sum(payment.refunded.amount for payment in payments if payment.refunded)
    return order.model_copy(update={"refunded": Money(amount=back, currency=order.total.currency)})


def steps(order: Order) -> list[Step]:
    """The order's way so far and what is to come; a way that broke off ends where it did."""
    at = order.updated_at
    states = [state for state, _ in JOURNEY]
    if order.state == "rejected":
        return [Step("Order placed", "done"), Step("Cancelled" if order.given_up else "Not possible", "stopped", at)]
    if order.refund == "full" and order.state == "confirmed":
        return [Step("Order placed", "done"), Step("Confirmed and paid", "done"), Step("Refunded", "stopped")]
    if order.state == "cancelled":
        return [Step("Order placed", "done"), Step("Confirmed and paid", "done"), Step("Cancelled", "stopped", at)]
    here = states.index(order.state) if order.state in states else 0
    way = []
    for number, (_, title) in enumerate(JOURNEY):
        look = "done" if number < here or order.state == "delivered" else "now" if number == here else "ahead"
        way.append(Step(title, look, at if number == here else None))
    return way


async def _named(shop: Storefront, order: Order) -> Order:
    """The order with names on its lines: it has none itself before it is confirmed."""
    if all(line.name for line in order.lines):
        return order
    try:
        products = await shop.backends.catalogue.by_ids(line.product_id for line in order.lines[:MAX_IDS])
    except (Problem, Unavailable):
        return order
    names = {product.id: product.name for product in products.values()}
    lines = [line.model_copy(update={"name": line.name or names.get(line.product_id)}) for line in order.lines]
    return order.model_copy(update={"lines": lines})


@router.get("/orders/{order_id}/events")
async def events(request: Request, order_id: UUID, shop: Shop, session: SignedIn) -> Response:
    """The order's states as server-sent events; of somebody else's order nothing comes."""
    seen = request.headers.get("last-event-id", "")
    return await shop.streams.answer(session.access_token, order_id, seen if seen.isdecimal() else "")


@router.post("/orders/{order_id}/cancel")
async def cancel(request: Request, order_id: UUID, shop: Shop, session: SignedIn, form: Posted) -> Response:
    if question := await ask_first(request, form, cancel_question(f"/orders/{order_id}")):
        return question
    await shop.backends.orders.change(session.access_token, order_id, "cancel")
    return go(request, f"/orders/{order_id}", "Your order is being cancelled. Any payment will be refunded.")


def cancel_question(back: str) -> Question:
    explanation = "The order will not be shipped, and any payment is refunded. This cannot be undone."
    return Question("Cancel this order?", explanation, "Cancel order", back)


@router.post("/orders/{order_id}/again")
async def again(
    request: Request, order_id: UUID, shop: Shop, session: SignedIn, visit: CurrentVisit, form: Posted
) -> Response:
    """Puts the order's articles into the cart, next to what is there."""
    order = await shop.backends.orders.order(session.access_token, order_id)
    await _put(shop, visit.cart_owner, order.lines)
    return go(request, "/cart", "The items were added to your cart.")


async def _put(shop: Storefront, owner: str, lines: Sequence[OrderLine]) -> None:
    for line in lines:
        await shop.carts.put(owner, line.product_id, min(line.quantity, MAX_QUANTITY))
