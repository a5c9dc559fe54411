"""Orders of food over midnight and in the nights when clocks change, by the restaurant's own time.

All services have one clock, which the test sets. An order is cooked and brought in the opening in which it was placed,
or it is undone: it never moves to the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shop.delivery.reservations import Reservations
from shop.devkit.testing import wait_until
from shop.kit.clock import Clock, FixedClock
from shop.kit.errors import Unavailable
from tests.contracts.food_quarter import WAIT_S, Quarter, new_restaurant

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
CLOSED_CODES = ("restaurant_closed", "cancelled_by_restaurant")
"""The kitchen's clock and the saga that is resumed are equally fast; either may end the order."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FixedClock:
    """The clock of all services. Couriers keep their position however far it jumps."""
    made = FixedClock(datetime.now(UTC))
    monkeypatch.setattr(Clock, "now", lambda _: made.at)
    for name in ("FIX_MAX_AGE_S", "COURIER_LOST_AFTER_S"):
        monkeypatch.setenv(f"SHOP_{name}", "864000")
    return made


class DeliveryBreak:
    """While it lasts delivery does not take up paid orders: they are charged and pending."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = False
        assign = Reservations.assign

        async def interrupted(reservations: Reservations, items: Any) -> Any:
            if not self.over:
                raise Unavailable("database")
            return await assign(reservations, items)

        monkeypatch.setattr(Reservations, "assign", interrupted)


async def open_from(quarter: Quarter, zone: str, opens: str, closes: str) -> None:
    """The quarter's restaurant is one with these hours on each day."""
    weekly = [{"day": day, "opens": opens, "closes": closes} for day in DAYS]
    changed = {"time_zone": zone, "hours": {"weekly": weekly}}
    quarter.restaurant = await new_restaurant(quarter.at["restaurant"], quarter.admin, **changed)


async def charged_and_pending(quarter: Quarter) -> str:
    answer, _, _ = await quarter.send()
    assert answer.status_code == 202, answer.text
    order_id: str = answer.json()["id"]

    async def captured() -> bool:
        found = await quarter.request("payment", "GET", "/payments", params={"order_id": order_id})
        return [one["state"] for one in found.json()["items"]] == ["captured"]

    await wait_until(captured, WAIT_S, "the charge")
    return order_id


async def open_tickets(quarter: Quarter) -> list[str]:
    answer = await quarter.request("restaurant", "GET", f"/restaurants/{quarter.restaurant['id']}/tickets")
    ended = ("cancelled", "rejected", "picked_up")
    return [one["order_id"] for one in answer.json()["items"] if one["state"] not in ended]


@pytest.mark.parametrize(
    ("zone", "closes", "placed", "resumed", "delivered"),
    [
        pytest.param(
            "Europe/Berlin", "02:00", "2026-11-28T22:55", "2026-11-28T23:10", "2026-11-29T00:40", id="midnight"
        ),
        pytest.param(
            "America/New_York", "02:00", "2026-07-05T03:55", "2026-07-05T04:10", "2026-07-05T05:40", id="its own zone"
        ),
        pytest.param(
            "Europe/Berlin", "02:30", "2026-10-25T00:50", "2026-10-25T01:10", "2026-10-25T01:40", id="hour twice"
        ),
        pytest.param(
            "Europe/Berlin", "03:30", "2026-03-29T00:50", "2026-03-29T01:10", "2026-03-29T01:40", id="hour skipped"
        ),
    ],
)
async def test_an_order_that_waits_within_its_opening_is_cooked_and_brought(
    quarter: Quarter,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    closes: str,
    placed: str,
    resumed: str,
    delivered: str,
) -> None:
    """It is charged before, and confirmed after midnight or the change of the clocks."""
    clock.at = utc(placed)
    delivery = DeliveryBreak(monkeypatch)
    await open_from(quarter, zone, "18:00", closes)
    courier = await quarter.courier()
    order_id = await charged_and_pending(quarter)
    clock.at = utc(resumed)
    delivery.over = True
    await quarter.until(order_id, "confirmed")
    for action in ("begin", "ready"):
        await quarter.ticket(order_id, action)
    for action in ("arrive", "pick-up", "depart"):
        await quarter.step(order_id, action, courier)
    clock.at = utc(delivered)
    tracked = await quarter.request("delivery", "GET", f"/deliveries/{order_id}", quarter.customer)
    await quarter.step(order_id, "deliver", courier, code=tracked.json()["code"])
    order = await quarter.until(order_id, "delivered")
    assert datetime.fromisoformat(order["created_at"]) == utc(placed)
    payment = await quarter.payment(order_id)
    assert (payment["amount"], payment["refunded"]["amount"]) == (order["total"], 0)


@pytest.mark.parametrize(
    ("closes", "placed", "closed", "next_opening"),
    [
        pytest.param("02:00", "2026-11-29T00:55", "2026-11-29T01:01", "2026-11-29T17:05", id="after midnight"),
        pytest.param("02:30", "2026-10-25T01:25", "2026-10-25T01:31", "2026-10-25T17:05", id="hour twice"),
        pytest.param("02:30", "2026-03-29T00:55", "2026-03-29T01:01", "2026-03-29T16:05", id="hour skipped"),
    ],
)
async def test_an_order_that_is_charged_and_pending_at_closing_time_is_refunded(
    quarter: Quarter,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    closes: str,
    placed: str,
    closed: str,
    next_opening: str,
) -> None:
    clock.at = utc(placed)
    delivery = DeliveryBreak(monkeypatch)
    await open_from(quarter, "Europe/Berlin", "18:00", closes)
    courier = await quarter.courier()
    order_id = await charged_and_pending(quarter)
    clock.at = utc(closed)
    order = await quarter.until(order_id, "rejected")
    assert order["reason"] in CLOSED_CODES
    payment = await quarter.payment(order_id)
    assert payment["refunded"] == payment["amount"]
    delivery.over = True
    refused = await quarter.place()
    assert (refused.status_code, refused.json()["code"]) == (409, "restaurant_closed"), refused.text
    assert datetime.fromisoformat(refused.json()["opens_at"]) == utc(next_opening[:-2] + "00")
    clock.at = utc(next_opening)
    assert (await quarter.order(order_id))["state"] == "rejected"
    assert await open_tickets(quarter) == []
    assert (await quarter.request("delivery", "GET", "/couriers/me/jobs", courier)).json()["items"] == []


async def test_a_confirmed_order_without_a_courier_in_time_is_refunded_with_its_tip(
    quarter: Quarter, clock: FixedClock
) -> None:
    """Its only courier gives it back, and nobody takes it within the ten minutes of delivery."""
    courier = await quarter.courier()
    order_id = (await quarter.place()).json()["id"]
    await quarter.step(order_id, "reject", courier)
    clock.advance(590)
    assert (await quarter.order(order_id))["state"] == "confirmed"
    clock.advance(20)
    order = await quarter.until(order_id, "cancelled")
    assert (order["reason"], order["tip"]["amount"]) == ("no_courier", 150)
    payment = await quarter.payment(order_id)
    assert payment["refunded"] == payment["amount"] == order["total"]
    assert await open_tickets(quarter) == []
