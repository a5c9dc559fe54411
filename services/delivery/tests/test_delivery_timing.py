"""When a courier gets an order: near the time at which its food is ready, with a place kept for it until then."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.delivery.tests.delivery_service import NOON, Order, RunningService, corner, home
from services.delivery.tests.test_delivery_planning import REACH_M, TOWN, courier, delivery
from shop.contracts.events import TicketChanged, TicketState
from shop.delivery.domain import State, Vehicle
from shop.delivery.planning import MAX_IN_LINE_PER_COURIER, TRIP_S, Fleet, has_place, plan, trips_until
from shop.delivery.roster import Roster
from shop.delivery.trips import DROPOFF_S, PICKUP_S, arrivals, travel_s
from shop.devkit.testing import wait_until

MARGIN_S = 300
SLOW_KITCHEN_S = 1_500
COURIERS = 4


@given(spot=st.integers(0, 400), vehicle=st.sampled_from(list(Vehicle)), early_s=st.integers(-2, 2))
def test_an_order_is_due_when_the_courier_must_set_out(spot: int, vehicle: Vehicle, early_s: int) -> None:
    """With the margin; a slower or farther courier sets out earlier."""
    who = courier(1, spot, vehicle)
    way_s = travel_s(TOWN.distance_m(TOWN.junctions[spot], TOWN.junctions[0]), vehicle.speed_m_s)
    wanted = replace(delivery(1, 0, 50), ready_at=NOON + timedelta(seconds=MARGIN_S + way_s + early_s))
    found = Fleet(TOWN, [who], {}, REACH_M, NOON, MARGIN_S).best(wanted)
    assert found == (who if early_s <= 0 else None)


def test_an_order_that_is_not_due_joins_a_trip() -> None:
    """The courier goes there anyway; its food is ready within the time that the trip may wait."""
    fleet = Fleet(TOWN, [courier(1, 40, Vehicle.CAR)], {}, REACH_M, NOON, MARGIN_S)
    first, second = delivery(1, 0, 50, ready_s=MARGIN_S), delivery(2, 0, 50, ready_s=2 * MARGIN_S)
    assert [one.order_id for one, _ in plan(fleet, [first, second], {})] == [first.order_id, second.order_id]


ready = st.integers(-600, 3_600).map(lambda seconds: NOON + timedelta(seconds=seconds))


@given(line=st.lists(ready, max_size=40), new=ready, couriers=st.integers(0, 5))
@example(line=[NOON + timedelta(seconds=TRIP_S)] * (MAX_IN_LINE_PER_COURIER + 1), new=NOON, couriers=1)
def test_a_place_is_promised_only_if_all_in_line_keep_theirs(
    line: list[datetime], new: datetime, couriers: int
) -> None:
    def kept(times: list[datetime]) -> bool:
        """By the time of each, the couriers had time for all before it."""
        return all(
            sum(one <= at for one in times)
            <= couriers * (MAX_IN_LINE_PER_COURIER + max(0, int((at - NOON).total_seconds()) // TRIP_S))
            for at in times
        )

    by_trips = Counter(trips_until(at, NOON) for at in line)
    promised = has_place(trips_until(new, NOON), by_trips, couriers)
    if kept(line):
        assert promised == kept([*line, new])


def test_a_roster_makes_the_couriers_that_are_looked_at() -> None:
    made: list[int] = []
    couriers = [courier(number, number, load=number % 2) for number in range(6)]

    def make(index: int) -> object:
        made.append(index)
        return couriers[index]

    columns = ([one.user_id for one in couriers], [0] * 6, [one.load for one in couriers], [2] * 6)
    roster = Roster(*columns, make)  # type: ignore[arg-type]
    assert roster.partly_loaded() == [couriers[number].user_id for number in (1, 3, 5)]
    assert list(roster.idle) == [True, False] * 3
    assert (roster[4], roster[4], made) == (couriers[4], couriers[4], [4])
    roster.put(4, replace(couriers[4], load=1))
    assert not roster.idle[4]


@pytest.mark.parametrize(("ready_s", "after_s"), [(600, 600), (0, PICKUP_S), (30, PICKUP_S)])
def test_a_courier_who_waits_takes_the_food_when_it_is_ready(ready_s: int, after_s: float) -> None:
    """At the counter already; from then on it is the way and the handover."""
    one = delivery(1, 0, 50, State.ASSIGNED, ready_s)
    who = courier(1, 0, load=1)
    way_s = travel_s(one.distance_m, who.vehicle.speed_m_s)
    expected = NOON + timedelta(seconds=after_s + way_s + DROPOFF_S)
    assert arrivals(who, [one], TOWN.distance_m, NOON)[one.order_id] == expected


async def test_no_courier_waits_for_a_slow_kitchen(service: RunningService) -> None:
    """The order is promised a courier, who brings another one meanwhile, and gets them when it is due."""
    rider = await service.courier(at=corner(0))
    slow = await service.live(Order(ready_in_s=SLOW_KITCHEN_S))
    assert (await service.row(slow))["courier_id"] is None
    quick = await service.live(Order(address=home(5), ready_in_s=60))
    assert [job["order_id"] for job in await rider.jobs()] == [str(quick.id)]
    await service.release(quick)
    service.clock.advance(SLOW_KITCHEN_S - MARGIN_S - 200)
    await rider.at(corner(0))
    await service.check()
    assert (await service.delivery(slow))["state"] == "waiting"
    service.clock.advance(200)
    await rider.at(corner(0))
    await service.check()
    assert [job["order_id"] for job in await rider.jobs()] == [str(slow.id)]
    await service.assert_sound()


async def test_food_that_is_ready_early_gets_its_courier_at_once(service: RunningService) -> None:
    rider = await service.courier(at=corner(1))
    order = await service.live(Order(ready_in_s=SLOW_KITCHEN_S))
    await service.publish(ticket(order, TicketState.PREPARING, 2, service.clock.now()))
    await wait_until(lambda: service.database.fetchval("SELECT kitchen IS NOT NULL FROM deliveries"), what="the event")
    assert await rider.jobs() == []
    await service.kitchen(order, TicketState.READY, version=3)
    assert [job["order_id"] for job in await rider.jobs()] == [str(order.id)]


async def test_an_order_of_a_slow_kitchen_does_not_fail_before_it_is_due(service: RunningService) -> None:
    """The deadline for finding a courier begins when one is needed."""
    rider = await service.courier(at=corner(1))
    order = await service.live(Order(ready_in_s=SLOW_KITCHEN_S))
    await rider.shift(False)
    service.clock.advance(SLOW_KITCHEN_S - MARGIN_S + 600)
    await service.check()
    assert (await service.delivery(order))["state"] == "waiting"
    service.clock.advance(1)
    await service.check()
    assert (await service.delivery(order))["state"] == "failed"


async def test_the_line_is_served_in_the_order_of_the_kitchens(service: RunningService) -> None:
    rider = await service.courier(at=corner(1))
    under_way, later, sooner = [
        await service.live(Order(address=home(number), ready_in_s=ready_in_s))
        for number, ready_in_s in enumerate((0, 280, 100))
    ]
    await service.release(under_way)
    assert [job["order_id"] for job in await rider.jobs()] == [str(sooner.id)]
    assert (await service.delivery(later))["state"] == "waiting"


async def test_couriers_who_leave_together_do_not_hand_an_order_around(service: RunningService) -> None:
    nearest_first = sorted(TOWN.junctions, key=lambda spot: TOWN.distance_m(spot, corner(0)))
    riders = [await service.courier(at=nearest_first[10 * number]) for number in range(COURIERS)]
    order = await service.live()
    assert await service.has_courier(order, riders[0])
    for rider in riders[:-1]:
        await rider.shift(False)
        await service.check()
    assert (await service.delivery(order))["state"] == "waiting"
    service.clock.advance(2)
    await service.check()
    assert await service.has_courier(order, riders[-1])
    states = [step["state"] for step in (await service.delivery(order))["history"]]
    assert states == ["assigned", "waiting", "assigned"]


async def test_the_quoted_arrival_is_the_one_that_is_promised(service: RunningService) -> None:
    await service.courier(at=corner(1))
    order = Order(ready_in_s=SLOW_KITCHEN_S)
    [routed] = await service.internal("/internal/routes", [order.request(service.clock.now())])
    [reserved] = await service.reserve(order)
    quoted = service.clock.now() + timedelta(seconds=SLOW_KITCHEN_S + routed["travel_s"])
    assert datetime.fromisoformat(reserved["eta"]) == quoted


async def test_no_fix_is_not_a_stale_fix(service: RunningService) -> None:
    stale = await service.courier(at=corner(1))
    service.clock.advance(61)
    fresh = await service.courier(at=corner(2))
    without = [await service.courier() for _ in range(2)]
    for rider in without:
        await rider.shift()
    await service.check()
    for fix, count in {"fresh": 1, "stale": 1, "none": 2}.items():
        assert REGISTRY.get_sample_value("shop_delivery_couriers", {"fix": fix}) == count
    await fresh.shift(False)
    [rejected] = await service.reserve(Order())
    assert "none has reported a position" in rejected["detail"]
    for rider in (stale, *without):
        await rider.shift(False)
    [rejected] = await service.reserve(Order())
    assert (rejected["code"], "on shift within reach" in rejected["detail"]) == ("no_courier", True)


async def test_the_kitchens_states_are_shown_with_their_times(service: RunningService) -> None:
    """Those from before the reservation, too, in the order of the ticket, whatever the order of the events."""
    await service.courier(at=corner(1))
    order = Order()
    accepted_at = service.clock.now()
    await service.publish(ticket(order, TicketState.ACCEPTED, 1, accepted_at))
    known = "SELECT count(*) FROM kitchen_states WHERE order_id = $1"
    await wait_until(lambda: service.database.fetchval(known, order.id), what="the first event")
    service.clock.advance(5)
    await service.live(order)
    seen = await service.delivery(order)
    assert seen["kitchen"] == "accepted"
    assert seen["kitchen_history"] == [{"state": "accepted", "at": accepted_at.isoformat()}]
    await service.kitchen(order, TicketState.READY, version=3)
    revision = (await service.row(order))["revision"]
    await service.publish(ticket(order, TicketState.PREPARING, 2, service.clock.now()))

    async def shown() -> bool:
        return bool((await service.row(order))["revision"] > revision)

    await wait_until(shown, what="the event that came late")
    seen = await service.delivery(order)
    assert [one["state"] for one in seen["kitchen_history"]] == ["accepted", "preparing", "ready"]
    assert seen["kitchen"] == "ready"


def ticket(order: Order, state: TicketState, version: int, at: datetime) -> TicketChanged:
    return TicketChanged(
        order_id=order.id,
        user_id=order.user_id,
        restaurant_id=order.restaurant_id,
        restaurant_name="Luigi's",
        state=state,
        version=version,
        ready_at=None,
        occurred_at=at,
    )


async def test_who_is_chosen_leaves_orders_to_those_who_must_set_out_earlier(service: RunningService) -> None:
    """In the same pass: the courier nearby gets the first order, so the second one is due for the one far away."""
    far = max(range(400), key=lambda number: TOWN.distance_m(corner(number), corner(0)) % REACH_M)
    way_s = travel_s(TOWN.distance_m(corner(far), corner(0)), Vehicle.BIKE.speed_m_s)
    near, other = await service.courier(at=corner(0)), await service.courier(at=corner(far))
    first = await service.live(Order(ready_in_s=SLOW_KITCHEN_S))
    second = await service.live(Order(ready_in_s=SLOW_KITCHEN_S + way_s))
    service.clock.advance(SLOW_KITCHEN_S - MARGIN_S)
    await near.at(corner(0))
    await other.at(corner(far))
    await service.check()
    assert await service.has_courier(first, near)
    assert await service.has_courier(second, other)


async def test_an_order_whose_kitchen_is_ready_earlier_gets_a_courier_at_once(service: RunningService) -> None:
    await service.courier(at=corner(0))
    order = await service.live(Order(ready_in_s=SLOW_KITCHEN_S))
    await service.kitchen(order, TicketState.PREPARING, ready_in_s=SLOW_KITCHEN_S)
    assert (await service.row(order))["courier_id"] is None
    await service.kitchen(order, TicketState.READY, version=3)
    assert (await service.row(order))["courier_id"] is not None
