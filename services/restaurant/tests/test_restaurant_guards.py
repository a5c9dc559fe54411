"""What keeps kitchens right when several things happen at once, and the limits of what owners may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.restaurant.tests.conftest import Start
from services.restaurant.tests.restaurant_service import (
    ALL_DAY,
    NOON,
    PATH,
    Kitchen,
    RunningService,
    delivery,
    euros,
    menu,
)
from shop.contracts.events import DeliveryState
from shop.contracts.restaurant import ACCEPT, PRICE, RELEASE, STAFF, WITHDRAW
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.restaurant import service as use_cases

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
WAITING_TO_READ = f"{WAITING} AND query LIKE '%restaurants r%'"
"""Before anything is decided, not only when the trigger counts the load."""
LOCK = "SELECT FROM restaurants WHERE id = $1 FOR UPDATE"
OVERWRITE = {"If-Match": "*"}
TOMBSTONE = "INSERT INTO tickets (order_id, state, reason, created_at, updated_at) VALUES ($1, 'cancelled', $2, $3, $3)"
COLUMNS = "restaurant_id, user_id, lines, currency, state, ready_at, created_at, updated_at"
COPY = f"INSERT INTO tickets (order_id, {COLUMNS}) SELECT $1, {COLUMNS} FROM tickets"

Change = Callable[[RunningService, Kitchen, UUID], Awaitable[Any]]
CHANGES: dict[str, Change] = {
    "accept": lambda service, kitchen, order: kitchen.accept(),
    "staff": lambda service, kitchen, order: kitchen.act(order, "begin"),
    "release": lambda service, kitchen, order: service.release(order),
    "withdraw": lambda service, kitchen, order: service.withdraw(order),
    "confirm": lambda service, kitchen, order: service.confirm(order),
    "courier": lambda service, kitchen, order: service.carry(delivery(order, DeliveryState.ASSIGNED, 2)),
    "settings": lambda service, kitchen, order: kitchen.change(auto_progress=True),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_every_change_of_a_ticket_waits_for_the_one_before_it(
    kitchen: Kitchen, service: RunningService, name: str
) -> None:
    order = await kitchen.paid()
    async with service.database.transaction() as before:
        await before.execute(LOCK, kitchen.id)
        changing = asyncio.ensure_future(CHANGES[name](service, kitchen, order))
        await wait_until(lambda: service.database.fetchval(WAITING_TO_READ), what=f"{name} to wait")
        assert not changing.done()
    await changing
    await kitchen.assert_load()


async def test_the_staff_sees_what_the_change_before_it_left(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    async with service.database.transaction() as before:
        await before.execute(LOCK, kitchen.id)
        beginning = asyncio.create_task(kitchen.act(order, "begin"))
        await wait_until(lambda: service.database.fetchval(WAITING), what="the staff to wait")
        await before.execute("UPDATE tickets SET state = 'cancelled', reason = 'withdrawn', version = 2")
    answer = await beginning
    assert (answer.status_code, answer.json()["state"]) == (409, "cancelled")


async def test_a_locked_kitchen_with_due_tickets_keeps_nobody_waiting(service: RunningService) -> None:
    locked, other = [await service.restaurant(auto_progress=True) for _ in range(2)]
    orders = [await one.paid() for one in (locked, other)]
    for order in orders:
        await wait_until(lambda order=order: _is(service, order, "preparing"))  # type: ignore[misc]
    async with service.database.transaction() as before:
        await before.execute(LOCK, locked.id)
        service.clock.advance(3_600)
        await wait_until(lambda: _is(service, orders[1], "ready"), what="the other kitchen's clock")
        assert await service.state(orders[0]) == "preparing"
    await wait_until(lambda: _is(service, orders[0], "ready"), what="the kitchen that was locked")


async def test_an_order_that_is_released_while_it_comes_is_refused(kitchen: Kitchen, service: RunningService) -> None:
    """The release was first: its row is there before the order's."""
    order = new_id()
    async with service.database.transaction() as release:
        await release.execute(TOMBSTONE, order, "released", NOON)
        coming = asyncio.create_task(kitchen.accept(order))
        await wait_until(lambda: service.database.fetchval(WAITING), what="the order to wait")
    assert (await coming)["code"] == "released"
    await kitchen.assert_load()


