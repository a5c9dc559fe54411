"""Restaurants as cards, and the menu of one, from which items are put into the cart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from shop.contracts.restaurant import MAX_QUANTITY
from shop.kit.errors import Problem, Unavailable
from shop.storefront import metrics
from shop.storefront.catalogue_pages import CursorText, Words
from shop.storefront.confirmation import CONFIRMED, Confirmation, confirmation_page
from shop.storefront.food.carts import CartItem, FoodCart, OtherRestaurant
from shop.storefront.food.choosing import chosen_ids, wrong_options
from shop.storefront.food.homes import Home, distance_m, home_of, locate
from shop.storefront.food.lines import lines_of
from shop.storefront.food.schemas import Menu, Restaurant
from shop.storefront.food.service import Food, FoodShop, food_of
from shop.storefront.food.texts import distance_text, minutes_text, opens_text
from shop.storefront.forms import int_field
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, formats_of, page, public_url, redirect, with_query
from shop.town import town

router = APIRouter(prefix="/eat", include_in_schema=False, dependencies=[Depends(food_of)])

MAX_STREET_CHARACTERS = 120
SHOW_NO_MENU = frozenset({"restaurant_closed", "restaurant_paused"})
"""Codes of a 404 for the menu of a restaurant that is known."""
EXAMPLE_NUMBER = 12

CuisineText = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True)
class Card:
    """A restaurant as the list shows it; fee (minor units) and distance only when it is known where the food goes."""

    restaurant: Restaurant
    state: str
    preparation: str = ""
    distance: str = ""
    fee: int | None = None
    too_far: bool = False


@dataclass(frozen=True)
class Typed:
    """A menu form that was not accepted: its item, values, and errors by the option's place."""

    item_id: UUID
    form: Mapping[str, str]
    wrong: Mapping[int, str]
    chosen: frozenset[UUID] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Filters:
    query: str = ""
    cuisine: str = ""
    open_now: bool = False
    cursor: str = ""

    @property
    def any(self) -> bool:
        return bool(self.query or self.cuisine or self.open_now)

    def url(self, cursor: str) -> str:
        open_now = "1" if self.open_now else ""
        return with_query("/eat", query=self.query, cuisine=self.cuisine, open_now=open_now, cursor=cursor)


@router.get("")
async def restaurants(
    request: Request,
    shop: Shop,
    food: FoodShop,
    visitor: CurrentVisitor,
    query: Words = "",
    cuisine: CuisineText = "",
    open_now: bool = False,
    cursor: CursorText = "",
) -> Response:
    return await _restaurants(request, shop, food, visitor, Filters(query, cuisine, open_now, cursor))


async def _restaurants(
    request: Request, shop: Storefront, food: Food, visitor: Visitor, filters: Filters, wrong_street: str | None = None
) -> Response:
    """The list; `wrong_street` is a typed street that is not in the town."""
    backend = food.backends.restaurants
    home, cuisines, cart = await asyncio.gather(
        home_of(shop, food, visitor), backend.known_cuisines(), food.carts.shown(visitor)
    )
    found = await backend.list(
        open_now=filters.open_now,
        cuisine=filters.cuisine,
        query=filters.query,
        near=home.position if home else None,
        cursor=filters.cursor,
    )
    now = datetime.now(UTC)
    return await page(
        request,
        "food/restaurants.html",
        status=422 if wrong_street is not None else 200,
        cards=[card_of(shop, restaurant, home, now) for restaurant in found.items],
        home=home,
        streets=town().streets(),
        town_name=town().name,
        filters=filters,
        cuisines=cuisines,
        next_url=filters.url(found.next_cursor) if found.next_cursor else None,
        food_cart=cart,
        wrong_street=wrong_street,
        street_example=street_example(),
        canonical=None if filters.any or filters.cursor else public_url(request, "/eat"),
    )


def card_of(shop: Storefront, restaurant: Restaurant, home: Home | None, now: datetime) -> Card:
    store = shop.settings.store
    written = formats_of(store)
    if restaurant.paused:
        state = "Takes no orders at the moment"
    elif restaurant.open and restaurant.full:
        state = "Busy: please try again in a few minutes"
    else:
        state = "Open" if restaurant.open else opens_text(written, restaurant.opens_at, now, restaurant.time_zone)
    preparation = minutes_text(restaurant.preparation_s) if restaurant.preparation_s else ""
    if home is None:
        return Card(restaurant, state, preparation)
    way_m = distance_m(restaurant.position, home.position)
    fee, too_far = store.delivery.fee(way_m), way_m > store.delivery.max_distance_m
    return Card(restaurant, state, preparation, distance_text(way_m), fee, too_far)


