"""The checkout: address, card, coupon, totals, and an order that is placed once per form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.contracts.money import Money
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.formatting import Formats
from shop.kit.sessions import Session
from shop.kit.text import code
from shop.storefront import metrics
from shop.storefront.error_texts import NOT_ORDERED, refusal_text
from shop.storefront.forms import AddressForm, CheckoutForm, default_country, form_key, parse_form
from shop.storefront.schemas import Quote, SavedAddress
from shop.storefront.service import CartLine, Storefront, purchase_body
from shop.storefront.sessions import Visitor
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, SignedIn, formats_of, page, redirect

router = APIRouter(include_in_schema=False)

TOTAL = re.compile(r"[0-9]{1,15}")
"""Minor units."""
ADDRESS_FIELDS = tuple(AddressForm.model_fields)

TEST_CARDS = (
    ("tok_visa", "Test card: approved", "The order is confirmed immediately."),
    ("tok_declined", "Test card: declined", "The bank declines the payment and no order is placed."),
    ("tok_insufficient", "Test card: insufficient funds", "The balance is too low and no order is placed."),
    (
        "tok_timeout",
        "Test card: slow bank",
        "The bank responds late. The order stays pending and completes automatically.",
    ),
)
"""Tokens of the payment simulator: token, label, what happens."""


@dataclass
class Checkout:
    """The contents of a checkout page."""

    lines: Sequence[CartLine]
    values: Mapping[str, str]
    key: str
    addresses: Sequence[SavedAddress] = ()
    errors: Mapping[str, str] | None = None
    problem: str = ""
    problem_more: str = ""
    quote: Quote | None = None
    quote_note: str = ""
    coupon_note: str = ""


def new_key() -> str:
    return str(uuid4())


@router.get("/checkout")
async def checkout(request: Request, shop: Shop, visitor: CurrentVisitor, session: SignedIn) -> Response:
    lines = await shop.cart(visitor)
    if not lines:
        return redirect(request, "/cart")
    addresses = await saved_addresses(shop, session)
    values = {"name": session.name, "country": default_country(shop.settings.store), "card": TEST_CARDS[0][0]}
    if addresses:
        values |= saved_fields(addresses[-1]) | {"saved": str(addresses[-1].id)}
    metrics.CHECKOUT.inc()
    return await _show(request, shop, session, Checkout(lines, values, new_key(), addresses))


@router.post("/checkout/quote")
async def quote(request: Request, shop: Shop, visitor: CurrentVisitor, session: SignedIn, form: PostedForm) -> Response:
    """The checkout page with the totals for the submitted form; htmx replaces the totals alone."""
    lines = await shop.cart(visitor)
    values = _with_missing_fields_of_saved(form, await saved_addresses(shop, session)) if form.get("saved") else form
    return await _show(request, shop, session, Checkout(lines, values, form_key(form, "idempotency_key")))


@router.post("/checkout")
async def submit(
    request: Request, shop: Shop, visitor: CurrentVisitor, session: SignedIn, form: PostedForm
) -> Response:
    key = form_key(form, "idempotency_key")
    if form.get("action") != "buy":
        return await _show_totals(request, shop, visitor, session, form, key)
    earlier = await shop.carts.purchase(visitor.cart_owner, key)
    if earlier is not None:
        return await _buy(request, shop, visitor, session, form, key, earlier)
    lines = await shop.cart(visitor)
    if not lines:
        return redirect(request, "/cart", "Your cart is empty.")
    addresses = await saved_addresses(shop, session)
    checked, errors = parse_form(CheckoutForm, form)
    if checked is None:
        shown = Checkout(lines, form, key, addresses, errors, problem="Please check the highlighted fields.")
        return await _show(request, shop, session, shown, status=422)
    expected = shown_total(form, shop.settings.store.currency)
    if expected is None:
        shown = Checkout(lines, form, key, addresses, problem="Please review the total before you buy.")
        return await _show(request, shop, session, shown, status=409)
    quantities = {line.product.id: line.quantity for line in lines}
    body = purchase_body(quantities, checked.address(), checked.card, checked.coupon, expected)
    return await _buy(request, shop, visitor, session, form, key, body)


async def _show_totals(
    request: Request, shop: Storefront, visitor: Visitor, session: Session, form: Mapping[str, str], key: str
) -> Response:
    """The checkout page with the totals for the form: what every submit button but "Buy now" does."""
    lines, addresses = await asyncio.gather(shop.cart(visitor), saved_addresses(shop, session))
    if not lines:
        return redirect(request, "/cart", "Your cart is empty.")
    return await _show(request, shop, session, Checkout(lines, {**form, **_selected(form, addresses)}, key, addresses))


async def _buy(
    request: Request, shop: Storefront, visitor: Visitor, session: Session, form: Mapping[str, str], key: str, body: Any
) -> Response:
    """Redirects to the order; after a refusal the form is shown again with its values and a new key."""
    try:
        order = await shop.buy(visitor, session.access_token, key, body)
    except OutcomeUnknown:
        await shop.carts.mark_outcome_uncertain(visitor.cart_owner, key)
        text = "We did not get a response in time, so we do not know yet whether your order was placed."
        more = "Press “Buy now” again to check. You will not be charged twice."
        return await _retry_page(request, shop, visitor, session, form, key, (503, text, more))
    except Unavailable:
        await shop.carts.discard_purchase(visitor.cart_owner, key)
        text, more = "We cannot take orders at the moment.", "Your order was not placed. Please press “Buy now” again."
        return await _retry_page(request, shop, visitor, session, form, key, (503, text, more))
    except Problem as problem:
        if problem.status in {401, 403, 429}:
            raise
        if problem.code.startswith("idempotency_key_"):
            return redirect(
                request, "/account", "This order was already submitted. Please check your orders before you buy again."
            )
        refusal = (problem.status, await _refusal(shop, problem), "")
        return await _retry_page(request, shop, visitor, session, form, new_key(), refusal)
    metrics.ORDER.inc()
    return redirect(request, f"/orders/{order.id}")


async def _retry_page(
    request: Request,
    shop: Storefront,
    visitor: Visitor,
    session: Session,
    form: Mapping[str, str],
    key: str,
    refusal: tuple[int, str, str],
) -> Response:
    status, problem, more = refusal
    lines, addresses = await asyncio.gather(shop.cart(visitor), saved_addresses(shop, session))
    shown = Checkout(lines, form, key, addresses, problem=problem, problem_more=more)
    return await _show(request, shop, session, shown, status=status)


def shown_total(form: Mapping[str, str], currency: str) -> Money | None:
    """The total that the page showed; None if it showed none."""
    amount = form.get("shown_total", "")
    return Money(amount=int(amount), currency=currency) if TOTAL.fullmatch(amount) else None


async def _refusal(shop: Storefront, problem: Problem) -> str:
    """The text for a refusal; a shortage names the product and what is left of it."""
    if problem.code == "price_changed":
        return _price_changed(problem, formats_of(shop.settings.store))
    if problem.code != "insufficient_stock":
        return refusal_text(str(problem.extra.get("decline_code", problem.code)), problem.detail)
    left = int(problem.extra.get("available") or 0)
    try:
        product = await shop.backends.catalogue.product(UUID(str(problem.extra.get("product_id"))))
    except (Problem, Unavailable, ValueError):
        return problem.detail
    rest = f"Only {left} of “{product.name}” left in stock." if left else f"“{product.name}” is sold out."
    return f"{rest} {NOT_ORDERED} Please update your cart."


def _price_changed(problem: Problem, written: Formats) -> str:
    totals = (Money.model_validate(problem.extra[name]) for name in ("expected_total", "total"))
    before, now = (written.money(total.amount, total.currency) for total in totals)
    return f"The total has changed from {before} to {now}. Your order was not placed. Please review it and try again."


async def _show(
    request: Request, shop: Storefront, session: Session, shown: Checkout, *, status: int = 200
) -> Response:
    await _find_total(shop, session, shown)
    return await page(
        request,
        "checkout.html",
        status=status,
        lines=shown.lines,
        values=shown.values,
        errors=shown.errors or {},
        idempotency_key=shown.key,
        addresses=[{"id": saved.id, "place": saved, "fields": saved_fields(saved)} for saved in shown.addresses],
        cards=TEST_CARDS,
        problem=shown.problem,
        problem_more=shown.problem_more,
        quote=shown.quote,
        quote_note=shown.quote_note,
        coupon_note=shown.coupon_note,
    )


async def _find_total(shop: Storefront, session: Session, shown: Checkout) -> None:
    """Sets the quote; if the coupon is not valid, a note says so and the totals are those without it."""
    if not shown.lines:
        return
    quantities = {line.product.id: line.quantity for line in shown.lines}
    country = shown.values.get("country") or default_country(shop.settings.store)
    coupon = code(shown.values.get("coupon", ""))
    try:
        shown.quote = await shop.backends.prices.quote(quantities, country, coupon, session.access_token)
        shown.coupon_note = f"Coupon {coupon} applied." if coupon else ""
    except Unavailable:
        shown.quote_note = "The total cannot be calculated at the moment. Please try again in a minute."
    except Problem as problem:
        shown.quote_note = refusal_text(problem.code, problem.detail)
        if coupon:
            await _total_without_coupon(shop, shown, quantities, country)


async def _total_without_coupon(
    shop: Storefront, shown: Checkout, quantities: Mapping[UUID, int], country: str
) -> None:
    try:
        shown.quote = await shop.backends.prices.quote(quantities, country)
        shown.coupon_note, shown.quote_note = shown.quote_note, ""
    except (Problem, Unavailable):
        return


async def saved_addresses(shop: Storefront, session: Session) -> list[SavedAddress]:
    """Saved addresses that the shop ships to; none while the user service is unavailable."""
    try:
        found = await shop.backends.users.addresses(session.access_token)
        return [saved for saved in found if saved.country in shop.settings.store.served]
    except Unavailable:
        return []


def saved_fields(address: SavedAddress) -> dict[str, str]:
    return address.model_dump(include=set(ADDRESS_FIELDS))


def _with_missing_fields_of_saved(form: Mapping[str, str], addresses: Sequence[SavedAddress]) -> dict[str, str]:
    """The form, with fields of the selected address that the form lacked while another country was selected."""
    selected = _selected(form, addresses)
    return {**selected, **form} if selected.get("country") == form.get("country") else dict(form)


def _selected(form: Mapping[str, str], addresses: Sequence[SavedAddress]) -> dict[str, str]:
    """The fields of the saved address that is selected in the form."""
    found = next((saved for saved in addresses if str(saved.id) == form.get("saved")), None)
    return saved_fields(found) if found else {}
