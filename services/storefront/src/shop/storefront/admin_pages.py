"""Administrators' pages: all orders with their sagas, refunds, stock, sent messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.kit.text import printable
from shop.storefront.catalogue_pages import CursorText, Words, search_text
from shop.storefront.confirmation import Confirmation, require_confirmation
from shop.storefront.forms import SHOWN_IN_FORM, decimal_text, form_key, int_field, minor_units
from shop.storefront.order_pages import cancel_confirmation, with_refunded_amount, with_refunds_of_all
from shop.storefront.schemas import Order, Payment
from shop.storefront.service import Storefront
from shop.storefront.web import Admin, PostedForm, Shop, formats_of, page, redirect, with_query

router = APIRouter(prefix="/admin", include_in_schema=False)

State = Literal["pending", "confirmed", "fulfilled", "delivered", "rejected", "cancelled"]
STOCK_PAGE = 30
MAX_STOCK_CHANGE = 100_000
MAX_REASON_CHARACTERS = 200
ACTIONS = {"pending": ("cancel",), "confirmed": ("fulfil", "cancel"), "fulfilled": ("deliver",)}
"""What an administrator can do with an order in each state."""

OrderAction = Literal["cancel", "fulfil", "deliver"]


@router.get("")
async def orders(
    request: Request, shop: Shop, admin: Admin, state: State | Literal[""] = "", cursor: CursorText = ""
) -> Response:
    found = await shop.backends.orders.list_all(admin.access_token, state, cursor)
    next_url = with_query("/admin", state=state, cursor=found.next_cursor) if found.next_cursor else None
    shown = await with_refunds_of_all(shop, admin.access_token, found.items)
    return await admin_page(request, "orders", orders=shown, state=state, states=get_args(State), next_url=next_url)


@router.get("/orders/{order_id}")
async def order(request: Request, order_id: UUID, shop: Shop, admin: Admin) -> Response:
    return await _order(request, order_id, shop, admin)


async def _order(
    request: Request,
    order_id: UUID,
    shop: Storefront,
    admin: Session,
    *,
    problem: str = "",
    wrong: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """The order. After a failed form: `typed` values, the amount's error in `wrong`, any other in `problem`."""
    token = admin.access_token
    found, history, payments = await asyncio.gather(
        shop.backends.orders.order(token, order_id),
        shop.backends.orders.history(token, order_id),
        shop.backends.payments.of_order(token, order_id),
    )
    found = with_refunded_amount(found, payments)
    return await admin_page(
        request,
        "order",
        status=status,
        order=found,
        history=history,
        payments=payments,
        actions=_actions(found),
        refund_key=str(uuid4()),
        problem=problem,
        wrong=wrong,
        typed=typed or {},
    )


def _actions(found: Order) -> list[str]:
    """What may be done: a food order is moved by its delivery alone, and can be cancelled until it is picked up."""
    if found.kind == "food":
        return ["cancel"] if found.state in {"pending", "confirmed"} else []
    return [action for action in ACTIONS.get(found.state, ()) if action != "fulfil" or found.refund != "full"]


@router.post("/orders/{order_id}/refund")
async def refund(request: Request, order_id: UUID, shop: Shop, admin: Admin, form: PostedForm) -> Response:
    """Refund an amount in the shop's currency, once per form key."""
    back = f"/admin/orders/{order_id}"
    payments = await shop.backends.payments.of_order(admin.access_token, order_id)
    payment = next((payment for payment in payments if str(payment.id) == form.get("payment_id")), None)
    if payment is None:
        raise Problem(404, "unknown_payment", "This order has no such payment.")
    amount, wrong = _refundable(payment, form)
    if wrong:
        return await _order(request, order_id, shop, admin, wrong=wrong, typed=form, status=422)
    if confirmation := await require_confirmation(request, form, _refund_confirmation(shop, payment, amount, back)):
        return confirmation
    key = form_key(form)
    try:
        await shop.backends.payments.refund(
            admin.access_token, payment.id, amount, printable(form.get("reason", ""))[:200], key
        )
    except Problem as problem:
        if problem.status not in SHOWN_IN_FORM:
            raise
        return await _order(request, order_id, shop, admin, wrong=problem.detail, typed=form, status=problem.status)
    return redirect(request, back, "Refund issued.")


