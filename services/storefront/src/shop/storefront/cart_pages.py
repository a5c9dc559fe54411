"""The cart: its lines, quantities and an estimate of the total."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.contracts.money import Money
from shop.kit.errors import Problem, Unavailable
from shop.storefront import metrics
from shop.storefront.carts import MAX_QUANTITY
from shop.storefront.confirmation import CONFIRMED, Confirmation, confirmation_page
from shop.storefront.forms import default_country, int_field
from shop.storefront.schemas import Quote
from shop.storefront.service import CartLine, Storefront
from shop.storefront.suggestions import MAX_BUNDLED, heading
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, page, redirect

router = APIRouter(include_in_schema=False)


@router.get("/cart")
async def cart(request: Request, shop: Shop, visitor: CurrentVisitor) -> Response:
    lines = await shop.cart(visitor) if visitor.known else []
    short = [line.product.name for line in lines if line.product.stock < line.quantity]
    problem = f"Not enough in stock: {', '.join(short)}." if short else ""
    quote, suggested = await asyncio.gather(
        _estimate(shop, lines), shop.suggestions.for_cart([line.product.id for line in lines], visitor)
    )
    country, total = default_country(shop.settings.store), subtotal(shop, lines)
    return await page(
        request,
        "cart.html",
        lines=lines,
        quote=quote,
        country=country,
        subtotal=total,
        problem=problem,
        suggested=suggested,
        suggested_heading=heading(suggested, for_cart=True),
    )


def subtotal(shop: Storefront, lines: Sequence[CartLine]) -> Money:
    return Money(amount=sum(line.total.amount for line in lines), currency=shop.settings.store.currency)


async def _estimate(shop: Storefront, lines: Sequence[CartLine]) -> Quote | None:
    """A quote for the default country; None while pricing is unavailable."""
    if not lines:
        return None
    try:
        quantities = {line.product.id: line.quantity for line in lines}
        return await shop.backends.prices.quote(quantities, default_country(shop.settings.store))
    except (Unavailable, Problem):
        return None


@router.post("/cart/lines")
async def add(request: Request, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    product_id = _product_id(form.get("product_id", ""))
    product = await shop.backends.catalogue.product(product_id)
    wanted = int_field(form, "quantity", low=1, high=MAX_QUANTITY, default=1)
    quantity = await shop.carts.add(visitor.cart_owner, product_id, wanted)
    metrics.CART.inc()
    times = f" (quantity: {quantity})" if quantity > 1 else ""
    return redirect(request, "/cart", f"“{product.name}” is in your cart{times}.")


@router.post("/cart/bundle")
async def add_bundle(request: Request, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    """Add one of each product that is bought together."""
    texts = form.get("product_ids", "").split(",")[: MAX_BUNDLED + 2]
    product_ids = {_product_id(text) for text in texts}
    found = await shop.backends.catalogue.by_ids(product_ids)
    if len(found) < len(texts) or len(texts) > MAX_BUNDLED + 1:
        raise unknown_product()
    await shop.carts.add_each(visitor.cart_owner, product_ids)
    metrics.CART.inc(len(found))
    return redirect(request, "/cart", f"{len(found)} products were added to your cart.")


@router.post("/cart/lines/{product_id}")
async def change(request: Request, product_id: UUID, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    """Set the quantity; 0 removes the line, and text that is not a number changes nothing. Redirects to the field."""
    wanted = 0 if CONFIRMED in form else int_field(form, "quantity", low=0, high=MAX_QUANTITY, default=-1)
    if wanted >= 0:
        await shop.carts.put(visitor.cart_owner, product_id, wanted)
    return redirect(request, f"/cart#quantity-{product_id}" if wanted else "/cart#cart-title")


@router.get("/cart/lines/{product_id}/remove")
async def remove(request: Request, product_id: UUID, shop: Shop, visitor: CurrentVisitor) -> Response:
    """The confirmation page for removing a line."""
    lines = await shop.cart(visitor)
    name = next((line.product.name for line in lines if line.product.id == product_id), "")
    if not name:
        return redirect(request, "/cart")
    back = f"/cart#remove-{product_id}"
    confirmation = Confirmation("Remove from cart?", f"“{name}” will be removed from your cart.", "Remove", back)
    return await confirmation_page(request, f"/cart/lines/{product_id}", {}, confirmation)


def _product_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise unknown_product() from None


def unknown_product() -> Problem:
    return Problem(404, "unknown_product", "There is no such product.")
