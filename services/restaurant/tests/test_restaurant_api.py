"""What customers and staff see over HTTP, with a real database."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.restaurant.tests.restaurant_service import ALL_DAY, NOON, PATH, Kitchen, RunningService, euros, menu
from shop.contracts.restaurant import MAX_ACCEPTANCE_S
from shop.devkit.testing import WAIT_TIMEOUT_S
from shop.kit.ids import new_id
from shop.restaurant.hours import DAYS

FRIDAY_EVENING = {"weekly": [{"day": "friday", "opens": "18:00", "closes": "23:00"}]}
TWO_SPANS = (("11:30", "14:30"), ("18:00", "01:30"))
OVERWRITE = {"If-Match": "*"}


async def listed(service: RunningService, **parameters: Any) -> list[str]:
    """The names of all pages."""
    names: list[str] = []
    cursor: str | None = None
    while True:
        query = parameters | ({"cursor": cursor} if cursor else {})
        answer = await service.client.get(PATH, params=query)
        assert answer.status_code == 200, answer.text
        names += [item["name"] for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return names


async def test_list_page_menu_and_order_agree_about_open_and_closed(service: RunningService) -> None:
    kitchen = await service.restaurant(hours=FRIDAY_EVENING, preparation_s=1_200)
    opens_at = NOON + timedelta(hours=6)
    for at, is_open in [
        (NOON, False),
        (opens_at, True),
        (NOON + timedelta(hours=10, minutes=40), True),
        (NOON + timedelta(hours=10, minutes=41), False),
        (NOON + timedelta(hours=12), False),
    ]:
        service.clock.at = at
        [in_list] = (await service.client.get(PATH)).json()["items"]
        page = await kitchen.detail()
        assert await listed(service, open_now=True) == ([page["name"]] if is_open else [])
        shown = await service.client.get(f"{kitchen.path}/menu")
        priced, accepted = await kitchen.price(kitchen.line()), await kitchen.accept()
        assert in_list["open"] == page["open"] == is_open
        assert in_list["opens_at"] == page["opens_at"]
        assert (shown.status_code == 200) == is_open
        assert (priced["status"], accepted["status"]) == (("priced", "accepted") if is_open else ("rejected",) * 2)
        if not is_open:
            assert shown.json()["code"] == priced["code"] == accepted["code"] == "restaurant_closed"
            assert shown.json()["opens_at"] == priced["extra"]["opens_at"] == page["opens_at"]
        else:
            await service.release(UUID(accepted["order_id"]))


async def test_closed_today_is_today_in_the_restaurant_s_time_zone(service: RunningService) -> None:
    kitchen = await service.restaurant(time_zone="America/New_York")
    service.clock.at = NOON.replace(hour=3)
    answer = await service.client.post(f"{kitchen.path}/closures", json={}, headers=kitchen.staff)
    assert (answer.status_code, answer.json()["closures"]) == (200, ["2026-06-04"])
    assert answer.json()["open"] is False
    assert answer.json()["opens_at"] == "2026-06-05T04:00:00Z"
    service.clock.at = NOON.replace(hour=4)
    assert (await kitchen.detail())["open"] is True
    again = await service.client.post(f"{kitchen.path}/closures", json={"date": "2026-06-04"}, headers=kitchen.staff)
    assert again.json()["closures"] == ["2026-06-04"]
    undone = await service.client.delete(f"{kitchen.path}/closures/2026-06-04", headers=kitchen.staff)
    assert undone.json()["closures"] == []


async def test_a_paused_restaurant_takes_no_orders_and_keeps_those_it_has(
    kitchen: Kitchen, service: RunningService
) -> None:
    order = await kitchen.paid()
    await kitchen.change(paused=True)
    assert await listed(service, open_now=True) == []
    assert (await service.client.get(f"{kitchen.path}/menu")).json()["code"] == "restaurant_paused"
    assert (await kitchen.accept())["code"] == "restaurant_paused"
    assert (await kitchen.act(order, "begin")).json()["state"] == "preparing"


async def test_unknown_restaurants_are_404(service: RunningService, kitchen: Kitchen) -> None:
    missing = new_id()
    for path in (f"{PATH}/{missing}", f"{PATH}/{missing}/menu"):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_restaurant")
    [refused] = await service.accept(kitchen.request() | {"restaurant_id": str(missing)})
    assert refused["code"] == "unknown_restaurant"


async def test_search_finds_names_cuisines_and_dishes(service: RunningService) -> None:
    await service.restaurant(name="Café Crème", cuisine="french")
    await service.restaurant(name="Tonkotsu", cuisine="japanese", menu={"sections": []})
    assert await listed(service, query="creme") == ["Café Crème"]
    assert await listed(service, query="JAPAN") == ["Tonkotsu"]
    assert await listed(service, query="pizz") == ["Café Crème"]
    assert await listed(service, query="pizza tonkotsu") == []
    assert await listed(service, cuisine="french") == ["Café Crème"]
    assert await listed(service, query="!'&|") == []


async def test_the_nearest_come_first_with_their_distance(service: RunningService) -> None:
    for name, lat in (("Far", 51.92), ("Near", 51.901), ("Middle", 51.91)):
        await service.restaurant(name=name, position={"lat": lat, "lon": -0.2})
    assert await listed(service, near="51.9,-0.2", limit=1) == ["Near", "Middle", "Far"]
    assert await listed(service, limit=2) == ["Far", "Middle", "Near"]
    assert {item["distance_m"] for item in (await service.client.get(PATH)).json()["items"]} == {None}
    answer = await service.client.get(PATH, params={"near": "51.9,-0.2"})
    distances = [item["distance_m"] for item in answer.json()["items"]]
    assert [round(one / 1_112, 1) for one in distances] == [0.1, 1.0, 2.0]


@pytest.mark.parametrize("near", ["51.9", "x,y", "91,0", "0,181", "nan,0", "1,2,3"])
async def test_a_bad_position_is_refused(service: RunningService, near: str) -> None:
    answer = await service.client.get(PATH, params={"near": near})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "near")


async def test_pages_have_every_open_restaurant_once(service: RunningService) -> None:
    wanted = []
    for number in range(9):
        open_now = number % 3 == 0
        await service.restaurant(name=f"R{number}", hours={"weekly": ALL_DAY if open_now else []})
        wanted += [f"R{number}"] * open_now
    for limit in (1, 2, 3, 10):
        assert await listed(service, open_now=True, limit=limit) == wanted
        assert len(await listed(service, limit=limit)) == 9


async def test_options_have_rules(kitchen: Kitchen) -> None:
    for choices, wrong in [
        ([], "Size: choose 1, not 0"),
        (["small", "large"], "Size: choose 1, not 2"),
        (["small", "egg", "ham", "olives"], "Toppings: choose at most 2, not 3"),
    ]:
        answer = await kitchen.price(kitchen.line("Pizza", choices=choices))
        assert answer["code"] == "invalid_choices"
        assert wrong in answer["detail"]
    foreign = kitchen.line() | {"choices": kitchen.line("Pizza", choices=["small"])["choices"]}
    assert (await kitchen.price(foreign))["code"] == "invalid_choices"
    assert (await kitchen.price(kitchen.line() | {"item_id": str(new_id())}))["code"] == "unknown_item"


async def test_the_same_item_with_the_same_choices_is_one_line(kitchen: Kitchen) -> None:
    one, other = (kitchen.line("Pizza", 2, choices) for choices in (["large", "egg"], ["egg", "large"]))
    small = kitchen.line("Pizza", 1, ["small", "egg"])
    answer = await kitchen.price(one, small, other)
    assert [(line["quantity"], line["unit_price"]["amount"]) for line in answer["lines"]] == [(4, 1_300), (1, 1_000)]
    assert len({line["product_id"] for line in answer["lines"]}) == 2


async def test_what_is_sold_out_is_shown_and_not_taken(kitchen: Kitchen, service: RunningService) -> None:
    soup = kitchen.items["Soup"]["id"]
    for sold_out in (True, True, False):
        path = f"{kitchen.path}/items/{soup}"
        assert (await service.client.patch(path, json={"sold_out": sold_out}, headers=kitchen.staff)).status_code == 204
        document = (await service.client.get(f"{kitchen.path}/menu")).json()
        available = {item["name"]: item["available"] for section in document["sections"] for item in section["items"]}
        assert available == {"Soup": not sold_out, "Pizza": True, "Beer": True}
        answer = await kitchen.accept()
        assert answer.get("code") == ("item_sold_out" if sold_out else None)
    unknown = await service.client.patch(
        f"{kitchen.path}/items/{new_id()}", json={"sold_out": True}, headers=kitchen.staff
    )
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_item")


async def test_a_new_menu_never_touches_orders_that_were_placed(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    first = await kitchen.accept(order)
    dearer = menu()
    dearer["sections"][0]["items"][0] |= {"id": kitchen.items["Soup"]["id"], "price": euros(777), "name": "Consomme"}
    answer = await service.client.put(f"{kitchen.path}/menu", json=dearer, headers=kitchen.staff | OVERWRITE)
    assert answer.status_code == 200, answer.text
    assert await kitchen.accept(order) == first
    assert (await kitchen.accept())["lines"][0]["unit_price"] == euros(777)
    await service.confirm(order)
    assert [line["name"] for one in await kitchen.tickets() for line in one["lines"]] == ["Soup"]


async def test_of_two_editors_the_second_has_to_look_again(kitchen: Kitchen, service: RunningService) -> None:
    tag = (await service.client.get(f"{kitchen.path}/menu")).headers["etag"]
    for path, body in ((f"{kitchen.path}/menu", menu()), (f"{kitchen.path}/hours", FRIDAY_EVENING)):
        first = await service.client.put(path, json=body, headers=kitchen.staff | {"If-Match": tag})
        second = await service.client.put(path, json=body, headers=kitchen.staff | {"If-Match": tag})
        third = await service.client.put(path, json=body, headers=kitchen.staff | {"If-Match": first.headers["etag"]})
        without = await service.client.put(path, json=body, headers=kitchen.staff)
        assert [answer.status_code for answer in (first, second, third, without)] == [200, 412, 200, 428]
        assert second.json()["code"] == "changed_meanwhile"
        assert without.json()["code"] == "precondition_required"


async def test_every_change_is_kept_with_who_made_it(kitchen: Kitchen, service: RunningService) -> None:
    await kitchen.change(paused=True)
    await service.client.put(f"{kitchen.path}/hours", json=FRIDAY_EVENING, headers=service.admin | OVERWRITE)
    await service.client.post(f"{kitchen.path}/closures", json={"date": "2026-12-24"}, headers=kitchen.staff)
    path, parameters = f"{kitchen.path}/changes", {"limit": 3}
    first = (await service.client.get(path, params=parameters, headers=kitchen.staff)).json()
    rest = await service.client.get(path, params={"cursor": first["next_cursor"]}, headers=kitchen.staff)
    changes = [*first["items"], *rest.json()["items"]]
    assert [change["kind"] for change in changes] == ["closures", "hours", "settings", "created"]
    assert changes[0]["change"] == {"closed": ["2026-12-24"], "opened": []}
    assert changes[2]["change"] == {"paused": True}
    assert changes[0]["user_id"] == changes[2]["user_id"] == str(kitchen.staff_id)
    assert changes[1]["user_id"] not in {None, str(kitchen.staff_id)}


@pytest.mark.parametrize("around", ["2026-03-29", "2026-10-25", "2026-12-31"])
async def test_open_and_closed_agree_over_midnight_and_changes_of_the_clocks(
    service: RunningService, around: str
) -> None:
    weekly = [{"day": day, "opens": opens, "closes": closes} for day in DAYS for opens, closes in TWO_SPANS]
    kitchen = await service.restaurant(time_zone="Europe/London", hours={"weekly": weekly})
    service.clock.at = datetime.fromisoformat(f"{around}T00:00:00+00:00") - timedelta(hours=6)
    seen = set()
    for _ in range(44):
        service.clock.advance(2_400)
        [in_list] = (await service.client.get(PATH)).json()["items"]
        shown = await service.client.get(f"{kitchen.path}/menu")
        accepted = await kitchen.accept()
        assert (accepted["status"] == "accepted") == (shown.status_code == 200) == in_list["open"]
        if in_list["open"]:
            assert accepted["ready_at"] <= in_list["closes_at"]
            await service.release(UUID(accepted["order_id"]))
        else:
            assert accepted["extra"]["opens_at"] == shown.json()["opens_at"] == in_list["opens_at"]
            assert datetime.fromisoformat(in_list["opens_at"]) > service.clock.at
        seen.add((in_list["open"], in_list["closes_at"] or in_list["opens_at"]))
    assert len(seen) >= 5, "closed and open, several times"


STAFF_ONLY: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"paused": True}),
    ("PUT", "/hours", FRIDAY_EVENING),
    ("PUT", "/menu", menu()),
    ("POST", "/closures", {}),
    ("DELETE", "/closures/2026-06-05", None),
    ("PATCH", "/items/{soup}", {"sold_out": True}),
    ("GET", "/tickets", None),
    ("GET", "/changes", None),
    ("GET", "/tickets/events", None),
    ("POST", "/tickets/{order}/begin", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STAFF_ONLY)
async def test_only_the_staff_may_change_or_see_a_kitchen(
    kitchen: Kitchen, service: RunningService, method: str, path: str, body: Any
) -> None:
    other, order = await service.restaurant(), await kitchen.paid()
    url = kitchen.path + path.format(soup=kitchen.items["Soup"]["id"], order=order)
    for headers in (other.staff, service.tokens.headers()):
        async with asyncio.timeout(WAIT_TIMEOUT_S):  # a stream that begins has no end
            answer = await service.client.request(method, url, json=body, headers=headers | OVERWRITE)
        assert (answer.status_code, answer.json()["code"]) == (403, "staff_only")
    assert (await service.client.request(method, url, json=body)).status_code == 401
    assert await service.state(order) == "accepted"


async def test_a_ticket_is_of_its_own_kitchen_alone(kitchen: Kitchen, service: RunningService) -> None:
    other, order = await service.restaurant(), await kitchen.paid()
    assert (await other.act(order, "begin")).json()["code"] == "unknown_ticket"
    assert await service.state(order) == "accepted"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_only_administrators_say_who_works_where(kitchen: Kitchen, service: RunningService, method: str) -> None:
    path = f"{kitchen.path}/staff/{kitchen.staff_id}"
    answer = await service.client.request(method, path, headers=kitchen.staff)
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")


async def test_staff_is_added_and_removed(kitchen: Kitchen, service: RunningService) -> None:
    mine = await service.client.get(f"{PATH}/mine", headers=kitchen.staff)
    assert [one["id"] for one in mine.json()["items"]] == [str(kitchen.id)]
    path = f"{kitchen.path}/staff"
    listed_staff = (await service.client.get(path, headers=service.admin)).json()["items"]
    assert [one["user_id"] for one in listed_staff] == [str(kitchen.staff_id)]
    assert (await service.client.delete(f"{path}/{kitchen.staff_id}", headers=service.admin)).status_code == 204
    assert (await service.client.get(f"{PATH}/mine", headers=kitchen.staff)).json()["items"] == []
    assert (await service.client.patch(kitchen.path, json={"paused": True}, headers=kitchen.staff)).status_code == 403


async def test_the_staff_reads_the_menu_of_a_closed_restaurant(service: RunningService) -> None:
    kitchen = await service.restaurant(hours={"weekly": []})
    path = f"{kitchen.path}/menu"
    assert (await service.client.get(path, headers=kitchen.staff)).status_code == 200
    for headers in ({}, service.tokens.headers()):
        answer = await service.client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["opens_at"]) == (
            404,
            "restaurant_closed",
            None,
        )
    bad = await service.client.get(path, headers={"Authorization": f"Bearer {service.tokens.forged()}"})
    assert bad.status_code == 401


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cuisine": "Fine Food"}, "cuisine"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"kitchen_capacity": 0}, "kitchen_capacity"),
        ({"preparation_s": 0}, "preparation_s"),
        ({"acceptance_deadline_s": MAX_ACCEPTANCE_S + 1}, "acceptance_deadline_s"),
        ({"hours": {"weekly": [{"day": "friday", "opens": "10:00", "closes": "11:00"}] * 7}}, "hours"),
        ({"hours": {"weekly": [{"day": "friday", "opens": "25:00", "closes": "26:00"}]}}, "hours.weekly.0.opens"),
        ({"hours": {"weekly": [{"day": "friday", "opens": "10:00", "closes": "10:00"}]}}, "hours.weekly.0"),
        ({"hours": {"weekly": [], "special": [{"date": "2026-12-25", "spans": []}] * 2}}, "hours"),
        (
            {"address": {"street": "1 Nowhere", "city": "Millbridge", "postal_code": "X", "country": "GB"}},
            "address.street",
        ),
        ({"minimum_order": {"amount": 1, "currency": "USD"}}, "price.currency"),
        ({"position": {"lat": 91, "lon": 0}}, "position.lat"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_an_impossible_restaurant_is_refused_field_by_field(
    service: RunningService, change: dict[str, Any], field: str
) -> None:
    body = {
        "name": "X", "cuisine": "french", "time_zone": "UTC", "hours": {"weekly": []},
        "address": {"street": "12 Mill Lane", "city": "Millbridge", "postal_code": "X", "country": "GB"},
    }  # fmt: skip
    answer = await service.client.post(PATH, json=body | change, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == field
    assert (await service.client.get(PATH)).json()["items"] == []


async def test_an_impossible_menu_is_refused(kitchen: Kitchen, service: RunningService) -> None:
    path, headers = f"{kitchen.path}/menu", kitchen.staff | OVERWRITE
    impossible, twice, foreign = menu(), menu(), menu()
    impossible["sections"][0]["items"][1]["options"][0] |= {"min": 3, "max": 3}
    for item in twice["sections"][0]["items"]:
        item["id"] = str(new_id())
    twice["sections"][0]["items"][1]["id"] = twice["sections"][0]["items"][0]["id"]
    foreign["sections"][0]["items"][0]["price"]["currency"] = "USD"
    for body in (impossible, twice, foreign):
        answer = await service.client.put(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await kitchen.accept())["status"] == "accepted"


async def test_a_restaurant_needs_no_position_when_the_town_has_its_address(
    kitchen: Kitchen, service: RunningService
) -> None:
    assert (await kitchen.detail())["position"] == {
        "lat": pytest.approx(51.9026, abs=1e-3),
        "lon": pytest.approx(-0.2002, abs=1e-3),
    }
    answer = await kitchen.price(kitchen.line())
    assert answer["position"] == (await kitchen.detail())["position"]
    assert answer["minimum_order"] == euros(1_000)
