"""Who takes which order, when it arrives, and which changes are legal: pure rules, over many cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.tests.delivery_service import NOON
from shop.delivery.domain import (
    ACTIONS,
    TRANSITIONS,
    Action,
    Courier,
    Delivery,
    NotAllowed,
    State,
    Vehicle,
    code_of,
)
from shop.delivery.planning import MAX_DETOUR, MAX_READY_GAP_S, SHORTLIST, Fleet, fits_trip, plan
from shop.delivery.trips import arrival_without_courier, arrivals, length_m
from shop.town import town

TOWN = town()
JUNCTIONS = len(TOWN.junctions)
REACH_M = 5_000
RESTAURANT = UUID(int=1)

junction = st.integers(0, JUNCTIONS - 1)
states = st.sampled_from(list(State))


def courier(number: int, at: int, vehicle: Vehicle = Vehicle.BIKE, load: int = 0) -> Courier:
    where = TOWN.junctions[at]
    return Courier(UUID(int=number), "Ines", vehicle, vehicle.capacity, load, True, 1, where, at, NOON)


def delivery(number: int, pickup: int, dropoff: int, state: State = State.WAITING, ready_s: int = 0) -> Delivery:
    start, end = TOWN.junctions[pickup], TOWN.junctions[dropoff]
    distance_m = TOWN.distance_m(start, end)
    return Delivery(
        order_id=UUID(int=number),
        state=state,
        user_id=UUID(int=2),
        restaurant_id=RESTAURANT,
        restaurant_name="Luigi's",
        address={},
        pickup=start,
        dropoff=end,
        dropoff_junction=dropoff,
        distance_m=distance_m,
        code="0427",
        ready_at=NOON + timedelta(seconds=ready_s),
        promised_at=NOON,
        eta=NOON,
        waiting_since=NOON,
        created_at=NOON,
        updated_at=NOON,
        version=0 if state is State.HELD else 1,
    )


@given(spots=st.lists(junction, min_size=1, max_size=SHORTLIST), pickup=junction, refused=st.sets(st.integers(0, 7)))
def test_the_shortest_way_wins_and_ties_go_by_id(spots: list[int], pickup: int, refused: set[int]) -> None:
    couriers = [courier(number, spot) for number, spot in enumerate(spots)]
    wanted = delivery(1, pickup, 0)
    ways = [
        (TOWN.distance_m(TOWN.junctions[spot], wanted.pickup), number)
        for number, spot in enumerate(spots)
        if number not in refused
    ]
    best = min(ways, default=None)
    found = Fleet(TOWN, couriers, {}, REACH_M).best(wanted, {UUID(int=number) for number in refused})
    assert (found.user_id.int if found else None) == (best[1] if best and best[0] <= REACH_M else None)


@given(spots=st.lists(junction, min_size=20, max_size=60), pickup=junction)
def test_of_a_large_fleet_at_junctions_the_shortest_way_wins_too(spots: list[int], pickup: int) -> None:
    wanted = delivery(1, pickup, 0)
    found = Fleet(TOWN, [courier(number, spot) for number, spot in enumerate(spots)], {}, REACH_M).best(wanted)
    assert found is not None
    assert found.position is not None
    shortest = min(TOWN.distance_m(TOWN.junctions[spot], wanted.pickup) for spot in spots)
    assert TOWN.distance_m(found.position, wanted.pickup) == shortest


@given(reach=st.integers(100, 3_000), spot=junction, pickup=junction)
def test_nobody_is_sent_farther_than_the_reach(reach: int, spot: int, pickup: int) -> None:
    found = Fleet(TOWN, [courier(1, spot)], {}, reach).best(delivery(1, pickup, 0))
    assert (found is not None) == (TOWN.distance_m(TOWN.junctions[spot], TOWN.junctions[pickup]) <= reach)


@given(drops=st.lists(junction, min_size=1, max_size=12), vehicle=st.sampled_from(list(Vehicle)))
def test_a_plan_keeps_capacities_and_detours(drops: list[int], vehicle: Vehicle) -> None:
    line = [delivery(number, 0, drop) for number, drop in enumerate(drops)]
    couriers = [courier(number, 40 * number, vehicle) for number in range(3)]
    fleet = Fleet(TOWN, couriers, {}, REACH_M)
    chosen = plan(fleet, line, {})
    assert len({one.order_id for one, _ in chosen}) == len(chosen)
    for trip in fleet.carried.values():
        assert len(trip) <= vehicle.capacity
        farthest = max(one.distance_m for one in trip)
        assert length_m(trip[0].pickup, trip, TOWN.distance_m) <= (1 + MAX_DETOUR) * farthest
    left = [one for one in line if one not in [taken for taken, _ in chosen]]
    assert all(fleet.best(one) is None for one in left)


@given(
    spots=st.lists(junction, min_size=1, max_size=25),
    orders=st.lists(st.tuples(st.integers(0, 2), junction, st.integers(0, 900)), min_size=1, max_size=12),
    refused=st.dictionaries(st.integers(0, 11), st.sets(st.integers(0, 24), max_size=3), max_size=3),
)
def test_a_plan_decides_each_order_as_if_it_looked_at_all_couriers_anew(
    spots: list[int], orders: list[tuple[int, int, int]], refused: dict[int, set[int]]
) -> None:
    restaurants = [(UUID(int=100 + number), at) for number, at in enumerate((0, 30, 60))]
    line = [
        replace(delivery(number, restaurants[where][1], drop, ready_s=ready_s), restaurant_id=restaurants[where][0])
        for number, (where, drop, ready_s) in enumerate(orders)
    ]
    refusals = {UUID(int=order): {UUID(int=one) for one in couriers} for order, couriers in refused.items()}
    couriers = {UUID(int=number): courier(number, spot) for number, spot in enumerate(spots)}
    expected: list[tuple[UUID, UUID]] = []
    held: dict[UUID, list[Delivery]] = {}
    for one in line:
        fleet = Fleet(TOWN, list(couriers.values()), {who: [*some] for who, some in held.items()}, REACH_M, NOON, 60.0)
        if (chosen := fleet.best(one, refusals.get(one.order_id, ()))) is not None:
            expected.append((one.order_id, chosen.user_id))
            couriers[chosen.user_id] = fleet.assign(one, chosen)
            held = fleet.carried
    found = plan(Fleet(TOWN, [courier(*it) for it in enumerate(spots)], {}, REACH_M, NOON, 60.0), line, refusals)
    assert [(one.order_id, who.user_id) for one, who in found] == expected


@given(
    spots=st.lists(st.tuples(junction, st.sampled_from(list(Vehicle))), max_size=25),
    taken=st.lists(st.tuples(junction, st.integers(0, 900)), max_size=4),
    pickup=junction,
    drop=junction,
    ready_s=st.integers(0, 2_000),
)
def test_the_couriers_of_due_orders_are_known_before_these_are_read(
    spots: list[tuple[int, Vehicle]], taken: list[tuple[int, int]], pickup: int, drop: int, ready_s: int
) -> None:
    """By the time until which its restaurant's orders are due."""
    couriers = [courier(number, spot, vehicle) for number, (spot, vehicle) in enumerate(spots)]
    fleet = Fleet(TOWN, couriers, {}, REACH_M, NOON, 60.0)
    plan(fleet, [delivery(number, pickup, to, ready_s=after_s) for number, (to, after_s) in enumerate(taken)], {})
    wanted = delivery(9, pickup, drop, ready_s=ready_s)
    due_by = fleet.due_by(RESTAURANT, wanted.pickup)
    if due_by is None or wanted.ready_at > due_by:
        assert fleet.best(wanted) is None
    elif not fleet.carried:
        assert fleet.best(wanted) is not None


