"""The sample: every address is in the town, every menu can be ordered from, and loading it again changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from services.restaurant.tests.conftest import Start
from services.restaurant.tests.restaurant_service import PATH
from shop.contracts.store import StoreSettings
from shop.kit import postal
from shop.kit.ids import new_id
from shop.restaurant import sample
from shop.restaurant.hours import DAY_MIN, DAYS, Span
from shop.restaurant.menu import menu_errors, read_menu
from shop.restaurant.schemas import HoursBody, ItemBody, NewRestaurant
from shop.town import town

ENTRIES = sample.entries()
LEAST_RESTAURANTS = 12
LEAST_ITEMS = 8


def spans(entry: dict[str, Any]) -> list[Span]:
    return [Span.of(span["opens"], span["closes"]) for span in entry["hours"]["weekly"]]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["slug"])
def test_a_restaurant_of_the_sample_is_one_that_could_be_created(entry: dict[str, Any]) -> None:
    fields = sample.fields(entry, StoreSettings())
    position = town().locate(entry["street"], sample.CITY)
    assert position is not None
    assert (fields["lat"], fields["lon"]) == (position.lat, position.lon)
    body = {name: value for name, value in fields.items() if name in NewRestaurant.model_fields}
    new = NewRestaurant.model_validate(body | {"minimum_order": _money(entry["minimum_order"])})
    assert new.description
    HoursBody.model_validate(entry["hours"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["slug"])
def test_a_menu_of_the_sample_is_one_that_could_be_put(entry: dict[str, Any]) -> None:
    document = sample.menu(entry)
    menu = read_menu(document)
    assert menu_errors(list(menu.values())) == []
    assert len(menu) == sum(len(section["items"]) for section in document["sections"]) >= LEAST_ITEMS
    for section in document["sections"]:
        for item in section["items"]:
            options = [
                option | {"choices": [_priced(choice) for choice in option["choices"]]} for option in item["options"]
            ]
            checked: BaseModel = ItemBody.model_validate(_priced(item) | {"options": options})
            assert checked.model_dump(mode="json")["allergens"] == item["allergens"]


@pytest.mark.parametrize("country", ["GB", "CH", "DE", "US"])
def test_the_sample_is_in_the_country_and_time_zone_of_the_store(country: str) -> None:
    store = StoreSettings(country=country, currency="CHF", time_zone="Europe/Zurich")
    for fields in (sample.fields(entry, store) for entry in ENTRIES):
        address = fields["address"]
        assert (address["country"], fields["time_zone"], fields["currency"]) == (country, "Europe/Zurich", "CHF")
        assert postal.rules(country).patterns[0].fullmatch(address["postal_code"])


def test_the_sample_is_as_varied_as_a_town() -> None:
    assert len(ENTRIES) >= LEAST_RESTAURANTS
    assert len({entry["slug"] for entry in ENTRIES}) == len({entry["street"] for entry in ENTRIES}) == len(ENTRIES)
    assert len({entry["cuisine"] for entry in ENTRIES}) >= LEAST_RESTAURANTS
    assert any(span.closes > DAY_MIN for entry in ENTRIES for span in spans(entry)), "past midnight"
    assert any(spans(entry) == [Span(0, DAY_MIN)] * len(DAYS) for entry in ENTRIES), "24 hours"
    assert any(len(spans(entry)) > len(DAYS) for entry in ENTRIES), "two openings a day"
    assert any(entry.get("acceptance") == "manual" for entry in ENTRIES)
    categories = {item.get("category", "food") for entry in ENTRIES for part in entry["menu"] for item in part["items"]}
    assert categories == {"food", "drink", "alcohol"}


async def test_the_sample_is_loaded_once_and_what_is_there_is_kept(start: Start) -> None:
    async with start(sample_restaurants=True) as service:
        url = service.context.settings.database_url
        first = (await service.client.get(PATH, params={"limit": 100})).json()["items"]
        assert len(first) == len(ENTRIES)
        diner = sample.restaurant_id(next(entry for entry in ENTRIES if entry["slug"] == "all-nighter"))
        change = await service.client.patch(f"{PATH}/{diner}", json={"preparation_s": 60}, headers=service.admin)
        assert change.status_code == 200
        menu = (await service.client.get(f"{PATH}/{diner}/menu")).json()
        pancakes = menu["sections"][0]["items"][0]
        assert (pancakes["name"], pancakes["price"]) == ("Pancake Stack", _money(850))
        line = {"item_id": pancakes["id"], "quantity": 1, "choices": [pancakes["options"][0]["choices"][1]["id"]]}
        request = {"order_id": str(new_id()), "restaurant_id": str(diner), "lines": [line]}
        [answer] = await service.accept(request | {"user_id": str(new_id()), "customer_name": "Ada"})
        assert (answer["status"], answer["lines"][0]["name"]) == ("accepted", "Pancake Stack (Five)")
        async with start(url=url, sample_restaurants=True) as again:
            assert len((await again.client.get(PATH, params={"limit": 100})).json()["items"]) == len(ENTRIES)
            detail = (await again.client.get(f"{PATH}/{diner}")).json()
            assert detail["base_preparation_s"] == 60


def _money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def _priced(of: dict[str, Any]) -> dict[str, Any]:
    return of | {"price": _money(of["price"])}
