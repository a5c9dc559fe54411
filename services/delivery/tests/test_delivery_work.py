"""Couriers' shifts and the steps of a delivery: what is allowed, who gets it next, and the code at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, home
from shop.contracts.events import TicketState
from shop.delivery import metrics, retention_repository
from shop.delivery.domain import MAX_WRONG_CODES, WRONG_CODES_WINDOW_S
from shop.devkit.testing import wait_until
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.kit.retention import Retention

SOMEBODY = "01980000-0000-7000-8000-000000000001"
TO_THE_CUSTOMER = ("arrive", "pick-up", "depart")


@pytest.fixture
async def rider(service: RunningService) -> Rider:
    return await service.courier(at=corner(1))


async def bring(service: RunningService, rider: Rider, order: Order) -> None:
    """All steps up to the customer's entrance."""
    await service.kitchen(order, TicketState.READY)
    for action in TO_THE_CUSTOMER:
        answer = await rider.does(order.id, action)
        assert answer.status_code == 200, answer.text


async def test_a_delivery_from_the_restaurant_to_the_customer(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await bring(service, rider, order)
    answer = await rider.does(order.id, "deliver", await service.code(order))
    assert (answer.status_code, answer.json()["state"]) == (200, "delivered")
    seen = await service.delivery(order)
    assert [step["state"] for step in seen["history"]] == [
        "assigned", "at_restaurant", "picked_up", "on_the_way", "delivered",
    ]  # fmt: skip
    assert seen["courier"] == {"name": "Ines", "vehicle": "bike"}
    assert await rider.jobs() == []
    await service.assert_sound()


async def test_how_it_went_is_removed_a_while_after_the_end(service: RunningService, rider: Rider) -> None:
    ended, under_way = await service.live(), await service.live()
    await bring(service, rider, ended)
    await service.kitchen(under_way, TicketState.READY)
    await rider.does(ended.id, "deliver", await service.code(ended))
    later = FixedClock(datetime.now(UTC) + timedelta(days=91))
    for keep, left in ((92, {ended.id, under_way.id}), (90, {under_way.id})):
        rules = retention_repository.rules(timedelta(days=keep))
        await Retention(service.database, later, rules).remove_once()
        for table in ("delivery_transitions", "kitchen_states"):
            rows = await service.database.fetch(f"SELECT DISTINCT order_id FROM {table}")
            assert {row["order_id"] for row in rows} == left, table
    assert (await service.delivery(ended))["state"] == "delivered"


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z"])
async def test_a_position_of_a_time_that_no_clock_shows_is_refused(
    service: RunningService, rider: Rider, at: str
) -> None:
    body = {"lat": corner(1).lat, "lon": corner(1).lon, "at": at}
    answer = await service.client.post("/api/v1/couriers/me/positions", json=body, headers=rider.headers)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["at"]


async def test_a_step_that_is_repeated_changes_nothing(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    answers = [await rider.does(order.id, "arrive") for _ in range(2)]
    assert [answer.json()["version"] for answer in answers] == [2, 2]


@pytest.mark.parametrize("action", ["depart", "deliver", "pick-up"])
async def test_steps_are_not_skipped(service: RunningService, rider: Rider, action: str) -> None:
    order = await service.live()
    await service.kitchen(order, TicketState.READY)
    code = await service.code(order) if action == "deliver" else None
    answer = await rider.does(order.id, action, code)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert answer.json()["actions"] == ["arrive", "reject", "drop"]


async def test_nothing_is_picked_up_before_the_kitchen_is_ready(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await rider.does(order.id, "arrive")
    answer = await rider.does(order.id, "pick-up")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert (await rider.jobs())[0]["actions"] == ["drop"]
    await service.kitchen(order, TicketState.READY)
    assert (await rider.jobs())[0]["actions"] == ["pick-up", "drop"]
    assert (await rider.does(order.id, "pick-up")).status_code == 200


async def test_tickets_may_come_in_any_order(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await service.kitchen(order, TicketState.READY, version=4)
    await service.kitchen(order, TicketState.PREPARING, version=3)
    last = await service.live(Order(address=home(3)))
    await service.kitchen(last, TicketState.PREPARING, version=9)
    assert (await service.row(order))["kitchen"] == "ready"


async def test_five_wrong_codes_and_no_more(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await bring(service, rider, order)
    right = await service.code(order)
    wrong = f"{(int(right) + 1) % 10_000:04}"
    answers = [await rider.does(order.id, "deliver", wrong) for _ in range(MAX_WRONG_CODES)]
    assert [answer.json()["attempts_left"] for answer in answers] == [4, 3, 2, 1, 0]
    assert {answer.status_code for answer in answers} == {422}
    locked = await rider.does(order.id, "deliver", right)
    assert (locked.status_code, locked.json()["code"]) == (429, "too_many_wrong_codes")
    assert int(locked.headers["retry-after"]) == WRONG_CODES_WINDOW_S
    service.clock.advance(WRONG_CODES_WINDOW_S)
    assert (await rider.does(order.id, "deliver", wrong)).json()["attempts_left"] == MAX_WRONG_CODES - 1
    assert (await rider.does(order.id, "deliver", right)).json()["state"] == "delivered"


@pytest.mark.parametrize("code", ["", "1", "12345", "abcd", "１２３４"])
async def test_what_is_no_code_is_not_counted(service: RunningService, rider: Rider, code: str) -> None:
    order = await service.live()
    await bring(service, rider, order)
    assert (await rider.does(order.id, "deliver", code)).json()["code"] == "invalid_request"
    assert (await service.row(order))["wrong_codes"] == 0


async def test_a_rejected_delivery_goes_to_another_courier_alone(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    assert (await rider.does(order.id, "reject")).json()["state"] == "waiting"
    assert await rider.jobs() == []
    await rider.shift(False)
    await rider.shift()
    await service.check()
    assert (await service.delivery(order))["courier"] is None
    second = await service.courier("car", corner(50), "Otto")
    await wait_until(lambda: service.has_courier(order, second), what="the second courier")
    assert (await service.delivery(order))["courier"] == {"name": "Otto", "vehicle": "car"}
    await service.assert_sound()


async def test_a_rejected_delivery_is_taken_up_at_once(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    second = await service.courier(at=corner(90))
    await rider.does(order.id, "reject")
    assert [job["order_id"] for job in await second.jobs()] == [str(order.id)]
    states = [step["state"] for step in (await service.delivery(order))["history"]]
    assert states == ["assigned", "waiting", "assigned"]


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_courier_who_drops_out_is_replaced(service: RunningService, rider: Rider, arrived: bool) -> None:
    order = await service.live()
    second = await service.courier(at=corner(90))
    if arrived:
        await rider.does(order.id, "arrive")
    await rider.does(order.id, "drop")
    assert (await service.row(order))["courier_id"] == second.id
    assert (await rider.does(order.id, "arrive")).status_code == 404


async def test_the_end_of_a_shift_returns_what_is_not_picked_up(service: RunningService) -> None:
    rider = await service.courier("car", at=corner(1))
    restaurant = new_id()
    carried, returned = (Order(restaurant_id=restaurant) for _ in range(2))
    await service.live(carried)
    await service.live(returned)
    assert {job["order_id"] for job in await rider.jobs()} == {str(carried.id), str(returned.id)}
    await bring(service, rider, carried)
    await rider.shift(False)
    assert [job["order_id"] for job in await rider.jobs()] == [str(carried.id)]
    assert (await service.delivery(returned))["state"] == "waiting"
    assert (await rider.does(carried.id, "deliver", await service.code(carried))).status_code == 200
    await service.assert_sound()


async def test_a_courier_without_a_fix_loses_what_is_not_picked_up(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    service.clock.advance(119)
    await service.check()
    assert (await service.row(order))["courier_id"] == rider.id
    service.clock.advance(2)
    await service.check()
    assert (await service.row(order))["reason"] == "no_fix"
    me = await service.call("GET", "/api/v1/couriers/me", rider.headers)
    assert (me["on_shift"], me["fix"], me["load"]) == (True, "stale", 0)
    await rider.at(corner(2))
    await wait_until(lambda: service.has_courier(order, rider), what="the courier to get it back")


async def test_a_delivery_without_a_courier_fails_after_the_deadline(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await rider.does(order.id, "reject")
    service.clock.advance(600)
    await service.check()
    assert (await service.delivery(order))["state"] == "waiting"
    service.clock.advance(1)
    await service.check()
    seen = await service.delivery(order)
    assert (seen["state"], seen["reason"], seen["eta"]) == ("failed", "no_courier", None)
    payload = await service.database.fetchval("SELECT payload::jsonb FROM outbox ORDER BY id DESC LIMIT 1")
    assert (payload["data"]["state"], payload["data"]["reason"]) == ("failed", "no_courier")


async def test_a_finished_courier_takes_the_next_in_line(service: RunningService, rider: Rider) -> None:
    first = await service.live()
    second = await service.live(Order(address=home(9)))
    await bring(service, rider, first)
    assert (await service.delivery(second))["state"] == "waiting"
    await rider.does(first.id, "deliver", await service.code(first))
    assert [job["order_id"] for job in await rider.jobs()] == [str(second.id)]


async def test_a_courier_who_comes_online_takes_up_the_line(service: RunningService, rider: Rider) -> None:
    await service.live()
    waiting = await service.live(Order(address=home(9)))
    second = await service.courier()
    await second.at(corner(30))
    await second.shift()
    assert [job["order_id"] for job in await second.jobs()] == [str(waiting.id)]


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancelled_delivery_leaves_the_list_and_stays_away(
    service: RunningService, rider: Rider, steps: int
) -> None:
    order = await service.live()
    await service.kitchen(order, TicketState.READY)
    for action in TO_THE_CUSTOMER[:steps]:
        await rider.does(order.id, action)
    code = await service.code(order)
    await service.release(order)
    assert await rider.jobs() == []
    for action in TO_THE_CUSTOMER:
        assert (await rider.does(order.id, action)).json()["code"] == "unknown_delivery"
    assert (await rider.does(order.id, "deliver", code)).json()["code"] == "unknown_delivery"
    service.clock.advance(86_400)
    await rider.shift(False)
    await rider.shift()
    await rider.at(corner(1))
    await service.check()
    assert await rider.jobs() == []
    assert (await service.delivery(order))["state"] == "cancelled"
    await service.assert_sound()


async def test_other_couriers_do_nothing_with_a_delivery(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    other = await service.courier(at=corner(300))
    for action in ("reject", "arrive", "drop"):
        answer = await other.does(order.id, action)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_delivery")


async def test_the_error_of_the_first_estimate_is_measured(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    first = (await service.row(order))["first_eta"]
    await bring(service, rider, order)
    service.clock.at = first + timedelta(seconds=90)
    before = _late_by(60), _late_by(120)
    await rider.does(order.id, "deliver", await service.code(order))
    assert (_late_by(60), _late_by(120)) == (before[0], before[1] + 1)


def test_an_early_delivery_is_in_time_and_how_early_is_measured() -> None:
    before = _late_by(0), _early_by(60), _early_by(120)
    metrics.arrived(-90)
    assert (_late_by(0), _early_by(60), _early_by(120)) == (before[0] + 1, before[1], before[2] + 1)


def _late_by(seconds: float) -> float:
    """Deliveries that were at most so late."""
    return REGISTRY.get_sample_value("shop_delivery_eta_error_seconds_bucket", {"le": f"{seconds:.1f}"}) or 0.0


def _early_by(seconds: float) -> float:
    """Deliveries that were early by at most that."""
    return REGISTRY.get_sample_value("shop_delivery_early_seconds_bucket", {"le": f"{seconds:.1f}"}) or 0.0


async def test_a_smaller_vehicle_must_hold_what_is_carried(service: RunningService) -> None:
    rider = await service.courier("cargo_bike", at=corner(1))
    restaurant = new_id()
    for _ in range(3):
        await service.live(Order(restaurant_id=restaurant))
    path = f"/api/v1/couriers/{rider.id}"
    answer = await service.client.put(path, json={"name": "Ines", "vehicle": "bike"}, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "courier_busy")
    renamed = await service.call("PUT", path, service.admin, {"name": "Inés", "vehicle": "car"})
    assert (renamed["name"], renamed["capacity"], renamed["load"]) == ("Inés", 3, 3)


BAD: list[tuple[str, str, Any]] = [
    ("PUT", f"/api/v1/couriers/{SOMEBODY}", {"name": "", "vehicle": "bike"}),
    ("PUT", f"/api/v1/couriers/{SOMEBODY}", {"name": "Ines", "vehicle": "horse"}),
    ("PUT", "/api/v1/couriers/x", {"name": "Ines", "vehicle": "bike"}),
    ("PATCH", "/api/v1/couriers/me", {}),
    ("POST", "/api/v1/couriers/me/positions", {"lat": 91, "lon": 0}),
    ("POST", "/api/v1/couriers/me/positions", {"lat": 1, "lon": 0, "at": "2026-11-28T12:00:00"}),
    ("POST", "/api/v1/couriers/me/positions", {"lat": 1, "lon": 0, "speed": 4}),
    ("GET", "/api/v1/deliveries?state=lost", None),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
async def test_bad_input_is_refused(service: RunningService, method: str, path: str, body: Any) -> None:
    answer = await service.client.request(method, path, json=body, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"/api/v1/couriers/{SOMEBODY}", {"name": "Ines", "vehicle": "bike"}),
        ("GET", "/api/v1/couriers", None),
        ("GET", "/api/v1/deliveries", None),
        ("GET", "/api/v1/deliveries/demand", None),
    ],
)
async def test_customers_may_not_manage(service: RunningService, method: str, path: str, body: Any) -> None:
    answer = await service.client.request(method, path, json=body, headers=service.tokens.headers())
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")


@pytest.mark.parametrize("path", ["/api/v1/couriers/me", "/api/v1/couriers/me/jobs", "/api/v1/couriers/me/events"])
async def test_who_is_no_courier_has_no_jobs(service: RunningService, path: str) -> None:
    answer = await service.client.get(path, headers=service.tokens.headers())
    assert (answer.status_code, answer.json()["code"]) == (404, "not_a_courier")
