"""The checkout of food: address in the town, tip, note, quote with fee, and an order that is placed once per form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.contracts.money import Money
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.sessions import Session
from shop.kit.text import code
from shop.storefront import metrics
from shop.storefront.checkout_pages import TEST_CARDS, new_key, saved_addresses, saved_fields, shown_total
from shop.storefront.food.forms import (
    OTHER_TIP,
    TIP_PERCENTS,
    FoodCheckoutForm,
    order_body,
    percent_of,
    quote_body,
    tip_of,
)
from shop.storefront.food.homes import home_of, locate
from shop.storefront.food.lines import FilledCart, filled_cart
from shop.storefront.food.schemas import FoodQuote
from shop.storefront.food.service import Food, FoodShop, food_of
from shop.storefront.food.texts import CART_KEPT, refusal, when_text
from shop.storefront.forms import default_country, form_key, parse_form
from shop.storefront.schemas import SavedAddress
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, SignedIn, formats_of, page, redirect
from shop.town import town

router = APIRouter(prefix="/eat/checkout", include_in_schema=False, dependencies=[Depends(food_of)])

CHECK_FIELDS = "Please check the highlighted fields."


@dataclass(frozen=True)
class Visit:
    """One request to the checkout: who, what is in the cart, and the form's values."""

    request: Request
    shop: Storefront
    food: Food
    visitor: Visitor
    session: Session
    filled: FilledCart
    values: Mapping[str, str]
    key: str

    @property
    def currency(self) -> str:
        return self.shop.settings.store.currency

    @property
    def tip(self) -> Money:
        amount, _ = tip_of(self.values, self.filled.subtotal, self.currency)
        return Money(amount=amount, currency=self.currency)


@dataclass(frozen=True)
class Shown:
    """What the page says besides the form."""

    status: int = 200
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    more: str = ""


@dataclass
class Totals:
    """``retry``: the quote may be there in a moment."""

    quote: FoodQuote | None = None
    note: str = ""
    coupon_note: str = ""
    retry: bool = False


@router.get("")
async def checkout(
    request: Request, shop: Shop, food: FoodShop, visitor: CurrentVisitor, session: SignedIn
) -> Response:
    filled, addresses, home = await asyncio.gather(
        _filled(food, visitor), saved_addresses(shop, session), home_of(shop, food, visitor)
    )
    if not filled.orderable:
        return redirect(request, "/eat/cart")
    values = {"name": session.name, "card": TEST_CARDS[0][0], "tip": "0"}
    if home:
        values |= _fields_at(addresses, home.street) | {"street": home.street}
    metrics.CHECKOUT.inc()
    visit = Visit(request, shop, food, visitor, session, filled, _in_town(shop, filled, values), new_key())
    return await _show(visit, Shown())


@router.post("/quote")
async def quote(
    request: Request, shop: Shop, food: FoodShop, visitor: CurrentVisitor, session: SignedIn, form: PostedForm
) -> Response:
    """The page with the totals for the submitted form; htmx replaces the totals alone."""
    return await _totals_only(await _visit(request, shop, food, visitor, session, form))


@router.post("")
async def submit(
    request: Request, shop: Shop, food: FoodShop, visitor: CurrentVisitor, session: SignedIn, form: PostedForm
) -> Response:
    """Place the order with "Order now"; every other button updates the totals."""
    visit = await _visit(request, shop, food, visitor, session, form)
    if form.get("action") != "buy":
        return await _totals_only(visit)
    earlier = await shop.carts.purchase(visitor.cart_owner, visit.key)
    if earlier is not None:
        return await _buy(visit, earlier)
    if not visit.filled.orderable:
        return redirect(request, "/eat/cart", "" if visit.filled.lines else "Your cart is empty.")
    checked, errors = parse_form(FoodCheckoutForm, visit.values)
    _, wrong_tip = tip_of(visit.values, visit.filled.subtotal, visit.currency)
    if wrong_tip:
        errors["tip_amount"] = wrong_tip
    if checked is None or errors:
        return await _show(visit, Shown(422, errors, CHECK_FIELDS))
    expected = shown_total(form, visit.currency)
    if expected is None:
        return await _show(visit, Shown(409, problem="Please review the total before you order."))
    await food.carts.keep_street(visitor.cart_owner, checked.street)
    return await _buy(visit, order_body(visit.filled.cart, checked, visit.tip, expected))


async def _filled(food: Food, visitor: Visitor) -> FilledCart:
    return await filled_cart(food, await food.carts.cart(visitor))


async def _visit(
    request: Request, shop: Storefront, food: Food, visitor: Visitor, session: Session, form: Mapping[str, str]
) -> Visit:
    filled = await _filled(food, visitor)
    values = _in_town(shop, filled, form)
    return Visit(request, shop, food, visitor, session, filled, values, form_key(form, "idempotency_key"))


async def _totals_only(visit: Visit) -> Response:
    if not visit.filled.lines:
        return redirect(visit.request, "/eat/cart", "Your cart is empty.")
    return await _show(visit, Shown())


