"""How simulated couriers, customers and kitchens behave: seeded, and within what the shop allows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from shop.operator.simulate import appetite, driving, kitchens
from shop.operator.simulate.figures import Figures, percentile, summary
from shop.operator.simulate.fleet import fitting_time_factor
from shop.town import Position, town
from shop.town.geometry import Plane

PLANE = Plane(Position(51.9, -0.2))
START, RESTAURANT, HOME = Position(51.9, -0.2), Position(51.903, -0.2), Position(51.903, -0.19)
NOW = datetime(2026, 11, 28, 18, 0, tzinfo=UTC)


def job(
    order_id: str, state: str, *actions: str, pickup: Position = RESTAURANT, dropoff: Position = HOME
) -> driving.Job:
    return {
        "order_id": order_id,
        "state": state,
        "actions": list(actions),
        "pickup": pickup._asdict(),
        "dropoff": dropoff._asdict(),
        "route": [START._asdict(), pickup._asdict()],
    }


def item(name: str, price: int, *, available: bool = True, options: Any = ()) -> dict[str, Any]:
    return {
        "id": name,
        "price": {"amount": price, "currency": "GBP"},
        "available": available,
        "options": list(options),
    }


def option(least: int, most: int, count: int) -> dict[str, Any]:
    choices = [
        {"id": f"choice-{least}-{number}", "price": {"amount": 50, "currency": "GBP"}} for number in range(count)
    ]
    return {"min": least, "max": most, "choices": choices}


MENU = {
    "restaurant": {"id": "r1", "minimum_order": {"amount": 2_000, "currency": "GBP"}},
    "sections": [
        {"items": [item("pizza", 900, options=[option(1, 1, 3), option(0, 2, 4)]), item("gone", 10, available=False)]},
        {"items": [item("water", 150)]},
    ],
}


def ride(vehicle: str = "bike") -> driving.Ride:
    return driving.Ride(START, vehicle, 1.0, PLANE)


def metres(one: Position, two: Position) -> float:
    return math.dist(PLANE.point(one), PLANE.point(two))


def test_a_courier_rides_along_the_way_at_about_the_speed_of_the_vehicle_and_stops_at_its_end() -> None:
    courier = ride()
    courier.follow([RESTAURANT, HOME], Random(1))
    before = courier.position
    courier.advance(10)
    assert 10 * 4.5 * 0.85 < metres(before, courier.position) < 10 * 4.5 * 1.15
    courier.advance(100_000)
    assert metres(courier.position, HOME) < 0.1
    assert courier.stands


def test_without_a_way_a_courier_stands() -> None:
    courier = ride()
    courier.advance(60)
    courier.follow([START], Random(1))
    courier.advance(60)
    assert courier.position == START


def test_fixes_scatter_around_the_courier() -> None:
    fixes = [ride().fix(Random(seed)) for seed in range(200)]
    assert len(set(fixes)) == 200
    assert all(metres(START, fix) < 6 * driving.JITTER_M for fix in fixes)


def test_food_is_picked_up_before_any_is_delivered_and_one_stop_serves_all_orders_of_the_restaurant() -> None:
    elsewhere = Position(51.91, -0.21)
    jobs = [
        job("a", "on_the_way"),
        job("b", "assigned"),
        job("c", "at_restaurant"),
        job("d", "assigned", pickup=elsewhere),
    ]
    stop = driving.next_stop(jobs)
    assert stop is not None
    assert (stop.position, stop.orders, stop.pickup) == (RESTAURANT, ("b", "c"), True)
    assert stop.route == (START, RESTAURANT)


def test_customers_are_visited_in_the_order_of_the_shop() -> None:
    stop = driving.next_stop([job("b", "on_the_way"), job("a", "on_the_way", dropoff=START)])
    assert stop is not None
    assert (stop.orders, stop.position, stop.pickup) == (("b",), HOME, False)


def test_without_jobs_there_is_no_stop() -> None:
    assert driving.next_stop([]) is None
    assert driving.next_stop([job("a", "delivered")]) is None


def test_a_courier_arrives_at_once_and_picks_up_when_the_bag_is_handed_over() -> None:
    stop = driving.Stop(RESTAURANT, ("a",), True)
    assert driving.presses([job("a", "assigned", "arrive", "reject")], stop, False) == [("a", "arrive")]
    assert driving.presses([job("a", "at_restaurant", "pick-up")], stop, False) == []
    assert driving.presses([job("a", "at_restaurant", "pick-up")], stop, True) == [("a", "pick-up")]
    assert driving.presses([job("a", "at_restaurant", "drop")], stop, True) == [], "the kitchen is not ready"


def test_a_courier_departs_once_everything_is_in_the_bag() -> None:
    bag = job("a", "picked_up", "depart")
    assert driving.departures([bag, job("b", "at_restaurant", "pick-up")]) == []
    assert driving.departures([bag, job("b", "picked_up", "depart")]) == [("a", "depart"), ("b", "depart")]


def test_a_courier_delivers_only_where_they_are_and_only_when_it_is_allowed() -> None:
    stop = driving.Stop(HOME, ("a",), False)
    jobs = [job("a", "on_the_way", "deliver"), job("b", "on_the_way", "deliver")]
    assert driving.presses(jobs, stop, True) == [("a", "deliver")]
    assert driving.presses(jobs, stop, False) == []
    assert driving.presses([job("a", "on_the_way")], stop, True) == []


def test_people_live_at_addresses_of_the_town_and_a_seed_makes_the_same_people() -> None:
    people = [appetite.person(Random(seed), town(), ["thai", "pizza"]) for seed in range(50)]
    assert all(town().locate(one.street, one.city) for one in people)
    assert people == [appetite.person(Random(seed), town(), ["thai", "pizza"]) for seed in range(50)]
    assert len({one.street for one in people}) > 40


@pytest.mark.parametrize("seed", range(30))
def test_a_cart_is_one_that_the_menu_allows(seed: int) -> None:
    lines = appetite.fill_cart(Random(seed), MENU)
    assert 1 <= len(lines) <= appetite.MAX_LINES
    total = 0
    for line in lines:
        assert line["item_id"] in ("pizza", "water"), "nothing that is sold out"
        chosen = line["choices"]
        assert len(set(chosen)) == len(chosen)
        if line["item_id"] == "pizza":
            assert sum(choice.startswith("choice-1-") for choice in chosen) == 1
            assert sum(choice.startswith("choice-0-") for choice in chosen) <= 2
        total += line["quantity"] * ((900 if line["item_id"] == "pizza" else 150) + 50 * len(chosen))
    assert total >= 2_000 or sum(line["quantity"] for line in lines) >= 5


def test_nothing_is_ordered_where_everything_is_sold_out() -> None:
    menu = {"restaurant": {"id": "r"}, "sections": [{"items": [item("gone", 10, available=False)]}]}
    assert appetite.order_body(Random(1), menu, appetite.Person("Ada", "1 Mill Lane", "Millbridge"), "GB") is None


def test_an_order_has_a_home_a_card_and_sometimes_a_tip_and_is_the_same_for_the_same_seed() -> None:
    ada = appetite.Person("Ada", "1 Mill Lane", "Millbridge")
    bodies = [appetite.order_body(Random(seed), MENU, ada, "GB") for seed in range(100)]
    assert bodies == [appetite.order_body(Random(seed), MENU, ada, "GB") for seed in range(100)]
    found = [body for body in bodies if body]
    assert all(body["address"]["street"] == "1 Mill Lane" and body["kind"] == "food" for body in found)
    assert {"tok_visa"} < {body["payment"]["token"] for body in found}
    tips = [body["tip"]["amount"] for body in found if "tip" in body]
    assert 20 < len(tips) < 80
    assert all(tip % 10 == 0 for tip in tips)


def test_bread_is_for_lunch_and_pizza_for_dinner() -> None:
    ada = appetite.Person("Ada", "1 Mill Lane", "Millbridge")
    open_now = [{"cuisine": "bakery"}, {"cuisine": "pizza"}]
    random = Random(1)
    lunch = [appetite.choose_restaurant(random, open_now, ada, 12) for _ in range(300)]
    dinner = [appetite.choose_restaurant(random, open_now, ada, 19) for _ in range(300)]
    assert lunch.count(open_now[0]) > 200
    assert dinner.count(open_now[1]) > 200
    assert appetite.choose_restaurant(random, [], ada, 12) is None


@pytest.mark.parametrize(
    ("ticket", "action"),
    [
        ({"state": "waiting"}, "accept"),
        ({"state": "accepted", "paid": False}, None),
        ({"state": "accepted", "paid": True}, "begin"),
        ({"state": "preparing"}, "ready"),
        ({"state": "ready"}, None),
        ({"state": "picked_up"}, None),
    ],
)
def test_a_kitchen_takes_the_next_step_of_a_ticket(ticket: dict[str, Any], action: str | None) -> None:
    assert kitchens.next_action(ticket) == action


def test_food_is_ready_about_when_it_was_promised_and_sooner_when_time_runs_faster() -> None:
    ticket = {"ready_at": (NOW + timedelta(seconds=600)).isoformat()}
    assert 500 < kitchens.wait_s(Random(1), ticket, "ready", NOW, 1) < 700
    assert kitchens.wait_s(Random(1), ticket, "ready", NOW, 10) == kitchens.MAX_COOKING_S
    assert 5 < kitchens.wait_s(Random(1), ticket, "ready", NOW, 100) < 7
    assert kitchens.wait_s(Random(1), ticket, "ready", NOW + timedelta(hours=1), 1) == 0


def test_errors_of_estimates_are_summed_up_with_median_and_percentile() -> None:
    figures = Figures()
    for seconds in range(-3, 8):
        figures.arrived("confirmed", NOW.isoformat(), NOW + timedelta(seconds=seconds))
    figures.arrived("confirmed", None, NOW)
    assert summary(figures.errors_s["confirmed"]) == {"count": 11, "median_s": 3.0, "p90_s": 6.0, "bias_s": 2.0}
    assert figures.document(1)["eta_error"]["departed"] == {"count": 0, "median_s": 0, "p90_s": 0, "bias_s": 0}
    assert "ETA error median 3 s, p90 6 s" in figures.line(61)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert [percentile([1, 2, 3, 4], share) for share in (0.25, 0.5, 0.51, 0.9, 1)] == [1, 2, 3, 4, 4]
    assert percentile([], 0.5) == 0


def test_people_order_nearby_rather_than_far_away() -> None:
    ada = appetite.Person("Ada", "1 Mill Lane", town().name, {}, town().locate("1 Mill Lane", town().name))
    assert ada.home is not None
    corners = sorted(town().junctions, key=lambda spot: ada.distance_m(spot._asdict()))
    near, far = ({"cuisine": "pizza", "position": spot._asdict()} for spot in (corners[0], corners[-1]))
    random = Random(1)
    chosen = [appetite.choose_restaurant(random, [far, near], ada, 16) for _ in range(300)]
    assert chosen.count(near) > 250
    assert ada.distance_m(None) == 0


@pytest.mark.parametrize(
    ("couriers", "orders_per_minute", "factor"), [(20, 30, 12.0), (20, 1, 1.0), (1, 600, 60.0), (10, 2.5, 2.0)]
)
def test_time_runs_as_fast_as_the_couriers_need_it(couriers: int, orders_per_minute: float, factor: float) -> None:
    assert fitting_time_factor(couriers, orders_per_minute) == factor


def test_the_last_lines_say_how_far_estimates_were_off() -> None:
    figures = Figures(placed=4, delivered=3, cancelled=1)
    figures.errors_s["confirmed"] = [-100.0, -50.0, 20.0]
    assert figures.closing(1) == [
        "3 of 4 orders delivered (75 %), 1 cancelled",
        "ETA error at confirmation: median 50 s, p90 100 s, bias -50 s (3 orders)",
        "ETA error at departure: - (0 orders)",
    ]
    assert "--time-factor 1" in figures.closing(12)[-1]
