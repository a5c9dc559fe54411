"""Orders of food whose process dies, or whose participants fail, at every point: they end, and nothing is left over."""

from __future__ import annotations

from typing import Any

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.food_events import delivery, tell
from services.order.tests.scripted_food import (
    ACCEPT,
    ASSIGN,
    RELEASE_COURIER,
    RELEASE_TICKET,
    RESERVE_COURIER,
    ScriptedFood,
)
from services.order.tests.scripted_services import CHARGE, QUOTE, UNQUOTE, VOID, ScriptedServices
from services.order.tests.test_order_crashes import DYING, kill
from shop.devkit.testing import wait_until

Faults = dict[str, list[str]]

DECLINED = {"payment": {"token": "tok_declined"}}
CASES: list[tuple[str, int, dict[str, Any], Faults]] = [
    ("confirmed", 1, {}, {}),
    ("confirmed", 2, {}, {}),
    ("rejected", 2, DECLINED, {}),
    ("rejected", 3, DECLINED, {}),
    ("rejected", 2, {}, {ASSIGN: ["reject"]}),
    ("rejected", 3, {}, {ASSIGN: ["reject"]}),
    ("rejected", 2, {}, {RESERVE_COURIER: ["reject", "reject"]}),
    ("confirmed", 2, {}, {ACCEPT: ["503"]}),
    ("confirmed", 2, {}, {RESERVE_COURIER: ["lost"]}),
    ("confirmed", 2, {}, {ASSIGN: ["lost"]}),
    ("confirmed", 2, {}, {CHARGE: ["pending"]}),
]


def script(services: ScriptedServices, food: ScriptedFood, faults: Faults) -> None:
    for path, scripted in faults.items():
        (services if path in (QUOTE, CHARGE, UNQUOTE, VOID) else food).faults[path].extend(scripted)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("state", "at", "changed", "faults"), CASES)
async def test_an_order_ends_whichever_statement_its_process_dies_at(
    start_food: Start,
    services: ScriptedServices,
    food: ScriptedFood,
    state: str,
    at: int,
    changed: dict[str, Any],
    faults: Faults,
    when: str,
) -> None:
    script(services, food, faults)
    async with start_food(**DYING) as dying:
        kill(dying, at, when)
        first = await dying.place_food("key", coupon="SAVE1", **changed)
        async with start_food() as shop:
            shop.user_id, shop.headers = dying.user_id, dying.headers
            if at == 1 and when == "before":
                assert first.status_code == 503
                assert await shop.sql("SELECT FROM food_orders") == []
                return
            (row,) = await shop.sql("SELECT id FROM orders")
            # A rejection whose record was lost is asked for again, and the answer may have changed by then.
            ended = await ends(shop, str(row["id"]), state if not (faults and state == "rejected") else None)
            assert_consistent(services, food, ended)
            assert len(await shop.sql("SELECT FROM food_orders")) == 1
            assert (await shop.events(ended["id"])).count(f"order.{ended['state']}.v1") == 1


async def ends(shop: Shop, order_id: str, state: str | None) -> dict[str, Any]:
    if state is not None:
        return await shop.until(order_id, state)
    saga_is_done = "SELECT FROM sagas WHERE status = 'done'"

    async def done() -> bool:
        return bool(await shop.sql(saga_is_done))

    await wait_until(done, what="the end of the saga")
    return await shop.order(order_id)


def assert_consistent(services: ScriptedServices, food: ScriptedFood, order: dict[str, Any]) -> None:
    """A confirmed order has its ticket, its courier and one capture; another one has nothing."""
    order_id = order["id"]
    assert services.captures.get(order_id, 0) <= 1
    if order["state"] == "confirmed":
        assert (food.tickets[order_id], food.deliveries[order_id]) == ("accepted", "live")
        assert services.captured[order_id] == order["total"]["amount"]
        assert order_id not in services.refunded
    else:
        food.assert_nothing_left(order_id)
        services.assert_no_effect_left(order_id)


ACTIONS = (ACCEPT, RESERVE_COURIER, QUOTE, CHARGE, ASSIGN)


@pytest.mark.parametrize("fault", ["503", "lost", "dropped", "hang", "garbage"])
@pytest.mark.parametrize("path", ACTIONS)
async def test_a_step_that_fails_once_is_repeated(
    start_food: Start, services: ScriptedServices, food: ScriptedFood, path: str, fault: str
) -> None:
    script(services, food, {path: [fault]})
    async with start_food() as shop:
        answer = await shop.place_food()
        assert answer.status_code == 202, answer.text
        assert_consistent(services, food, await shop.until(answer.json()["id"], "confirmed"))


@pytest.mark.parametrize("fault", ["503", "lost", "dropped", "hang"])
@pytest.mark.parametrize("path", [RELEASE_COURIER, VOID, RELEASE_TICKET, UNQUOTE])
async def test_a_compensation_that_fails_once_is_repeated(
    start_food: Start, services: ScriptedServices, food: ScriptedFood, path: str, fault: str
) -> None:
    script(services, food, {ASSIGN: ["reject"], path: [fault]})
    async with start_food() as shop:
        answer = await shop.place_food(coupon="SAVE1")
        assert answer.status_code in (202, 503)
        order_id = answer.json().get("id") or answer.json()["order_id"]
        assert_consistent(services, food, await shop.until(order_id, "rejected"))


@pytest.mark.parametrize("path", [ACCEPT, RESERVE_COURIER, QUOTE, CHARGE, ASSIGN])
async def test_a_step_that_stays_unavailable_is_given_up_without_a_charge(
    start_food: Start, services: ScriptedServices, food: ScriptedFood, path: str
) -> None:
    script(services, food, {path: ["503"] * 200})
    async with start_food(food_deadline_s=0.3) as shop:
        answer = await shop.place_food()
        assert answer.status_code == 202
        ended = await shop.until(answer.json()["id"], "rejected")
        assert ended["reason"] == "deadline_exceeded"
        assert_consistent(services, food, ended)


async def test_an_order_that_is_resumed_after_closing_time_is_given_up(
    start_food: Start, services: ScriptedServices, food: ScriptedFood
) -> None:
    """The restaurant answers that it has closed; what was charged is refunded."""
    script(services, food, {ACCEPT: ["", "reject"], CHARGE: ["lost"]})
    async with start_food() as shop:
        order_id = (await shop.place_food()).json()["id"]
        ended = await shop.until(order_id, "rejected")
        assert ended["reason"] == "restaurant_closed"
        assert services.captured[order_id] == services.refunded[order_id]
        assert_consistent(services, food, ended)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_cancellation_by_event_ends_whichever_save_its_process_dies_at(
    start_food: Start, services: ScriptedServices, food: ScriptedFood, at: int
) -> None:
    async with start_food(**DYING) as one:
        order_id = (await one.place_food(coupon="SAVE1")).json()["id"]
        await tell(one, delivery(order_id, "failed"))
    services.faults[VOID].extend(["503"] * (at - 1))
    async with start_food(**DYING) as dying:
        kill(dying, 1, "before")
        await dying.service.recovery.claim_once()
        await dying.service.recovery.drain()
    async with start_food() as shop:
        ended = await shop.until(order_id, "cancelled")
        assert ended["reason"] == "no_courier"
        assert_consistent(services, food, ended)
        assert await shop.events(order_id) == ["order.confirmed.v1", "order.cancelled.v1"]