def _in_town(shop: Storefront, filled: FilledCart, values: Mapping[str, str]) -> dict[str, str]:
    """The values with the town's city and country, and by default the restaurant's postal code."""
    place = filled.restaurant.address if filled.restaurant else None
    typed = {"postal_code": place.postal_code if place else "", **values}
    return typed | {"city": town().name, "country": default_country(shop.settings.store)}


def _fields_at(addresses: Sequence[SavedAddress], street: str) -> dict[str, str]:
    """The fields of the saved address in this street."""
    found = next((saved for saved in reversed(addresses) if saved.street == street), None)
    return saved_fields(found) if found else {}


async def _buy(visit: Visit, body: Any) -> Response:
    """Redirects to the order; after a refusal the form is shown again with its values, and the cart is kept."""
    carts, owner = visit.shop.carts, visit.visitor.cart_owner
    try:
        order = await visit.shop.buy(visit.visitor, visit.session.access_token, visit.key, body)
    except OutcomeUnknown:
        await carts.mark_outcome_uncertain(owner, visit.key)
        text = "We did not get a response in time, so we do not know yet whether your order was placed."
        return await _show(
            visit, Shown(503, problem=text, more="Press “Order now” again. You will not be charged twice.")
        )
    except Unavailable:
        await carts.discard_purchase(owner, visit.key)
        more = f"Your order was not placed. {CART_KEPT} Please press “Order now” again."
        return await _show(visit, Shown(503, problem="We cannot take orders at the moment.", more=more))
    except Problem as problem:
        return await _refused(visit, problem)
    metrics.ORDER.inc()
    return redirect(visit.request, f"/orders/{order.id}")


async def _refused(visit: Visit, problem: Problem) -> Response:
    if problem.status in {401, 403, 429}:
        raise problem
    if problem.code.startswith("idempotency_key_"):
        text = "This order was already submitted. Please check your orders before you order again."
        return redirect(visit.request, "/account", text)
    text = refusal(problem, formats_of(visit.shop.settings.store), datetime.now(UTC), visit.filled.names)
    again = replace(visit, filled=await _filled(visit.food, visit.visitor), key=new_key())
    return await _show(again, Shown(problem.status, problem=text, more=CART_KEPT))


async def _show(visit: Visit, shown: Shown) -> Response:
    addresses, totals = await asyncio.gather(saved_addresses(visit.shop, visit.session), _totals(visit))
    written, now = formats_of(visit.shop.settings.store), datetime.now(UTC)
    eta = totals.quote.eta if totals.quote else None
    subtotal = visit.filled.subtotal
    return await page(
        visit.request,
        "food/checkout.html",
        status=shown.status,
        filled=visit.filled,
        values=visit.values,
        errors=shown.errors,
        problem=shown.problem,
        problem_more=shown.more,
        idempotency_key=visit.key,
        addresses=[
            {"id": saved.id, "place": saved, "fields": saved_fields(saved)}
            for saved in addresses
            if locate(saved.street)
        ],
        cards=TEST_CARDS,
        tips=[(percent, percent_of(subtotal, percent)) for percent in TIP_PERCENTS],
        other_tip=OTHER_TIP,
        quote=totals.quote,
        quote_note=totals.note,
        quote_retry=totals.retry,
        coupon_note=totals.coupon_note,
        expected=when_text(written, eta, now) if eta else "",
        streets=town().streets(),
        town_name=town().name,
    )


async def _totals(visit: Visit) -> Totals:
    """The quote; if the coupon is not valid, a note says so and the totals are those without it."""
    street = visit.values.get("street", "").strip()
    if not street or locate(street) is None:
        return Totals(note="Enter your street and number to see the delivery fee and the total.")
    if not visit.filled.lines or visit.filled.closed:
        return Totals(note="The restaurant is closed at the moment.")
    coupon = code(visit.values.get("coupon", ""))
    try:
        found = await _quote(visit, coupon)
        return Totals(found, coupon_note=f"Coupon {coupon} applied." if coupon else "")
    except Unavailable:
        return Totals(note="The total cannot be calculated at the moment. Please try again in a minute.", retry=True)
    except Problem as problem:
        note = refusal(problem, formats_of(visit.shop.settings.store), datetime.now(UTC), visit.filled.names)
    try:
        return Totals(await _quote(visit, ""), coupon_note=note) if coupon else Totals(note=note)
    except (Problem, Unavailable):
        return Totals(note=note)


async def _quote(visit: Visit, coupon: str) -> FoodQuote:
    names = ("name", "street", "city", "postal_code", "country", "region")
    address = {name: visit.values[name] for name in names if visit.values.get(name)}
    address = {"name": visit.session.name, "postal_code": "", **address}
    body = quote_body(visit.filled.cart, address, visit.tip, coupon)
    return await visit.food.backends.prices.quote(body, visit.session.access_token)