@pytest.mark.parametrize("state", [State.HELD, State.WAITING])
def test_orders_of_one_plan_share_a_trip(state: State) -> None:
    """At once, not one in each pass."""
    fleet = Fleet(TOWN, [courier(1, 40, Vehicle.CARGO_BIKE)], {}, REACH_M)
    line = [delivery(number, 0, 50, state) for number in range(5)]
    assert len(plan(fleet, line, {})) == Vehicle.CARGO_BIKE.capacity


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"restaurant_id": UUID(int=9)}, False),
        ({"state": State.PICKED_UP}, False),
        ({"state": State.ON_THE_WAY}, False),
        ({"state": State.AT_RESTAURANT}, True),
        ({"ready_at": NOON + timedelta(seconds=MAX_READY_GAP_S)}, True),
        ({"ready_at": NOON + timedelta(seconds=MAX_READY_GAP_S + 1)}, False),
    ],
)
def test_what_fits_a_trip(change: dict[str, object], fits: bool) -> None:
    carried = replace(delivery(1, 0, 50, State.ASSIGNED), **change)  # type: ignore[arg-type]
    assert fits_trip(TOWN, [carried], delivery(2, 0, 50)) is fits


@given(
    drops=st.lists(junction, min_size=1, max_size=4),
    at=junction,
    state=st.sampled_from([State.HELD, State.ASSIGNED, State.AT_RESTAURANT, State.PICKED_UP, State.ON_THE_WAY]),
    ready_s=st.integers(-3_600, 3_600),
    with_fix=st.booleans(),
)
def test_arrivals_are_after_now_and_after_the_kitchen(
    drops: list[int], at: int, state: State, ready_s: int, with_fix: bool
) -> None:
    carried = [delivery(number, 0, drop, state, ready_s) for number, drop in enumerate(drops)]
    who = courier(1, at, Vehicle.CAR)
    found = arrivals(who if with_fix else replace(who, position=None), carried, TOWN.distance_m, NOON)
    assert found.keys() == {one.order_id for one in carried}
    assert all(eta > NOON for eta in found.values())
    if state in (State.HELD, State.ASSIGNED, State.AT_RESTAURANT):
        assert all(eta > one.ready_at for one in carried for eta in [found[one.order_id]])
    assert arrival_without_courier(carried[0].ready_at, carried[0].distance_m, NOON) > NOON


