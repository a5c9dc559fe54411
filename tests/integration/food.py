"""Customers, kitchens and couriers of a shop with food, through its public API."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp

from shop.devkit.testing import wait_until
from shop.town import Position, town
from tests.integration.buyers import AGAIN, IN_FLIGHT, MAX_TRIES, RETRY_PAUSE_S, Answer
from tests.load.shoppers import Shop, ShopError

Json = dict[str, Any]
CITY = town().name
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ALWAYS = {"weekly": [{"day": day, "opens": "00:00", "closes": "24:00"} for day in DAYS]}
STEPS = {"assigned": "arrive", "at_restaurant": "pick-up", "picked_up": "depart", "on_the_way": "deliver"}
"""What a courier does next, by the state of the delivery."""
LOOK_EVERY_S = 0.25
"""Of a courier at the jobs and of a customer at an order: more often would load the machine with looking alone."""
FIX_EVERY_S = 5.0
"""Of a courier; a fix counts for a minute."""
ENDS_WITHIN_S = 90.0
HOUSES = tuple(
    line
    for number, street in itertools.product((3, 8, 5, 12), town().streets()[:12])
    if town().locate(line := f"{number} {street}", CITY)
)


def address(number: int = 0) -> Json:
    """One of many addresses of customers in the town."""
    street = HOUSES[number % len(HOUSES)]
    return {"name": "Ada Eater", "street": street, "city": CITY, "postal_code": "10115", "country": "DE"}


@dataclass(frozen=True)
class Kitchen:
    """A restaurant of a test's own with one dish; its staff is the administrator."""

    id: str
    dish: str
    position: Position


@dataclass
class Courier:
    """A user who delivers. ``codes`` has the codes that customers tell, by order."""

    user_id: str
    token: str
    codes: dict[str, str]
    delivered: list[str] = field(default_factory=list)


async def kitchen(api: Shop, admin: str, **more: Any) -> Kitchen:
    """Always open, accepts by itself, and cooks in a second."""
    dish = {"name": "Pizza", "category": "food", "price": {"amount": 900, "currency": "EUR"}}
    place = address(7)
    body = {
        "name": f"Test {uuid.uuid4().hex[:8]}",
        "cuisine": "pizza",
        "address": {name: place[name] for name in ("street", "city", "postal_code", "country")},
        "time_zone": "Europe/Berlin",
        "hours": ALWAYS,
        "kitchen_capacity": 1_000,
        "preparation_s": 1,
        "auto_progress": True,
        "menu": {"sections": [{"name": "All", "items": [dish]}]},
        **more,
    }
    made = await api.call("POST", "/restaurants", admin, json=body)
    menu = await api.call("GET", f"/restaurants/{made['id']}/menu", admin)
    return Kitchen(made["id"], menu["sections"][0]["items"][0]["id"], Position(**made["position"]))


def meal(place: Kitchen, number: int = 0, *, quantity: int = 1, card: str = "tok_visa", **more: Any) -> Json:
    """The request for an order of food."""
    return {
        "kind": "food",
        "restaurant_id": place.id,
        "items": [{"item_id": place.dish, "quantity": quantity, "choices": []}],
        "address": address(number),
        "payment": {"token": card},
        **more,
    }


async def send(api: Shop, token: str, body: Json, key: str = "") -> Answer:
    """Send one order request once."""
    chosen = key or str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": chosen}
    async with api.session.post(f"{api.url}/api/v1/orders", json=body, headers=headers) as response:
        return Answer(response.status, await response.json(content_type=None), chosen, token)


async def insist(api: Shop, token: str, body: Json) -> Answer:
    """Send an order until there is a final answer, whatever fails meanwhile. No courier is a final answer."""
    key = str(uuid.uuid4())
    for _ in range(MAX_TRIES):
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            answer = await send(api, token, body, key)
            if answer.code == "no_courier" or (answer.status not in AGAIN and answer.code != IN_FLIGHT):
                return answer
        await asyncio.sleep(RETRY_PAUSE_S)
    raise AssertionError(f"no answer after {MAX_TRIES} tries")


async def couriers(api: Shop, admin: str, count: int, at: Position, vehicle: str = "car") -> list[Courier]:
    """New couriers on shift with a fix at ``at``."""
    codes: dict[str, str] = {}
    made = []
    for number, token in enumerate(await api.sign_up_many(count)):
        user = await api.call("GET", "/users/me", token)
        body = {"name": f"Courier {number}", "vehicle": vehicle}
        await api.call("PUT", f"/couriers/{user['id']}", admin, json=body)
        made.append(Courier(user["id"], token, codes))
    await asyncio.gather(*(begin_shift(api, courier, at) for courier in made))
    return made


