"""Who sees a delivery, its stream of states and positions, and what couriers see of their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import orjson
import pytest

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, delivery_app, home
from shop.contracts.events import TicketState
from shop.delivery.settings import Settings
from shop.devkit.testing import Running, Tokens, wait_until
from shop.kit.ids import new_id
from shop.town import town

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Events:
    """The events of one stream, as a browser reads them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id: int | None = None

    async def next(self, kind: str) -> dict[str, Any]:
        """The data of the next event of this kind."""
        name, data = "", ""
        async with asyncio.timeout(20):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    self.last_id = int(value)
                elif field == "data":
                    data = value
                elif not line and name == kind:
                    document: dict[str, Any] = orjson.loads(data)
                    return document
        raise AssertionError("the stream has ended")

    async def ended(self) -> bool:
        """Whether nothing follows."""
        async with asyncio.timeout(20):
            return [line async for line in self._lines if line] == []


@pytest.fixture
async def public(service: RunningService, served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """The same application on a port, because streams need a connection."""
    async with served(service.app, lifespan="off") as client:
        yield client


@pytest.fixture
async def rider(service: RunningService) -> Rider:
    return await service.courier(at=corner(1))


async def customer_of(service: RunningService, ready_in_s: float = 300) -> tuple[Order, dict[str, str]]:
    """A live delivery and its customer's headers."""
    user, token = service.tokens.customer()
    order = Order(user_id=user.user_id, ready_in_s=ready_in_s)
    return await service.live(order), {"Authorization": f"Bearer {token}"}


def watch(
    client: httpx.AsyncClient, order: Order, headers: dict[str, str], last: int | None = None
) -> AbstractAsyncContextManager[httpx.Response]:
    sent = headers if last is None else headers | {"Last-Event-ID": str(last)}
    return client.stream("GET", f"/api/v1/deliveries/{order.id}/events", headers=sent)


async def test_the_customer_the_courier_and_the_admin_see_it(service: RunningService, rider: Rider) -> None:
    order, headers = await customer_of(service)
    path = f"/api/v1/deliveries/{order.id}"
    seen = await service.call("GET", path, headers)
    assert seen["code"] == await service.code(order)
    assert seen["courier"] == {"name": "Ines", "vehicle": "bike"}
    assert seen["position"] == corner(1)._asdict()
    assert seen["route"][0] == corner(1)._asdict()
    assert seen["route"][-1] == seen["dropoff"]
    assert seen["pickup"] in seen["route"]
    for other in (rider.headers, service.admin):
        assert "code" not in await service.call("GET", path, other)


async def test_nobody_else_sees_it(service: RunningService, rider: Rider) -> None:
    order, _ = await customer_of(service)
    stranger, other_courier = service.tokens.headers(), (await service.courier(at=corner(300))).headers
    for suffix in ("", "/events"):
        for headers in (stranger, other_courier):
            answer = await service.client.get(f"/api/v1/deliveries/{order.id}{suffix}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_delivery")
        assert (await service.client.get(f"/api/v1/deliveries/{order.id}{suffix}")).status_code == 401


async def test_a_courier_who_gave_it_back_sees_it_no_more(service: RunningService, rider: Rider) -> None:
    order, _ = await customer_of(service)
    await rider.does(order.id, "reject")
    answer = await service.client.get(f"/api/v1/deliveries/{order.id}", headers=rider.headers)
    assert answer.status_code == 404


async def test_a_courier_who_brought_it_sees_it_no_more(service: RunningService, rider: Rider) -> None:
    """Where somebody lives is the courier's to know as long as they are on the way."""
    order, headers = await customer_of(service)
    path = f"/api/v1/deliveries/{order.id}"
    await service.kitchen(order, TicketState.READY)
    for action in ("arrive", "pick-up", "depart"):
        await rider.does(order.id, action)
    assert (await service.call("GET", path, rider.headers))["dropoff"]
    assert (await rider.does(order.id, "deliver", await service.code(order))).status_code == 200
    assert (await service.client.get(path, headers=rider.headers)).status_code == 404
    assert (await service.call("GET", path, headers))["state"] == "delivered"


async def test_states_arrive_as_they_change_until_the_last(
    service: RunningService, rider: Rider, public: httpx.AsyncClient
) -> None:
    order, headers = await customer_of(service)
    async with watch(public, order, headers) as answer:
        events = Events(answer)
        assert (await events.next("state"))["state"] == "assigned"
        await rider.does(order.id, "arrive")
        assert (await events.next("state"))["state"] == "at_restaurant"
        await service.kitchen(order, TicketState.READY)
        assert (await events.next("state"))["kitchen"] == "ready"
        await service.release(order)
        last = await events.next("state")
        assert (last["state"], last["courier"], last["eta"]) == ("cancelled", None, None)
        assert [step["state"] for step in last["history"]] == ["assigned", "at_restaurant", "cancelled"]
        assert await events.ended()
    async with watch(public, order, headers, events.last_id) as resumed:
        assert resumed.status_code == 204


async def test_a_stream_resumes_after_what_was_seen(
    service: RunningService, rider: Rider, public: httpx.AsyncClient
) -> None:
    order, headers = await customer_of(service)
    async with watch(public, order, headers) as answer:
        events = Events(answer)
        await events.next("state")
    await rider.does(order.id, "arrive")
    async with watch(public, order, headers, events.last_id) as answer:
        resumed = Events(answer)
        assert (await resumed.next("state"))["state"] == "at_restaurant"
    async with watch(public, order, headers, resumed.last_id) as answer:
        again = Events(answer)
        await rider.does(order.id, "drop")
        assert (await again.next("state"))["state"] == "waiting"


async def test_positions_of_its_courier_alone_reach_the_customer(
    service: RunningService, rider: Rider, public: httpx.AsyncClient
) -> None:
    order, headers = await customer_of(service)
    other = await service.courier(at=corner(300))
    await wait_until(lambda: service.context.bus.connected)
    async with watch(public, order, headers) as answer:
        events = Events(answer)
        first = await events.next("state")
        service.clock.advance(60)
        await other.at(corner(301))
        await rider.at(corner(2))
        seen = await events.next("position")
        assert (seen["lat"], seen["lon"]) == corner(2)
        assert seen["eta"] > service.clock.now().isoformat()
        assert seen["eta"] != first["eta"]


async def test_positions_travel_between_replicas(
    settings: Settings, service: RunningService, rider: Rider, served: Served
) -> None:
    order, headers = await customer_of(service)
    second = delivery_app(settings, service.clock)
    async with served(second) as replica, watch(replica, order, headers) as answer:
        events = Events(answer)
        await events.next("state")
        await wait_until(lambda: second.state.context.bus.connected and service.context.bus.connected)

        async def arrived() -> bool:
            service.clock.advance(1)
            await rider.at(corner(2))
            return bool(second.state.service.tracking.watchers.watched())

        await wait_until(arrived)
        moving = asyncio.create_task(keep_moving(service, rider))
        assert (await events.next("position"))["lat"]
        moving.cancel()


async def keep_moving(service: RunningService, rider: Rider) -> None:
    """The replica's subscription may begin after the first positions."""
    for number in range(2, 400):
        service.clock.advance(1)
        await rider.at(corner(number))


async def test_older_and_too_frequent_fixes_are_dropped(service: RunningService, rider: Rider) -> None:
    service.clock.advance(10)
    await rider.at(corner(5))
    for seconds, junction in ((0.9, 6), (0, 6), (-3, 7)):
        await rider.at(corner(junction), seconds)
    stored = "SELECT lat, lon, fixed_at FROM courier_positions"
    row = await service.database.fetchrow(stored)
    assert row is not None
    assert (row["lat"], row["lon"]) == corner(5)
    service.clock.advance(1)
    await rider.at(corner(8))
    row = await service.database.fetchrow(stored)
    assert row is not None
    assert ((row["lat"], row["lon"]), row["fixed_at"]) == (corner(8), service.clock.now())


async def test_replicas_do_not_put_older_fixes_back(
    settings: Settings, service: RunningService, rider: Rider, running: Running
) -> None:
    """Each replica remembers the last fix that it took; the database decides between them."""
    service.clock.advance(10)
    await rider.at(corner(5))
    app = delivery_app(settings, service.clock)
    async with running(app) as client:
        body = {"lat": 51.9, "lon": -0.2, "at": (service.clock.now()).isoformat()}
        await client.post("/api/v1/couriers/me/positions", json=body, headers=rider.headers)
        await app.state.service.positions.flush()
    assert await service.database.fetchval("SELECT lat FROM courier_positions") == corner(5).lat


async def test_positions_are_stored_in_time(
    settings: Settings, service: RunningService, rider: Rider, running: Running
) -> None:
    service.clock.advance(10)
    async with running(delivery_app(settings.model_copy(update={"flush_s": 0.01}), service.clock)) as client:
        body = {"lat": 51.9, "lon": -0.2, "at": service.clock.now().isoformat()}
        await client.post("/api/v1/couriers/me/positions", json=body, headers=rider.headers)
        await wait_until(lambda: service.database.fetchval("SELECT lat = 51.9 FROM courier_positions"))


async def test_a_fix_of_the_future_counts_as_one_of_now(service: RunningService, rider: Rider) -> None:
    service.clock.advance(10)
    await rider.at(corner(3), seconds=86_400)
    assert await service.database.fetchval("SELECT fixed_at FROM courier_positions") == service.clock.now()
    service.clock.advance(1)
    await rider.at(corner(4))
    assert await service.database.fetchval("SELECT lat FROM courier_positions") == corner(4).lat


async def test_the_number_of_streams_is_limited(
    settings: Settings, service: RunningService, rider: Rider, served: Served
) -> None:
    order, headers = await customer_of(service)
    limited = delivery_app(settings.model_copy(update={"max_streams": 1}), service.clock)
    async with served(limited) as client, watch(client, order, headers) as answer:
        open_stream = Events(answer)
        await open_stream.next("state")
        async with watch(client, order, headers) as refused:
            assert refused.status_code == 503
            await refused.aread()
            assert refused.json()["code"] == "too_many_streams"


async def test_jobs_are_sent_when_they_change(service: RunningService, rider: Rider, public: httpx.AsyncClient) -> None:
    async with public.stream("GET", "/api/v1/couriers/me/events", headers=rider.headers) as answer:
        events = Events(answer)
        assert (await events.next("jobs"))["items"] == []
        order = await service.live()
        [job] = await jobs_with(events, 1)
        assert (job["order_id"], job["state"], job["actions"]) == (
            str(order.id),
            "assigned",
            ["arrive", "reject", "drop"],
        )
        assert job["address"]["street"] == order.address["street"]
        assert job["route"][0] == corner(1)._asdict()
        assert job["route"][-1] == job["pickup"]
        await service.release(order)
        assert await jobs_with(events, 0) == []


async def jobs_with(events: Events, count: int) -> list[dict[str, Any]]:
    """A held order changes the list's revision, too: wait for the number."""
    while True:
        items: list[dict[str, Any]] = (await events.next("jobs"))["items"]
        if len(items) == count:
            return items


async def test_the_eta_follows_the_courier_and_the_kitchen_and_is_never_in_the_past(
    service: RunningService, rider: Rider
) -> None:
    order, headers = await customer_of(service, ready_in_s=3_600)
    path = f"/api/v1/deliveries/{order.id}"

    async def eta() -> str:
        return str((await service.call("GET", path, headers))["eta"])

    early = await eta()
    await service.kitchen(order, TicketState.READY)
    assert await eta() < early
    for action in ("arrive", "pick-up", "depart"):
        await rider.does(order.id, action)
    far = await eta()
    there = town().locate(order.address["street"])
    assert there is not None
    service.clock.advance(1)
    await rider.at(there)
    assert await eta() < far
    service.clock.advance(86_400)
    assert await eta() >= service.clock.now().isoformat()


async def test_the_trips_other_customers_see_a_new_eta(
    service: RunningService, rider: Rider, public: httpx.AsyncClient
) -> None:
    restaurant = new_id()
    user, token = service.tokens.customer()
    first = await service.live(Order(user_id=user.user_id, restaurant_id=restaurant))
    async with watch(public, first, {"Authorization": f"Bearer {token}"}) as answer:
        events = Events(answer)
        alone = await events.next("state")
        second = await service.live(Order(restaurant_id=restaurant))
        assert (await service.row(second))["courier_id"] == rider.id
        together = await events.next("state")
        assert together["version"] == alone["version"]
        assert together["eta"] >= alone["eta"]


async def test_administrators_see_couriers_deliveries_and_demand(service: RunningService, rider: Rider) -> None:
    without_fix = await service.courier()
    await without_fix.shift()
    orders = [await service.live(Order(address=home(number))) for number in (0, 0, 5)]
    listed = await service.call("GET", "/api/v1/couriers", service.admin)
    by_id = {one["user_id"]: one for one in listed["items"]}
    assert (by_id[str(rider.id)]["fix"], by_id[str(rider.id)]["load"]) == ("fresh", 1)
    assert (by_id[str(without_fix.id)]["fix"], by_id[str(without_fix.id)]["position"]) == ("none", None)
    found: list[str] = []
    path = "/api/v1/deliveries?limit=2"
    page = await service.call("GET", path, service.admin)
    found += [one["order_id"] for one in page["items"]]
    page = await service.call("GET", f"{path}&cursor={page['next_cursor']}", service.admin)
    found += [one["order_id"] for one in page["items"]]
    assert sorted(found) == sorted(str(order.id) for order in orders)
    waiting = await service.call("GET", "/api/v1/deliveries?state=waiting", service.admin)
    assert {one["state"] for one in waiting["items"]} == {"waiting"}
    demand = await service.call("GET", "/api/v1/deliveries/demand", service.admin)
    assert sorted(one["orders"] for one in demand["items"]) == [1, 2]
    service.clock.advance(3_601)
    assert (await service.call("GET", "/api/v1/deliveries/demand", service.admin))["items"] == []


async def test_service_is_ready(service: RunningService, tokens: Tokens) -> None:
    await wait_until(lambda: service.context.bus.connected)
    answer = await service.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
