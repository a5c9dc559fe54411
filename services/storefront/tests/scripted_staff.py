"""What restaurant staff, couriers and administrators ask of the scripted services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from services.storefront.tests.scripted_data import NOW, page_of, product_id
from services.storefront.tests.scripted_food import PAGE_WAIT_S
from shop.kit.errors import Problem

if TYPE_CHECKING:
    from services.storefront.tests.scripted import ScriptedShop

AFTER = {"accept": "accepted", "reject": "rejected", "begin": "preparing", "ready": "ready", "cancel": "cancelled"}
STEPS = {"arrive": "at_restaurant", "pick-up": "picked_up", "depart": "on_the_way", "deliver": "delivered"}
FOLLOWING = {"assigned": "arrive", "at_restaurant": "pick-up", "picked_up": "depart", "on_the_way": "deliver"}
LONDON = ZoneInfo("Europe/London")
OPEN = frozenset({"waiting", "accepted", "preparing", "ready"})


def ticket(order_id: str, state: str = "accepted", **more: Any) -> dict[str, Any]:
    lines = [{"name": "Calzone", "quantity": 2}]
    common = {"order_id": order_id, "state": state, "version": 1, "customer_name": "Ada", "note": "", "lines": lines}
    return {**common, "ready_at": NOW, "until": None, "paid": True, "created_at": NOW, "courier": None, **more}


def job(order_id: str, state: str = "assigned", **more: Any) -> dict[str, Any]:
    pickup, dropoff = {"lat": 51.8991, "lon": -0.1994}, {"lat": 51.9030, "lon": -0.2060}
    address = {"name": "Ada", "street": "12 Abbot Gate", "city": "Millbridge", "postal_code": "1", "country": "DE"}
    ends = {"pickup": pickup, "dropoff": dropoff, "address": address, "route": [pickup, dropoff]}
    common = {"order_id": order_id, "state": state, "restaurant_name": "Napoli", "customer_name": "Ada", "eta": NOW}
    return {**common, **ends, "actions": [FOLLOWING[state], "reject"], "kitchen": "ready", "ready_at": NOW, **more}


def check_staff(shop: ScriptedShop, request: Request, restaurant_id: str) -> None:
    if not shop.food.works(shop.person_of(request).id, restaurant_id):
        raise Problem(403, "staff_only", "Only the restaurant's staff may do this.")


def kitchen_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.get("/api/v1/restaurants/mine")
    async def mine(request: Request) -> dict[str, Any]:
        places = food.staff.get(shop.person_of(request).id, [])
        return {"items": [{"closures": [], **food.restaurants[place]} for place in places]}

    @app.get("/api/v1/restaurants/{restaurant_id}/tickets")
    async def tickets(restaurant_id: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        return page_of([one for one in food.tickets.values() if one["state"] in OPEN][::-1], request)

    @app.get("/api/v1/restaurants/{restaurant_id}/tickets/events")
    async def events(restaurant_id: str, request: Request) -> Response:
        check_staff(shop, request, restaurant_id)
        return StreamingResponse(ticket_events(shop), media_type="text/event-stream")

    @app.post("/api/v1/restaurants/{restaurant_id}/tickets/{order_id}/{action}")
    async def act(restaurant_id: str, order_id: str, action: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        if food.tickets[order_id]["state"] == AFTER[action]:
            raise Problem(409, "illegal_transition", "The order has changed meanwhile.")
        food.change_ticket(order_id, AFTER[action])
        return food.tickets[order_id]


def kitchen_setting_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.patch("/api/v1/restaurants/{restaurant_id}")
    async def change(restaurant_id: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        food.restaurants[restaurant_id] |= await request.json()
        return food.restaurants[restaurant_id]

    @app.post("/api/v1/restaurants/{restaurant_id}/closures")
    async def close(restaurant_id: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        day = (await request.json()).get("date") or datetime.now(LONDON).date().isoformat()
        food.restaurants[restaurant_id].setdefault("closures", []).append(day)
        return food.restaurants[restaurant_id]

    @app.delete("/api/v1/restaurants/{restaurant_id}/closures/{day}")
    async def reopen(restaurant_id: str, day: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        food.restaurants[restaurant_id]["closures"].remove(day)
        return food.restaurants[restaurant_id]

    @app.patch("/api/v1/restaurants/{restaurant_id}/items/{item_id}", status_code=204)
    async def sold_out(restaurant_id: str, item_id: str, request: Request) -> None:
        check_staff(shop, request, restaurant_id)
        found = food.find(restaurant_id, item_id)
        assert found
        found["available"] = not (await request.json())["sold_out"]

    @app.put("/api/v1/restaurants/{restaurant_id}/hours")
    async def put_hours(restaurant_id: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        food.replace(request, restaurant_id, "hours")
        food.restaurants[restaurant_id]["hours"] = await request.json()
        return food.restaurants[restaurant_id]

    @app.put("/api/v1/restaurants/{restaurant_id}/menu")
    async def put_menu(restaurant_id: str, request: Request) -> dict[str, Any]:
        check_staff(shop, request, restaurant_id)
        food.replace(request, restaurant_id, "menu")
        sections = (await request.json())["sections"]
        for item in (item for section in sections for item in section["items"]):
            before = food.find(restaurant_id, item.setdefault("id", product_id(f"new {item['name']}")))
            item["available"] = before is None or before["available"]
        food.menus[restaurant_id] = sections
        return {"sections": sections}


def staff_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.get("/api/v1/restaurants/{restaurant_id}/staff")
    async def staff(restaurant_id: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return page_of([{"user_id": user} for user, places in food.staff.items() if restaurant_id in places], request)

    @app.put("/api/v1/restaurants/{restaurant_id}/staff/{user_id}", status_code=204)
    async def add_staff(restaurant_id: str, user_id: str, request: Request) -> None:
        shop.admin_of(request)
        food.staff.setdefault(user_id, []).append(restaurant_id)

    @app.delete("/api/v1/restaurants/{restaurant_id}/staff/{user_id}", status_code=204)
    async def delete_staff(restaurant_id: str, user_id: str, request: Request) -> None:
        shop.admin_of(request)
        food.staff[user_id].remove(restaurant_id)


async def ticket_events(shop: ScriptedShop) -> AsyncIterator[str]:
    sent: dict[str, int] = {}
    with shop.food.stream():
        while True:
            changed = shop.food.changed
            for one in list(shop.food.tickets.values()):
                if sent.get(one["order_id"]) != one["version"]:
                    sent[one["order_id"]] = one["version"]
                    yield f"id: {sum(sent.values())}\nevent: ticket\ndata: {json.dumps(one)}\n\n"
            await asyncio.wait_for(changed.wait(), PAGE_WAIT_S)


async def job_events(shop: ScriptedShop) -> AsyncIterator[str]:
    with shop.food.stream():
        while True:
            changed = shop.food.changed
            yield f"event: jobs\ndata: {json.dumps({'items': list(shop.food.jobs.values())})}\n\n"
            await asyncio.wait_for(changed.wait(), PAGE_WAIT_S)


def courier_of(shop: ScriptedShop, request: Request) -> dict[str, Any]:
    person = shop.person_of(request)
    if person.id not in shop.food.couriers:
        raise Problem(404, "not_a_courier", "You are not a courier of this shop.")
    return shop.food.couriers[person.id]


def courier_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.get("/api/v1/couriers/me")
    async def me(request: Request) -> dict[str, Any]:
        return courier_of(shop, request)

    @app.patch("/api/v1/couriers/me")
    async def shift(request: Request) -> dict[str, Any]:
        courier_of(shop, request).update(await request.json())
        return courier_of(shop, request)

    @app.post("/api/v1/couriers/me/positions", status_code=204)
    async def position(request: Request) -> None:
        courier_of(shop, request).update(position=await request.json(), fix="fresh")

    @app.get("/api/v1/couriers/me/jobs")
    async def jobs(request: Request) -> dict[str, Any]:
        courier_of(shop, request)
        return {"items": list(food.jobs.values()), "revision": 1}

    @app.get("/api/v1/couriers/me/events")
    async def events(request: Request) -> Response:
        courier_of(shop, request)
        return StreamingResponse(job_events(shop), media_type="text/event-stream")


def courier_step_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.post("/api/v1/deliveries/{order_id}/{action}")
    async def act(order_id: str, action: str, request: Request) -> dict[str, Any]:
        if shop.person_of(request).role == "admin":
            food.deliver(order_id, "waiting" if action == "drop" else STEPS[action])
            return {}
        courier_of(shop, request)
        if action == "deliver" and (await request.json())["code"] != "4711":
            raise Problem(422, "wrong_code", "This is not the customer's code.", extra={"attempts_left": 4})
        if action == "pick-up" and food.jobs[order_id]["kitchen"] != "ready":
            raise Problem(409, "not_ready", "The kitchen is not ready yet.")
        if action in {"deliver", "reject", "drop"}:
            food.jobs.pop(order_id)
        else:
            food.jobs[order_id] = job(order_id, STEPS[action])
        food.notify()
        return {}


def town_routes(app: FastAPI, shop: ScriptedShop) -> None:
    food = shop.food

    @app.get("/api/v1/couriers")
    async def couriers(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return page_of(list(food.couriers.values()), request)

    @app.put("/api/v1/couriers/{user_id}")
    async def put(user_id: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        food.couriers[user_id] = courier(**await request.json())
        return food.couriers[user_id]

    @app.get("/api/v1/deliveries")
    async def deliveries(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        state = request.query_params["state"]
        return page_of([one for one in food.deliveries.values() if one["state"] == state], request)

    @app.get("/api/v1/deliveries/demand")
    async def demand(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return {"since": NOW, "items": [{"position": {"lat": 51.9, "lon": -0.2}, "orders": 7}]}

    @app.get("/api/v1/users")
    async def users(email: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        person = shop.people.get(email)
        return {"items": [{"id": person.id, "email": email, "name": person.name}] if person else []}


def courier(name: str, vehicle: str, **more: Any) -> dict[str, Any]:
    common = {"name": name, "vehicle": vehicle, "capacity": 2, "load": 0, "on_shift": False, "fix": "none"}
    return {**common, "position": None, "positioned_at": None, **more}