async def test_a_release_sees_the_order_that_came_meanwhile(kitchen: Kitchen, service: RunningService) -> None:
    """The order was first: its ticket is cancelled, and the place is free again."""
    await kitchen.accept()
    order = new_id()
    async with service.database.transaction() as accepting:
        await accepting.execute(COPY, order)
        releasing = asyncio.create_task(service.release(order))
        await wait_until(lambda: service.database.fetchval(WAITING), what="the release to wait")
    await releasing
    assert await service.state(order) == "cancelled"
    assert (await kitchen.detail())["orders_in_work"] == 1


async def test_what_was_picked_up_is_not_released(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    await service.carry(delivery(order, DeliveryState.PICKED_UP, 4))
    await service.release(order)
    assert await service.state(order) == "picked_up"


async def test_the_staff_is_too_late_at_the_deadline_itself(start: Start) -> None:
    """Although the clock has not moved the ticket yet."""
    async with start(clock_poll_s=3_600) as service:
        kitchen = await service.restaurant(acceptance="manual", acceptance_deadline_s=120)
        order = new_id()
        await kitchen.accept(order)
        service.clock.advance(120)
        answer = await kitchen.act(order, "accept")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_accepted_in_time")
        assert await service.state(order) == "waiting"


async def test_the_clock_corrects_when_it_looks_at_a_ticket(kitchen: Kitchen, service: RunningService) -> None:
    """A ticket that is due but cannot be moved would be looked at again and again, and keep others from their turn."""
    await kitchen.paid()
    await service.database.execute("UPDATE tickets SET due_at = created_at")
    await wait_until(lambda: service.database.fetchval("SELECT due_at IS NULL FROM tickets"), what="the correction")
    assert await service.service.kitchens.move_due() == 0


async def test_a_full_kitchen_is_shown_as_full(service: RunningService) -> None:
    kitchen = await service.restaurant(kitchen_capacity=1)
    for full in (False, True):
        [in_list] = (await service.client.get(PATH)).json()["items"]
        assert (in_list["full"], (await kitchen.detail())["full"], in_list["open"]) == (full, full, True)
        assert (await kitchen.accept())["status"] == ("rejected" if full else "accepted")


RULES: dict[str, tuple[str, str, Any]] = {
    "closed today": ("POST", "closures", {}),
    "closed on a date": ("POST", "closures", {"date": "2026-06-05"}),
    "holiday": ("PUT", "hours", {"weekly": ALL_DAY, "special": [{"date": "2026-06-05", "spans": []}]}),
    "shorter day": (
        "PUT",
        "hours",
        {
            "weekly": ALL_DAY,
            "special": [{"date": "2026-06-05", "spans": [{"opens": "18:00", "closes": "24:00"}]}],
        },
    ),
    "not on this weekday": ("PUT", "hours", {"weekly": [span for span in ALL_DAY if span["day"] != "friday"]}),
}


@pytest.mark.parametrize("rule", RULES)
async def test_no_order_is_taken_inside_a_closing_rule(kitchen: Kitchen, service: RunningService, rule: str) -> None:
    order = await kitchen.paid()
    method, path, body = RULES[rule]
    answer = await service.client.request(
        method, f"{kitchen.path}/{path}", json=body, headers=kitchen.staff | OVERWRITE
    )
    assert answer.status_code == 200, answer.text
    opens_at = NOON + timedelta(hours=6 if rule == "shorter day" else 12)
    for at, is_open in ((NOON, False), (opens_at - timedelta(seconds=1), False), (opens_at, True)):
        service.clock.at = at
        priced, accepted = await kitchen.price(kitchen.line()), await kitchen.accept()
        [in_list] = (await service.client.get(PATH)).json()["items"]
        assert in_list["open"] is (await kitchen.detail())["open"] is is_open
        assert (await service.client.get(f"{kitchen.path}/menu")).status_code == (200 if is_open else 404)
        assert (priced["status"], accepted["status"]) == (("priced", "accepted") if is_open else ("rejected",) * 2)
        if not is_open:
            assert accepted["extra"]["opens_at"] == in_list["opens_at"] == f"{opens_at:%Y-%m-%dT%H:%M:%SZ}"
    assert (await kitchen.act(order, "begin")).status_code == 200, "what was ordered before stays"


async def test_closures_are_limited_and_those_that_are_over_are_removed(
    kitchen: Kitchen, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_cases, "MAX_CLOSURES", 2)
    path = f"{kitchen.path}/closures"
    days = ["2026-06-05", "2026-06-06", "2026-06-07"]
    answers = [await service.client.post(path, json={"date": day}, headers=kitchen.staff) for day in days]
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[-1].json()["code"] == "too_many_closures"
    assert (await service.client.post(path, json={"date": days[0]}, headers=kitchen.staff)).status_code == 200
    service.clock.advance(86_400 * 20)
    later = await service.client.post(path, json={"date": "2026-07-01"}, headers=kitchen.staff)
    assert later.json()["closures"] == ["2026-07-01"]


async def test_an_owner_changes_what_is_shown_and_the_minimum_order(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    first = await kitchen.accept(order)
    await kitchen.change(description="Slow food.", minimum_order=euros(2_000))
    seen = await kitchen.detail()
    assert (seen["description"], seen["minimum_order"]) == ("Slow food.", euros(2_000))
    assert (await kitchen.price(kitchen.line()))["minimum_order"] == euros(2_000)
    assert await kitchen.accept(order) == first, "orders that were placed keep theirs"
    foreign = {"minimum_order": {"amount": 1, "currency": "USD"}}
    answer = await service.client.patch(kitchen.path, json=foreign, headers=kitchen.staff)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "price.currency")


async def test_an_item_stays_sold_out_in_a_new_menu(kitchen: Kitchen, service: RunningService) -> None:
    for name in ("Soup", "Beer"):
        path = f"{kitchen.path}/items/{kitchen.items[name]['id']}"
        await service.client.patch(path, json={"sold_out": True}, headers=kitchen.staff)
    changed = menu()
    changed["sections"][0]["items"][0]["id"] = kitchen.items["Soup"]["id"]
    answer = await service.client.put(f"{kitchen.path}/menu", json=changed, headers=kitchen.staff | OVERWRITE)
    available = {one["name"]: one["available"] for part in answer.json()["sections"] for one in part["items"]}
    assert available == {"Soup": False, "Pizza": True, "Beer": True}, "the beer is a new item"
    sold_out = await service.database.fetchval("SELECT sold_out FROM restaurants")
    assert sold_out == [UUID(kitchen.items["Soup"]["id"])]


async def test_open_restaurants_behind_many_closed_ones_are_found(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that ends early has a cursor, so that nothing is lost."""
    monkeypatch.setattr(use_cases, "MAX_PAGES_READ", 2)
    for number in range(8):
        await service.restaurant(name=f"R{number}", hours={"weekly": ALL_DAY if number == 7 else []})
    found: list[str] = []
    parameters: dict[str, Any] = {"open_now": True, "limit": 1}
    for _ in range(8):
        page = (await service.client.get(PATH, params=parameters)).json()
        found += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert (found, page["next_cursor"]) == (["R7"], None)


async def test_a_user_works_at_a_limited_number_of_restaurants(
    kitchen: Kitchen, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_cases, "MAX_RESTAURANTS_OF_A_USER", 2)
    others = [await service.restaurant() for _ in range(2)]
    paths = [f"{one.path}/staff/{kitchen.staff_id}" for one in (*others, kitchen)]
    answers = [await service.client.put(path, headers=service.admin) for path in paths]
    assert [answer.status_code for answer in answers] == [204, 409, 204]
    assert answers[1].json()["code"] == "too_many_restaurants"


async def test_the_number_of_streams_is_limited(start: Start) -> None:
    async with start(on_port=True, max_streams=1) as service:
        kitchen = await service.restaurant()
        url = f"{kitchen.path}/tickets/events"
        async with service.client.stream("GET", url, headers=kitchen.staff) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == ": keepalive"

            async def refused() -> bool:
                async with service.client.stream("GET", url, headers=kitchen.staff) as second:
                    return second.status_code == 503

            await wait_until(refused, what="the limit")


@pytest.mark.parametrize("path", [PRICE.path, ACCEPT.path, RELEASE.path, WITHDRAW.path])
async def test_internal_calls_are_for_services(kitchen: Kitchen, service: RunningService, path: str) -> None:
    for headers in (service.admin, kitchen.staff, {"Authorization": "Bearer wrong"}):
        answer = await service.client.post(path, json={"items": [kitchen.request()]}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "internal_only")
    assert await service.database.fetchval("SELECT count(*) FROM tickets") == 0


async def test_who_works_where_is_for_services(kitchen: Kitchen, service: RunningService) -> None:
    parameters = {"user_id": str(kitchen.staff_id)}
    answer = await service.client.get(STAFF.path, params=parameters, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "internal_only")


async def _is(service: RunningService, order_id: UUID, state: str) -> bool:
    return await service.state(order_id) == state
