"""The cart of food: its lines, quantities, and what is missing for an order."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.contracts.restaurant import MAX_QUANTITY
from shop.kit.errors import Problem
from shop.storefront.food.carts import CartItem, OtherRestaurant
from shop.storefront.food.homes import home_of
from shop.storefront.food.lines import filled_cart
from shop.storefront.food.restaurant_pages import card_of
from shop.storefront.food.service import FoodShop, food_of
from shop.storefront.forms import int_field
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, page, redirect

router = APIRouter(prefix="/eat", include_in_schema=False, dependencies=[Depends(food_of)])


@router.get("/cart")
async def cart(request: Request, shop: Shop, food: FoodShop, visitor: CurrentVisitor) -> Response:
    filled = await filled_cart(food, await food.carts.cart(visitor))
    home = await home_of(shop, food, visitor)
    card = card_of(shop, filled.restaurant, home, datetime.now(UTC)) if filled.restaurant else None
    return await page(request, "food/cart.html", filled=filled, card=card, max_item_quantity=MAX_QUANTITY)


@router.post("/cart/lines/{key}")
async def change(request: Request, key: str, food: FoodShop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    """Set the quantity; 0 removes the line, and text that is not a number changes nothing."""
    item = parse_key(key)
    wanted = 0 if form.get("action") == "remove" else int_field(form, "quantity", low=0, high=MAX_QUANTITY, default=-1)
    filled = await food.carts.cart(visitor)
    if wanted >= 0 and filled.restaurant_id and item in filled.lines:
        try:
            await food.carts.put(visitor.cart_owner, filled.restaurant_id, item, wanted)
        except OtherRestaurant:
            return redirect(request, "/eat/cart", "Your cart was changed in another window.")
    return redirect(request, f"/eat/cart#quantity-{key}" if wanted else "/eat/cart#cart-title")


def parse_key(key: str) -> CartItem:
    try:
        return CartItem.parse(key)
    except ValueError:
        raise Problem(404, "unknown_item", "There is no such item in your cart.") from None
