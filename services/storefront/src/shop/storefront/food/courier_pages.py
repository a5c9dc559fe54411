"""The page of a courier: shift, position, and the next delivery with its way and what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.contracts.geography import Position
from shop.kit.errors import Problem
from shop.storefront.food.homes import locate
from shop.storefront.food.maps import Marker, TownMap, map_of, marker
from shop.storefront.food.restaurant_pages import MAX_STREET_CHARACTERS, street_example
from shop.storefront.food.schemas import Courier, Job
from shop.storefront.food.service import FoodShop, food_of
from shop.storefront.web import PostedForm, Shop, SignedIn, page, redirect
from shop.town import town

router = APIRouter(prefix="/courier", include_in_schema=False, dependencies=[Depends(food_of)])

JobAction = Literal["reject", "arrive", "pick-up", "depart", "deliver", "drop"]

LABELS = {
    "arrive": "I am at the restaurant",
    "pick-up": "I have the food",
    "depart": "I am on the way",
    "deliver": "Hand over",
    "reject": "Reject",
    "drop": "I cannot go on",
}
AWAY = frozenset({"picked_up", "on_the_way"})
"""States in which the next stop is the customer."""
SHOWN = frozenset({409, 422, 429})
"""Statuses of refusals whose text is shown above the delivery."""
PERMISSIONS = "camera=(), geolocation=(self), microphone=()"
"""This page alone may ask the browser where it is."""


@router.get("")
async def courier(request: Request, food: FoodShop, session: SignedIn) -> Response:
    try:
        me = await food.couriers.me(session.access_token)
    except Problem as problem:
        if problem.code != "not_a_courier":
            raise
        return await page(request, "food/no_courier.html")
    jobs = await food.couriers.jobs(session.access_token)
    answer = await page(
        request,
        "food/courier.html",
        me=me,
        jobs=jobs,
        town_map=_map(me, jobs),
        map_text=_map_text(jobs),
        labels=LABELS,
        away=AWAY,
        now=datetime.now(UTC),
        streets=town().streets(),
        street_example=street_example(),
    )
    answer.headers["Permissions-Policy"] = PERMISSIONS
    return answer


def _map(me: Courier, jobs: Sequence[Job]) -> TownMap:
    """The way of the next delivery, or the whole town."""
    own: list[Marker] = [marker("courier", me.position, "courier")] if me.position else []
    if not jobs:
        return map_of([], own)
    job = jobs[0]
    markers = [marker("restaurant", job.pickup), *(marker("home", one.dropoff) for one in jobs)]
    shown = [job.pickup, *(one.dropoff for one in jobs), *job.route, *([me.position] if me.position else [])]
    return map_of(shown, [*markers, *own], job.route)


def _map_text(jobs: Sequence[Job]) -> str:
    if not jobs:
        return "Map of the town with your position."
    job = jobs[0]
    goal = f"the customer at {job.address.street}" if job.state in AWAY and job.address else job.restaurant_name
    return f"Map of the town with your position and the way to {goal}."


@router.get("/events")
async def events(shop: Shop, session: SignedIn) -> Response:
    """The courier's deliveries as server-sent events, whenever they change."""
    return await shop.streams.open("delivery", "/api/v1/couriers/me/events", session.access_token, "")


@router.post("/shift")
async def shift(request: Request, food: FoodShop, session: SignedIn, form: PostedForm) -> Response:
    on_shift = form.get("on_shift") == "1"
    try:
        await food.couriers.set_shift(session.access_token, on_shift)
    except Problem as problem:
        if problem.status not in SHOWN:
            raise
        return redirect(request, "/courier", problem.detail)
    return redirect(request, "/courier", "You are on shift." if on_shift else "Your shift has ended.")


@router.post("/position")
async def position(food: FoodShop, session: SignedIn, form: PostedForm) -> Response:
    """The position that the browser measured, or that was tapped on the map; 204."""
    here = _position(form)
    await food.couriers.add_position(session.access_token, here.lat, here.lon)
    return Response(status_code=204)


def _position(form: Mapping[str, str]) -> Position:
    try:
        return Position.model_validate({"lat": form.get("lat", ""), "lon": form.get("lon", "")})
    except ValueError:
        raise Problem(422, "invalid_position", "This is not a position.") from None


@router.post("/street")
async def street(request: Request, food: FoodShop, session: SignedIn, form: PostedForm) -> Response:
    """The courier says in which street they are: the position for a browser without one."""
    typed = " ".join(form.get("street", "").split())[:MAX_STREET_CHARACTERS]
    here = locate(typed)
    if here is None:
        return redirect(request, "/courier", f"There is no such street or number in {town().name}.")
    await food.couriers.add_position(session.access_token, here.lat, here.lon)
    return redirect(request, "/courier")


@router.post("/jobs/{order_id}/{action}")
async def act(
    request: Request, order_id: UUID, action: JobAction, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    code = "".join(form.get("code", "").split())
    try:
        await food.couriers.act(session.access_token, order_id, action, code)
    except Problem as problem:
        if problem.status not in SHOWN:
            raise
        return redirect(request, "/courier", _refusal(problem))
    return redirect(request, "/courier", "Delivered. Thank you!" if action == "deliver" else None)


def _refusal(problem: Problem) -> str:
    if problem.code == "invalid_request":
        return "Enter the four digits of the customer's code."
    left = problem.extra.get("attempts_left")
    return f"{problem.detail} {left} attempts are left." if problem.code == "wrong_code" and left else problem.detail
