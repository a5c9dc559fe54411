"""Behind the counter: everybody's orders with their sagas, refunds, stock, promotions, sent messages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.storefront.forms import PromotionForm, minor_units, read, whole
from shop.storefront.schemas import Payment
from shop.storefront.shelf_pages import CursorText, Words
from shop.storefront.web import Admin, Posted, Shop, go, page, with_query

router = APIRouter(prefix="/admin", include_in_schema=False)

State = Literal["pending", "confirmed", "fulfilled", "delivered", "rejected", "cancelled"]
STOCK_PAGE = 30
MAX_STOCK_CHANGE = 100_000
NEXT_STEPS = {"confirmed": ("fulfil", "cancel"), "fulfilled": ("deliver",)}
"""What the shopkeeper can do with an order in each state."""

Move = Literal["cancel", "fulfil", "deliver"]
Code = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{3,32}$")]


@router.get("")
async def orders(
    request: Request, shop: Shop, admin: Admin, state: State | Literal[""] = "", cursor: CursorText = ""
) -> Response:
    found = await shop.backends.orders.everybodys(admin.access_token, state, cursor)
    next_url = with_query("/admin", state=state, cursor=found.next_cursor) if found.next_cursor else None
    return await _admin(request, "orders", orders=found.items, state=state, states=get_args(State), next_url=next_url)


@router.get("/orders/{order_id}")
async def order(request: Request, order_id: UUID, shop: Shop, admin: Admin) -> Response:
    token = admin.access_token
    found, history, payments = await asyncio.gather(
        shop.backends.orders.order(token, order_id),
        shop.backends.orders.history(token, order_id),
        shop.backends.payments.of_order(token, order_id),
    )
    return await _admin(
        request,
        "order",
        order=found,
        history=history,
        payments=payments,
        actions=NEXT_STEPS.get(found.state, ()),
        refund_key=str(uuid4()),
    )


@router.post("/orders/{order_id}/refund")
async def refund(request: Request, order_id: UUID, shop: Shop, admin: Admin, form: Posted) -> Response:
    """Gives back an amount typed in the shop's currency; the form's own key makes a second press harmless."""
    back = f"/admin/orders/{order_id}"
    payments = await shop.backends.payments.of_order(admin.access_token, order_id)
    payment = next((payment for payment in payments if str(payment.id) == form.get("payment_id")), None)
    if payment is None:
        raise Problem(404, "unknown_payment", "This order has no such payment.")
    amount = _refundable(payment, form)
    if amount is None:
        return go(request, back, "This is no amount that can be given back; nothing was done.")
    await shop.backends.payments.refund(
        admin.access_token, payment.id, amount, form.get("reason", "")[:200], form.get("key") or str(uuid4())
    )
    return go(request, back, "The money goes back.")


def _refundable(payment: Payment, form: Mapping[str, str]) -> int | None:
    amount = minor_units(form.get("amount", ""), payment.amount.currency)
    return amount if amount is not None and amount > 0 else None


@router.post("/orders/{order_id}/{how}")
async def change(
    request: Request,
    order_id: UUID,
    how: Move,
    shop: Shop,
    admin: Admin,
    form: Posted,
) -> Response:
    await shop.backends.orders.change(admin.access_token, order_id, how)
    done = {"cancel": "being cancelled", "fulfil": "on its way", "deliver": "delivered"}[how]
    return go(request, f"/admin/orders/{order_id}", f"The order is {done}.")


@router.get("/stock")
async def stock(request: Request, shop: Shop, admin: Admin, query: Words = "", cursor: CursorText = "") -> Response:
    found = await shop.backends.catalogue.products(query=query.strip(), limit=STOCK_PAGE, cursor=cursor)
    next_url = with_query("/admin/stock", query=query, cursor=found.next_cursor) if found.next_cursor else None
    return await _admin(request, "stock", products=found.items, next_url=next_url, words=query, new_key=uuid4)


@router.post("/stock/{product_id}")
async def change_stock(request: Request, product_id: UUID, shop: Shop, admin: Admin, form: Posted) -> Response:
    """Adds to the stock, or takes from it with a minus: sales go on meanwhile, so no total is set.

    The form's own key makes a second press harmless.
    """
    back = with_query("/admin/stock", query=form.get("words", ""))
    delta = whole(form, "delta", low=-MAX_STOCK_CHANGE, high=MAX_STOCK_CHANGE, default=0)
    if delta == 0:
        return go(request, back, "Nothing was changed.")
    key = form.get("key") or str(uuid4())
    product = await shop.backends.catalogue.change_stock(admin.access_token, product_id, delta, key)
    return go(request, back, f"“{product.name}” has {product.stock} pieces now.")


@router.get("/promotions")
async def promotions(request: Request, shop: Shop, admin: Admin, cursor: CursorText = "") -> Response:
    found = await shop.backends.prices.promotions(admin.access_token, cursor)
    next_url = with_query("/admin/promotions", cursor=found.next_cursor) if found.next_cursor else None
    return await _admin(request, "promotions", promotions=found.items, next_url=next_url)


@router.get("/promotions/new")
async def new_promotion(request: Request, shop: Shop, admin: Admin) -> Response:
    return await _promotion_form(request, {"kind": "percentage", "active": "1"}, "")


@router.get("/promotions/{code}")
async def edit_promotion(request: Request, code: Code, shop: Shop, admin: Admin) -> Response:
    found = await shop.backends.prices.promotion(admin.access_token, code)
    return await _promotion_form(request, PromotionForm.values(found, shop.settings.store.currency), found.code)


@router.post("/promotions")
async def save_promotion(request: Request, shop: Shop, admin: Admin, form: Posted) -> Response:
    code = form.get("original") or form.get("code", "")
    checked, errors = read(PromotionForm, {**form, "code": code})
    rule, more = checked.rule(shop.settings.store.currency) if checked else ({}, {})
    if errors or more:
        return await _promotion_form(request, form, form.get("original", ""), errors={**errors, **more}, status=422)
    try:
        await shop.backends.prices.put_promotion(admin.access_token, code, rule)
    except Problem as problem:
        if problem.status != 422:
            raise
        said = {"value": problem.errors[0]["message"] if problem.errors else problem.detail}
        return await _promotion_form(request, form, form.get("original", ""), errors=said, status=422)
    return go(request, "/admin/promotions", f"The promotion {code.upper()} is saved.")


async def _promotion_form(
    request: Request,
    values: Mapping[str, str],
    original: str,
    *,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    frame = {"values": values, "original": original, "errors": errors or {}}
    return await _admin(request, "promotion", status=status, **frame)


@router.get("/messages")
async def messages(request: Request, shop: Shop, admin: Admin, cursor: CursorText = "") -> Response:
    found = await shop.backends.messages.everybodys(admin.access_token, cursor)
    next_url = with_query("/admin/messages", cursor=found.next_cursor) if found.next_cursor else None
    return await _admin(
        request, "messages", messages=found.items, next_url=next_url, mailbox_path=shop.settings.mailbox_path
    )


async def _admin(request: Request, tab: str, *, status: int = 200, **values: Any) -> Response:
    return await page(request, f"admin/{tab}.html", status=status, tab=tab, **values)