@given(before=states, after=states)
def test_only_legal_transitions_are_made(before: State, after: State) -> None:
    start = replace(delivery(1, 0, 1, before), courier_id=UUID(int=5))
    if after not in TRANSITIONS[before]:
        with pytest.raises(ValueError, match="cannot go from"):
            start.moved(after, NOON)
        return
    moved = start.moved(after, NOON)
    assert moved.version == start.version + (after is not State.RELEASED)
    assert (moved.courier_id is None) == (after in (State.WAITING, State.FAILED, State.CANCELLED, State.RELEASED))


@given(state=states, action=st.sampled_from(list(Action)), ready=st.booleans())
def test_only_what_is_offered_can_be_done(state: State, action: Action, ready: bool) -> None:
    one = replace(delivery(1, 0, 1, state), courier_id=UUID(int=5), kitchen="ready" if ready else "preparing")
    if action in one.allowed():
        assert one.acted(action, NOON).state is ACTIONS[action][1]
    else:
        with pytest.raises(NotAllowed):
            one.acted(action, NOON)


@given(state=states)
def test_what_is_withdrawn_never_moves_again(state: State) -> None:
    gone = delivery(1, 0, 1, state).withdrawn(NOON)
    assert gone.state.final
    assert gone.withdrawn(NOON) == gone
    assert gone.allowed() == []


@given(number=st.integers(0, 10**9))
def test_codes_have_four_digits(number: int) -> None:
    code = code_of(number)
    assert (len(code), code.isdigit(), int(code)) == (4, True, number % 10_000)