async def begin_shift(api: Shop, courier: Courier, at: Position) -> None:
    await api.call("PATCH", "/couriers/me", courier.token, json={"on_shift": True})
    await fix(api, courier, at)

    async def located() -> bool:
        return (await api.call("GET", "/couriers/me", courier.token))["position"] is not None

    await wait_until(located, ENDS_WITHIN_S, "the first fix of a courier", LOOK_EVERY_S)


async def fix(api: Shop, courier: Courier, at: Position) -> None:
    """Send the courier's position."""
    body = {"lat": at.lat, "lon": at.lon, "at": datetime.now(UTC).isoformat()}
    headers = {"Authorization": f"Bearer {courier.token}"}
    async with api.session.post(f"{api.url}/api/v1/couriers/me/positions", json=body, headers=headers) as response:
        if response.status != 204:
            raise ShopError(f"positions: {response.status} {await response.text()}")


async def end_shift(api: Shop, courier: Courier) -> None:
    await api.call("PATCH", "/couriers/me", courier.token, json={"on_shift": False})


@contextlib.asynccontextmanager
async def at_work(api: Shop, crew: Sequence[Courier], at: Position) -> AsyncIterator[None]:
    """The couriers do what there is to do, and are off shift afterwards."""
    working = [asyncio.create_task(_work(api, courier, at)) for courier in crew]
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for courier in crew:
            await wait_until(partial(_off, api, courier), ENDS_WITHIN_S, "the courier to be off shift", LOOK_EVERY_S)


async def _off(api: Shop, courier: Courier) -> bool:
    try:
        await end_shift(api, courier)
    except (aiohttp.ClientError, ShopError, TimeoutError):
        return False
    return True


async def _work(api: Shop, courier: Courier, at: Position) -> None:
    """One step of each job after the other; what fails is tried again at the next look."""
    now, fix_due = asyncio.get_running_loop().time, 0.0
    while True:
        with contextlib.suppress(aiohttp.ClientError, ShopError, TimeoutError):
            if now() >= fix_due:
                await fix(api, courier, at)
                fix_due = now() + FIX_EVERY_S
            for job in (await api.call("GET", "/couriers/me/jobs", courier.token))["items"]:
                await step(api, courier, job)
        await asyncio.sleep(LOOK_EVERY_S)


async def step(api: Shop, courier: Courier, job: Json) -> None:
    """The next step of one job, if it is possible now."""
    action = STEPS[job["state"]]
    if action not in job["actions"]:
        return
    order = job["order_id"]
    if action != "deliver":
        await api.call("POST", f"/deliveries/{order}/{action}", courier.token)
    elif order in courier.codes:
        await api.call("POST", f"/deliveries/{order}/deliver", courier.token, json={"code": courier.codes[order]})
        courier.delivered.append(order)


async def tell_code(api: Shop, answer: Answer, crew: Sequence[Courier]) -> None:
    """The customer reads the code and gives it to whoever comes."""
    order = answer.body["id"]

    async def code() -> str:
        with contextlib.suppress(aiohttp.ClientError, ShopError, TimeoutError):
            return str((await api.call("GET", f"/deliveries/{order}", answer.token))["code"] or "")
        return ""

    crew[0].codes[order] = str(await wait_until(code, ENDS_WITHIN_S, f"the code of {order}", LOOK_EVERY_S))


async def is_assigned(api: Shop, admin: str, order: str, courier: Courier, at: Position) -> None:
    """Wait until the delivery of a confirmed order has its courier, who stays at ``at``."""

    async def there() -> bool:
        await fix(api, courier, at)
        return bool((await api.call("GET", f"/deliveries/{order}", admin))["state"] == "assigned")

    await wait_until(there, ENDS_WITHIN_S, f"a courier for {order}", LOOK_EVERY_S)


async def comes_to(api: Shop, answer: Answer, *states: str) -> Json:
    """The order once it is in one of the states."""

    async def there() -> Json | None:
        with contextlib.suppress(aiohttp.ClientError, ShopError, TimeoutError):
            order: Json = await api.call("GET", f"/orders/{answer.body['id']}", answer.token)
            return order if order["state"] in states else None
        return None

    what = f"order {answer.body['id']} to be {' or '.join(states)}"
    order: Json = await wait_until(there, ENDS_WITHIN_S, what, LOOK_EVERY_S)
    return order
