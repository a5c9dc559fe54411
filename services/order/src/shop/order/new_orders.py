"""An order as it begins, from the request for it."""

from __future__ import annotations

from datetime import datetime

from shop.kit.auth import Principal
from shop.kit.ids import new_id
from shop.order import errors
from shop.order.domain import Food, Item, Line, Order, food_request_hash, request_hash
from shop.order.food_schemas import FoodOrderRequest, Tip
from shop.order.schemas import ExpectedTotal, OrderRequest


def new_order(
    person: Principal, request: OrderRequest | FoodOrderRequest, currency: str, now: datetime
) -> tuple[Order, bytes]:
    """The pending order and the hash of its request; Problem 422 for an amount in another currency."""
    order = Order(
        id=new_id(),
        user_id=person.user_id,
        email=person.email,
        customer_name=person.name,
        lines=_lines(request),
        currency=currency,
        address=request.address.document(),
        created_at=now,
        updated_at=now,
        kind=request.kind,
        coupon=request.coupon or None,
        expected_total=_amount(request.expected_total, "expected_total", currency),
        payment_token=request.payment.token,
        food=_food(request, currency) if isinstance(request, FoodOrderRequest) else None,
    )
    return order, request_digest(order)


def request_digest(order: Order) -> bytes:
    """The hash of the request that a new order was made from; a retail one's has been the same since there is food."""
    if order.food is not None:
        return food_request_hash(order)
    items = [Item(line.product_id, line.quantity) for line in order.lines]
    return request_hash(items, order.address, order.payment_token or "", order.coupon, order.expected_total)


def _lines(request: OrderRequest | FoodOrderRequest) -> list[Line]:
    """Which product a menu item is only the restaurant knows; until it has answered the item's id is in that place."""
    if isinstance(request, OrderRequest):
        return [Line(*item) for item in request.wanted()]
    return [Line(item.item_id, item.quantity, item_id=item.item_id, choices=item.choices) for item in request.wanted()]


def _food(request: FoodOrderRequest, currency: str) -> Food:
    tip = _amount(request.tip, "tip", currency) or 0
    return Food(request.restaurant_id, tip, request.phone, request.note)


def _amount(amount: ExpectedTotal | Tip | None, name: str, currency: str) -> int | None:
    if amount is None:
        return None
    if amount.currency != currency:
        raise errors.wrong_currency(currency, name)
    return amount.amount
