"""Holding couriers for orders: who is held, the line, repetitions, releases."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.delivery.tests.delivery_service import Order, RunningService, corner, home
from shop.delivery.planning import MAX_IN_LINE_PER_COURIER
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.town import town


async def test_the_courier_with_the_shortest_way_is_held(service: RunningService) -> None:
    pickup = corner(100)
    spots = sorted(town().junctions, key=lambda spot: town().distance_m(spot, pickup))
    far = await service.courier(at=spots[300])
    near = await service.courier(at=spots[3])
    middle = await service.courier(at=spots[150])
    orders = [Order(pickup=pickup, address=home(number)) for number in range(3)]
    for order in orders:
        await service.reserve(order)
    assert [(await service.row(order))["courier_id"] for order in orders] == [near.id, middle.id, far.id]
    await service.assert_sound()


async def test_equal_ways_are_decided_by_id(service: RunningService) -> None:
    couriers = [await service.courier(at=corner(7)) for _ in range(3)]
    order = Order(pickup=corner(9))
    await service.reserve(order)
    assert (await service.row(order))["courier_id"] == min(courier.id for courier in couriers)


async def test_a_repeated_reservation_gets_the_same_answer(service: RunningService) -> None:
    await service.courier(at=corner(7))
    order = Order()
    [first] = await service.reserve(order)
    service.clock.advance(30)
    answers = await asyncio.gather(*(service.reserve(order, order) for _ in range(5)))
    assert all(answer == [first, first] for answer in answers)
    assert first["distance_m"] == (await service.row(order))["distance_m"]
    await service.assert_sound()


async def test_without_a_courier_within_reach_the_order_is_rejected(service: RunningService) -> None:
    """A courier on shift without a fix, or with an old one, counts as none; so does one off shift."""
    without_fix = await service.courier()
    await without_fix.shift()
    off_shift = await service.courier()
    await off_shift.at(corner(1))
    stale = await service.courier(at=corner(1))
    service.clock.advance(61)
    [rejected] = await service.reserve(Order())
    assert (rejected["status"], rejected["code"]) == ("rejected", "no_courier")
    assert rejected["extra"]["retry_after_s"] > 0
    await stale.at(corner(2))
    [reserved] = await service.reserve(Order())
    assert reserved["status"] == "reserved"


async def test_the_line_is_limited_by_the_couriers_within_reach(service: RunningService) -> None:
    await service.courier(at=corner(1))
    results = [(await service.reserve(Order(address=home(number))))[0] for number in range(5)]
    places = 1 + MAX_IN_LINE_PER_COURIER
    assert [result["status"] for result in results] == ["reserved"] * places + ["rejected"] * (5 - places)
    assert results[-1]["code"] == "no_courier"
    assert await service.database.fetchval("SELECT count(courier_id) FROM deliveries") == 1


async def test_the_line_is_served_in_its_order(service: RunningService) -> None:
    rider = await service.courier(at=corner(1))
    orders = [Order(address=home(number)) for number in range(3)]
    for order in orders:
        await service.live(order)
        service.clock.advance(1)
    await service.release(orders[0])
    assert [(await service.delivery(order))["state"] for order in orders] == ["cancelled", "assigned", "waiting"]
    assert [job["order_id"] for job in await rider.jobs()] == [str(orders[1].id)]
    await service.assert_sound()


async def test_a_release_that_comes_first_leaves_a_tombstone(service: RunningService) -> None:
    await service.courier(at=corner(1))
    order = Order()
    assert (await service.release(order))[0]["status"] == "released"
    assert (await service.reserve(order))[0]["code"] == "released"
    assert (await service.assign(order))[0]["code"] == "released"
    await service.release(order, order)
    assert await service.database.fetchval("SELECT sum(load) FROM couriers") == 0
    await service.assert_sound()


async def test_a_held_order_is_not_shown_to_anyone(service: RunningService) -> None:
    rider = await service.courier(at=corner(1))
    order = Order()
    await service.reserve(order)
    assert await rider.jobs() == []
    answer = await service.client.get(f"/api/v1/deliveries/{order.id}", headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_delivery")
    assert (await service.call("GET", "/api/v1/deliveries", service.admin))["items"] == []
    assert await service.database.fetchval("SELECT count(*) FROM outbox") == 0
    await service.assign(order)
    assert [job["order_id"] for job in await rider.jobs()] == [str(order.id)]


async def test_assigning_is_repeated_without_effect(service: RunningService) -> None:
    await service.courier(at=corner(1))
    order = await service.live()
    [again] = await service.assign(order)
    assert again["status"] == "assigned"
    assert (await service.row(order))["version"] == 1
    assert (await service.assign(Order()))[0]["status"] == "rejected"
    await service.assert_sound()


async def test_a_late_payment_does_not_promise_the_past(service: RunningService) -> None:
    await service.courier(at=corner(1))
    order = await service.live()
    service.clock.advance(86_400)
    [again] = await service.assign(order)
    assert again["eta"] >= service.clock.now().isoformat()[:19]


async def test_a_courier_lost_before_the_payment_is_replaced(service: RunningService) -> None:
    first = await service.courier(at=corner(1))
    order = Order()
    await service.reserve(order)
    await first.shift(False)
    assert (await service.row(order))["courier_id"] is None
    second = await service.courier(at=corner(200))
    await wait_until(lambda: service.has_courier(order, second), what="the second courier to be held")
    [assigned] = await service.assign(order)
    assert assigned["status"] == "assigned"
    assert (await service.delivery(order))["state"] == "assigned"


@pytest.mark.parametrize(
    ("address", "code"),
    [({"street": "1 Nowhere Boulevard"}, "address_not_found"), ({"city": "Springfield"}, "address_not_found")],
)
async def test_an_unknown_address_is_rejected(service: RunningService, address: dict[str, str], code: str) -> None:
    await service.courier(at=corner(1))
    order = Order(address=home() | address)
    assert (await service.reserve(order))[0]["code"] == code
    [routed] = await service.internal("/internal/routes", [order.request(service.clock.now())])
    assert (routed["status"], routed["code"]) == ("rejected", code)


async def test_the_way_is_told_before_anything_is_reserved(service: RunningService) -> None:
    order = Order()
    [routed] = await service.internal("/internal/routes", [order.request(service.clock.now())])
    there = town().locate(order.address["street"])
    assert there is not None
    assert routed["distance_m"] == town().distance_m(order.pickup, there)
    assert routed["travel_s"] > 0
    assert routed["dropoff"] == there._asdict()
    assert await service.database.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_orders_of_one_restaurant_share_a_trip(service: RunningService) -> None:
    """Neighbours fit one courier; a customer at the other end of the town does not."""
    rider, other = await service.courier(at=corner(1)), await service.courier(at=corner(60))
    restaurant = new_id()
    pickup = corner(100)
    orders = [Order(pickup=pickup, restaurant_id=restaurant, address=home(0)) for _ in range(3)]
    for order in orders:
        await service.live(order)
    counted = Counter([(await service.row(order))["courier_id"] for order in orders])
    assert sorted(counted.values()) == [1, 2]
    assert set(counted) == {rider.id, other.id}
    await service.assert_sound()
