"""The page of one order: live status, cancelling, ordering again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.contracts.money import Money
from shop.kit.errors import Problem, Unavailable
from shop.storefront.arcade.gain_pages import gain_frame
from shop.storefront.backends import MAX_IDS
from shop.storefront.carts import MAX_QUANTITY
from shop.storefront.confirmation import Confirmation, require_confirmation
from shop.storefront.food.order_pages import food_order_page, order_again
from shop.storefront.food.texts import REFUSALS
from shop.storefront.labels import reason_text
from shop.storefront.schemas import SOLD_STATES, Order, Payment
from shop.storefront.service import Storefront
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, SignedIn, page, redirect

router = APIRouter(include_in_schema=False)

PROGRESS = (
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


TOO_LATE = frozenset({"kitchen_has_begun", "already_picked_up"})
"""Codes of a food order that can no longer be cancelled."""

REFUNDED_NOTES = {"confirmed": " The order will not be shipped."}
"""Added to the text of a refunded order, by state."""


@dataclass(frozen=True)
class Step:
    title: str
    look: str
    at: datetime | None = None


@router.get("/orders/{order_id}")
async def show(request: Request, order_id: UUID, shop: Shop, session: SignedIn) -> Response:
    order = await with_refunds(
        shop, session.access_token, await shop.backends.orders.order(session.access_token, order_id)
    )
    if order.kind == "food" and shop.food:
        return await food_order_page(request, shop, shop.food, session, order)
    order, gain = await asyncio.gather(
        _with_product_names(shop, order), gain_frame(shop.arcade, session.access_token, order)
    )
    headline, explanation = headline_of(order)
    return await page(
        request, "order.html", order=order, headline=headline, explanation=explanation, steps=steps(order), **gain
    )


def headline_of(order: Order) -> tuple[str, str]:
    """Headline and sentence for the state of the order."""
    if order.cancelled_while_pending:
        return HEADLINES["cancelled"][0], "You cancelled this order before it was confirmed. You were not charged."
    if order.state == "rejected":
        return HEADLINES["rejected"][0], reason_text(order.reason or "")
    if order.cancel_requested_at and order.state in {"pending", "confirmed"}:
        return "Cancellation in progress", "Any payment will be refunded."
    if order.refund == "full":
        return "Refunded", "Your payment was refunded in full." + REFUNDED_NOTES.get(order.state, "")
    headline, explanation = HEADLINES.get(order.state, (order.state, ""))
    return headline, explanation + (" Part of your payment was refunded." if order.refund else "")


async def with_refunds(shop: Storefront, token: str, order: Order) -> Order:
    """The order with its refunded amount; without it while the payment service is unavailable."""
    return (await with_refunds_of_all(shop, token, [order]))[0]


async def with_refunds_of_all(shop: Storefront, token: str, orders: Sequence[Order]) -> Sequence[Order]:
    """Orders of one page with their refunded amounts; as ``with_refunds``."""
    sold = [order.id for order in orders if order.state in SOLD_STATES]
    if not sold:
        return orders
    try:
        payments = await shop.backends.payments.of_orders(token, sold)
    except (Problem, Unavailable):
        return orders
    return [
        with_refunded_amount(order, [payment for payment in payments if payment.order_id == order.id])
        for order in orders
    ]


def with_refunded_amount(order: Order, payments: Sequence[Payment]) -> Order:
    """The order with the refunded amount of its payments."""
    if order.total is None:
        return order
    back = sum(payment.refunded.amount for payment in payments if payment.refunded)
    return order.model_copy(update={"refunded": Money(amount=back, currency=order.total.currency)})


def steps(order: Order) -> list[Step]:
    """The steps of the order, past and to come; a failed or cancelled order ends at that step."""
    at = order.updated_at
    states = [state for state, _ in PROGRESS]
    if order.state == "rejected":
        return [
            Step("Order placed", "done"),
            Step("Cancelled" if order.cancelled_while_pending else "Not possible", "stopped", at),
        ]
    if order.refund == "full" and order.state == "confirmed":
        return [Step("Order placed", "done"), Step("Confirmed and paid", "done"), Step("Refunded", "stopped")]
    if order.state == "cancelled":
        return [Step("Order placed", "done"), Step("Confirmed and paid", "done"), Step("Cancelled", "stopped", at)]
    here = states.index(order.state) if order.state in states else 0
    progress = []
    for number, (_, title) in enumerate(PROGRESS):
        look = "done" if number < here or order.state == "delivered" else "now" if number == here else "ahead"
        progress.append(Step(title, look, at if number == here else None))
    return progress


async def _with_product_names(shop: Storefront, order: Order) -> Order:
    """The order with product names on its lines, which an order has only once it is confirmed."""
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
    """The order's states as server-sent events; none for another customer's order."""
    seen = request.headers.get("last-event-id", "")
    path = f"/api/v1/orders/{order_id}/events"
    return await shop.streams.open("order", path, session.access_token, seen)


@router.post("/orders/{order_id}/cancel")
async def cancel(request: Request, order_id: UUID, shop: Shop, session: SignedIn, form: PostedForm) -> Response:
    if confirmation := await require_confirmation(request, form, cancel_confirmation(f"/orders/{order_id}")):
        return confirmation
    try:
        await shop.backends.orders.change(session.access_token, order_id, "cancel")
    except Problem as problem:
        if problem.code not in TOO_LATE:
            raise
        return redirect(request, f"/orders/{order_id}", REFUSALS[problem.code])
    return redirect(request, f"/orders/{order_id}", "Your order is being cancelled. Any payment will be refunded.")


def cancel_confirmation(back: str) -> Confirmation:
    explanation = "The order will not be sent, and any payment is refunded. This cannot be undone."
    return Confirmation("Cancel this order?", explanation, "Cancel order", back)


@router.post("/orders/{order_id}/again")
async def again(
    request: Request, order_id: UUID, shop: Shop, session: SignedIn, visitor: CurrentVisitor, form: PostedForm
) -> Response:
    """Add the order's products to the cart."""
    order = await shop.backends.orders.order(session.access_token, order_id)
    if order.kind == "food" and shop.food:
        if not await order_again(shop.food, visitor, order):
            return redirect(request, f"/orders/{order_id}", "The items of this order are no longer known.")
        return redirect(request, "/eat/cart", "The items were added to your cart.")
    for line in order.lines:
        await shop.carts.put(visitor.cart_owner, line.product_id, min(line.quantity, MAX_QUANTITY))
    return redirect(request, "/cart", "The items were added to your cart.")
