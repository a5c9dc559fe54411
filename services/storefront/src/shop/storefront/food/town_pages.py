"""Administrators' page of the whole town: couriers, deliveries, demand; and who is a courier or works where."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.kit.text import Email
from shop.storefront.admin_pages import admin_page
from shop.storefront.confirmation import Confirmation, require_confirmation
from shop.storefront.food.maps import map_of, marker, place
from shop.storefront.food.schemas import Courier, Delivery, DemandAt, User
from shop.storefront.food.service import Food, FoodShop, food_of
from shop.storefront.forms import SHOWN_IN_FORM, FormModel, parse_form
from shop.storefront.web import Admin, PostedForm, redirect

router = APIRouter(prefix="/admin/town", include_in_schema=False, dependencies=[Depends(food_of)])

LIVE_STATES = ("waiting", "assigned", "at_restaurant", "picked_up", "on_the_way")
VEHICLES = (("bike", "Bike"), ("cargo_bike", "Cargo bike"), ("scooter", "Scooter"), ("car", "Car"))
MAX_RESTAURANTS = 100
LEAST_HEAT_M = 40
HEAT_M = 30
"""Radius of a circle of demand: LEAST_HEAT_M, and HEAT_M more for each doubling of its orders."""


AdminStep = Literal["depart", "deliver", "drop"]
STEPS: Mapping[AdminStep, Confirmation] = {
    "depart": Confirmation(
        "Is the courier on the way?", "The customer sees that the food is on the way.", "On the way", "/admin/town"
    ),
    "deliver": Confirmation(
        "Has the customer got the food?",
        "The delivery ends without the customer's code. This cannot be undone.",
        "Delivered",
        "/admin/town",
    ),
    "drop": Confirmation(
        "Give it to another courier?",
        "The courier loses this delivery, and another one is looked for.",
        "Give it to another courier",
        "/admin/town",
    ),
}
"""What an administrator can do with a delivery in place of its courier."""
POSSIBLE: Mapping[str, AdminStep] = {
    "assigned": "drop", "at_restaurant": "drop", "picked_up": "depart", "on_the_way": "deliver",
}  # fmt: skip
"""By the delivery's state."""


class CourierForm(FormModel):
    email: Email
    vehicle: Literal["bike", "cargo_bike", "scooter", "car"]


class StaffForm(FormModel):
    staff_email: Email
    restaurant_id: UUID
    action: Literal["add", "remove"] = "add"


@dataclass(frozen=True)
class Heat:
    x: float
    y: float
    radius: int
    orders: int


@router.get("")
async def whole_town(request: Request, food: FoodShop, admin: Admin) -> Response:
    return await _town(request, food, admin)


async def _town(
    request: Request, food: Food, admin: Session, typed: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """The page; `typed` and `errors` are of a form that failed."""
    token = admin.access_token
    couriers, demand, restaurants, by_state = await asyncio.gather(
        food.couriers.all(token),
        food.couriers.demand(token),
        food.backends.restaurants.list(limit=MAX_RESTAURANTS),
        asyncio.gather(*(food.couriers.deliveries(token, state) for state in LIVE_STATES)),
    )
    deliveries = sorted(itertools.chain.from_iterable(by_state), key=lambda one: one.updated_at, reverse=True)
    on_shift = [courier for courier in couriers if courier.on_shift]
    return await admin_page(
        request,
        "town",
        status=422 if values.get("errors") else 200,
        couriers=couriers,
        on_shift=on_shift,
        deliveries=deliveries,
        heat=_heat(demand.items),
        demand_orders=sum(one.orders for one in demand.items),
        town_map=map_of([], _markers(on_shift, deliveries)),
        restaurants=restaurants.items,
        vehicles=VEHICLES,
        possible=POSSIBLE,
        steps=STEPS,
        typed=typed or {},
        **{"errors": {}, "problem": "", **values},
    )


def _markers(couriers: Sequence[Courier], deliveries: Sequence[Delivery]) -> list[Any]:
    """Restaurants and customers of live deliveries below the couriers; a courier with a delivery is "busy"."""
    ends = [marker("stop", position) for one in deliveries for position in (one.pickup, one.dropoff) if position]
    return ends + [marker("busy" if one.load else "free", one.position) for one in couriers if one.position]


def _heat(demand: Sequence[DemandAt]) -> list[Heat]:
    circles = []
    for one in demand:
        x, y = place(one.position)
        circles.append(Heat(x, y, LEAST_HEAT_M + HEAT_M * one.orders.bit_length(), one.orders))
    return circles


@router.post("/deliveries/{order_id}/{step}")
async def take_step(
    request: Request, order_id: UUID, step: AdminStep, food: FoodShop, admin: Admin, form: PostedForm
) -> Response:
    """In place of a courier who cannot."""
    if asked := await require_confirmation(request, form, STEPS[step]):
        return asked
    try:
        await food.couriers.act(admin.access_token, order_id, step)
    except Problem as problem:
        if problem.status not in {404, *SHOWN_IN_FORM}:
            raise
        return redirect(request, "/admin/town", problem.detail)
    return redirect(request, "/admin/town")


@router.post("/couriers")
async def put_courier(request: Request, food: FoodShop, admin: Admin, form: PostedForm) -> Response:
    """Make the user with this email address a courier, or change the vehicle."""
    checked, errors = parse_form(CourierForm, form)
    if checked is None:
        return await _town(request, food, admin, form, errors=errors)
    user = await _user(food, admin, checked.email)
    if user is None:
        return await _town(request, food, admin, form, errors={"email": UNKNOWN_EMAIL})
    try:
        await food.couriers.put(admin.access_token, user.id, user.name, checked.vehicle)
    except Problem as problem:
        if problem.status != 409:
            raise
        return await _town(request, food, admin, form, errors={"vehicle": problem.detail})
    return redirect(request, "/admin/town", f"{user.name} is a courier.")


@router.post("/staff")
async def change_staff(request: Request, food: FoodShop, admin: Admin, form: PostedForm) -> Response:
    """Let the user with this email address work at a restaurant, or no longer (`action` is remove)."""
    checked, errors = parse_form(StaffForm, form)
    if checked is None:
        return await _town(request, food, admin, form, errors=errors)
    user = await _user(food, admin, checked.staff_email)
    if user is None:
        return await _town(request, food, admin, form, errors={"staff_email": UNKNOWN_EMAIL})
    if checked.action == "remove":
        if not await food.kitchens.remove_staff(admin.access_token, checked.restaurant_id, user.id):
            errors = {"staff_email": f"{user.name} does not work at this restaurant."}
            return await _town(request, food, admin, form, errors=errors)
        return redirect(request, "/admin/town", f"{user.name} no longer works at the restaurant.")
    await food.kitchens.add_staff(admin.access_token, checked.restaurant_id, user.id)
    return redirect(request, "/admin/town", f"{user.name} works at the restaurant.")


UNKNOWN_EMAIL = "There is no account with this email address."


async def _user(food: Food, admin: Session, email: str) -> User | None:
    try:
        return await food.people.by_email(admin.access_token, email)
    except Problem as problem:
        if problem.status != 422:
            raise
        return None