def _refundable(payment: Payment, form: Mapping[str, str]) -> tuple[int, str]:
    """The amount in minor units and its error. Up to the whole payment is valid: the form may be a repeated one."""
    currency = payment.amount.currency
    amount = minor_units(form.get("amount", ""), currency)
    if amount is None or amount <= 0:
        return 0, f"Enter an amount greater than zero, for example {decimal_text(payment.refundable or 100, currency)}."
    if amount > payment.amount.amount:
        return 0, f"You can refund at most {decimal_text(payment.refundable, currency)} {currency}."
    return amount, ""


def _refund_confirmation(shop: Storefront, payment: Payment, amount: int, back: str) -> Confirmation:
    money = formats_of(shop.settings.store).money(amount, payment.amount.currency)
    explanation = "The amount is refunded to the customer's card. This cannot be undone."
    return Confirmation(f"Refund {money}?", explanation, f"Refund {money}", back)


@router.post("/orders/{order_id}/{action}")
async def change(
    request: Request,
    order_id: UUID,
    action: OrderAction,
    shop: Shop,
    admin: Admin,
    form: PostedForm,
) -> Response:
    back = f"/admin/orders/{order_id}"
    if action == "cancel" and (confirmation := await require_confirmation(request, form, cancel_confirmation(back))):
        return confirmation
    try:
        await shop.backends.orders.change(admin.access_token, order_id, action)
    except Problem as problem:
        if problem.status not in SHOWN_IN_FORM:
            raise
        return await _order(request, order_id, shop, admin, problem=problem.detail, status=problem.status)
    done = {"cancel": "is being cancelled", "fulfil": "was marked as shipped", "deliver": "was marked as delivered"}
    return redirect(request, back, f"The order {done[action]}.")


@router.get("/stock")
async def stock(request: Request, shop: Shop, admin: Admin, query: Words = "", cursor: CursorText = "") -> Response:
    return await _stock(request, shop, query, cursor)


async def _stock(
    request: Request,
    shop: Storefront,
    words: str,
    cursor: str,
    *,
    wrong: tuple[UUID, str, str] | None = None,
    status: int = 200,
) -> Response:
    """The products; `wrong` has the product whose form failed, the typed value and the error."""
    found = await shop.backends.catalogue.products(query=words, limit=STOCK_PAGE, cursor=cursor)
    next_url = with_query("/admin/stock", query=words, cursor=found.next_cursor) if found.next_cursor else None
    frame = {"products": found.items, "next_url": next_url, "words": words, "cursor": cursor, "new_key": uuid4}
    failed, typed, message = wrong or (None, "", "")
    return await admin_page(request, "stock", status=status, failed=failed, typed=typed, message=message, **frame)


@router.post("/stock/{product_id}")
async def change_stock(request: Request, product_id: UUID, shop: Shop, admin: Admin, form: PostedForm) -> Response:
    """Change the stock by a delta, once per form key. No total is set, since sales change the stock meanwhile."""
    words, cursor, typed = search_text(form.get("words", "")), form.get("cursor", ""), form.get("delta", "")
    delta = int_field(form, "delta", low=-MAX_STOCK_CHANGE - 1, high=MAX_STOCK_CHANGE + 1, default=0)
    if delta == 0 or abs(delta) > MAX_STOCK_CHANGE:
        message = f"Enter a whole number other than zero, between -{MAX_STOCK_CHANGE:,} and {MAX_STOCK_CHANGE:,}."
        return await _stock(request, shop, words, cursor, wrong=(product_id, typed, message), status=422)
    key = form_key(form)
    try:
        product = await shop.backends.catalogue.change_stock(admin.access_token, product_id, delta, key)
    except Problem as problem:
        if problem.status not in SHOWN_IN_FORM:
            raise
        wrong = (product_id, typed, problem.detail)
        return await _stock(request, shop, words, cursor, wrong=wrong, status=problem.status)
    back = with_query("/admin/stock", query=words, cursor=cursor)
    return redirect(request, back, f"Stock updated: {product.stock} of “{product.name}” in stock.")


@router.get("/messages")
async def messages(request: Request, shop: Shop, admin: Admin, cursor: CursorText = "") -> Response:
    found = await shop.backends.messages.list_all(admin.access_token, cursor)
    next_url = with_query("/admin/messages", cursor=found.next_cursor) if found.next_cursor else None
    return await admin_page(
        request, "messages", messages=found.items, next_url=next_url, mailbox_path=shop.settings.mailbox_path
    )


async def admin_page(request: Request, tab: str, *, status: int = 200, **values: Any) -> Response:
    return await page(request, f"admin/{tab}.html", status=status, tab=tab, **values)