@router.post("/street")
async def choose_street(
    request: Request, shop: Shop, food: FoodShop, visitor: CurrentVisitor, form: PostedForm
) -> Response:
    """Remember where the food goes; restaurants are then listed with distance and fee. An empty street forgets it."""
    street = " ".join(form.get("street", "").split())[:MAX_STREET_CHARACTERS]
    if street and locate(street) is None:
        return await _restaurants(request, shop, food, visitor, Filters(), street)
    await food.carts.keep_street(visitor.cart_owner, street)
    return redirect(request, "/eat")


def street_example() -> str:
    """An address of the town, for a hint."""
    return f"{EXAMPLE_NUMBER} {town().streets()[0]}"


@router.get("/{restaurant_id}")
async def menu(request: Request, restaurant_id: UUID, shop: Shop, food: FoodShop, visitor: CurrentVisitor) -> Response:
    shown = await _menu(request, restaurant_id, shop, food, visitor)
    metrics.VIEW.inc()
    return shown


async def _menu(
    request: Request,
    restaurant_id: UUID,
    shop: Storefront,
    food: Food,
    visitor: Visitor,
    typed: Typed | None = None,
) -> Response:
    restaurant, home, cart = await asyncio.gather(
        food.backends.restaurants.one(restaurant_id), home_of(shop, food, visitor), food.carts.shown(visitor)
    )
    shown = await menu_if_open(food, restaurant_id)
    own = cart if cart.restaurant_id == restaurant_id else FoodCart(None, {})
    card = card_of(shop, restaurant, home, datetime.now(UTC))
    sums = [line.total.amount for line in lines_of(own, shown or Menu()) if line.total]
    return await page(
        request,
        "food/menu.html",
        status=422 if typed else 200,
        restaurant=restaurant,
        card=card,
        menu=shown,
        food_cart=cart,
        own_count=own.count,
        own_total=sum(sums),
        other_restaurant=bool(cart.restaurant_id) and cart.restaurant_id != restaurant_id,
        max_item_quantity=MAX_QUANTITY,
        typed=typed,
        canonical=public_url(request, f"/eat/{restaurant_id}"),
    )


async def menu_if_open(food: Food, restaurant_id: UUID) -> Menu | None:
    """None while the restaurant takes no orders."""
    try:
        return await food.backends.restaurants.menu(restaurant_id)
    except Problem as problem:
        if problem.code not in SHOW_NO_MENU:
            raise
        return None


@router.post("/{restaurant_id}/items/{item_id}")
async def add(
    request: Request,
    restaurant_id: UUID,
    item_id: UUID,
    shop: Shop,
    food: FoodShop,
    visitor: CurrentVisitor,
    form: PostedForm,
) -> Response:
    """Put an item into the cart. Items of another restaurant are replaced after a confirmation."""
    here = f"/eat/{restaurant_id}"
    item = (await food.backends.restaurants.menu(restaurant_id)).item(item_id)
    if item is None:
        raise Problem(404, "unknown_item", "This item is no longer on the menu.")
    if not item.available:
        return redirect(request, here, f"“{item.name}” is sold out.")
    ids = frozenset(choice.id for choice in item.chosen(chosen_ids(form)))
    if wrong := wrong_options(item, ids):
        return await _menu(request, restaurant_id, shop, food, visitor, Typed(item_id, form, wrong, ids))
    quantity = int_field(form, "quantity", low=1, high=MAX_QUANTITY, default=1)
    try:
        await food.carts.add(
            visitor.cart_owner, restaurant_id, CartItem.of(item_id, ids), quantity, replace=CONFIRMED in form
        )
    except OtherRestaurant:
        return await _ask_to_replace(request, food, visitor, form, here)
    metrics.CART.inc()
    return redirect(request, here, f"“{item.name}” is in your cart.")


async def _ask_to_replace(
    request: Request, food: Food, visitor: Visitor, form: Mapping[str, str], back: str
) -> Response:
    cart = await food.carts.cart(visitor)
    other = "another restaurant"
    if cart.restaurant_id:
        try:
            other = f"“{(await food.backends.restaurants.one(cart.restaurant_id)).name}”"
        except (Problem, Unavailable):
            other = "another restaurant"
    explanation = f"Your cart has items of {other}. An order is of one restaurant, so they will be removed."
    confirmation = Confirmation("Start a new cart?", explanation, "Start a new cart", back)
    return await confirmation_page(request, request.url.path, form, confirmation)
