"""The sample: restaurants of Millbridge (shop.town), loaded at the start of a shop that wants them.

The town lies in the store's country, so that the shop delivers to the people who live there. A restaurant that is there
already is left as it is, so loading again changes nothing. Ids are made of the names, so that every shop has the same
ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import orjson

from shop.contracts.store import StoreSettings
from shop.kit import postal
from shop.restaurant.repository import RestaurantRepository
from shop.town import town

FILE = Path(__file__).parent / "samples" / "restaurants.json"
NAMESPACE = UUID("6a3c1f52-5f0e-4b8e-9d53-0c6a5f1f7a11")
TIME_ZONE = "Europe/London"
CITY = "Millbridge"
FIELDS = (
    "name", "cuisine", "description", "minimum_order", "hours", "acceptance", "acceptance_deadline_s", "auto_progress",
    "kitchen_capacity", "preparation_s",
)  # fmt: skip
DEFAULTS: Mapping[str, Any] = {"acceptance": "automatic", "acceptance_deadline_s": 300, "auto_progress": True}


def entries() -> list[dict[str, Any]]:
    """The entries of the file."""
    found: list[dict[str, Any]] = orjson.loads(FILE.read_bytes())
    return found


async def load(repository: RestaurantRepository, store: StoreSettings, now: datetime) -> int:
    """Add what is new, with prices in minor units of the store's currency, and return how many that were."""
    added = 0
    for entry in entries():
        added += await repository.insert(fields(entry, store), menu(entry), now, None)
    return added


def restaurant_id(entry: Mapping[str, Any]) -> UUID:
    return uuid5(NAMESPACE, entry["slug"])


def fields(entry: Mapping[str, Any], store: StoreSettings) -> dict[str, Any]:
    """An entry as the repository takes it; ValueError when the town has no such address."""
    position = town().locate(entry["street"], CITY)
    if position is None:
        raise ValueError(f"{entry['slug']}: {CITY} has no {entry['street']}")
    postal_code = postal.rules(store.country).example
    address = {"street": entry["street"], "city": CITY, "postal_code": postal_code, "country": store.country}
    known = {name: entry[name] for name in FIELDS if name in entry}
    place = {"address": address, "time_zone": store.time_zone or TIME_ZONE}
    about = {"id": restaurant_id(entry), **place, "currency": store.currency}
    return {**DEFAULTS, **known, **about, "lat": position.lat, "lon": position.lon}


def menu(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's menu as it is stored."""
    of = restaurant_id(entry)
    sections = [
        {"name": section["name"], "items": [_item(of, item) for item in section["items"]]} for section in entry["menu"]
    ]
    return {"sections": sections}


def _item(of: UUID, item: Mapping[str, Any]) -> dict[str, Any]:
    item_id = uuid5(of, item["name"])
    options = [_option(item_id, option) for option in item.get("options", ())]
    return {"description": "", "category": "food", "allergens": [], **item, "id": str(item_id), "options": options}


def _option(item_id: UUID, option: Mapping[str, Any]) -> dict[str, Any]:
    names: Sequence[Mapping[str, Any]] = option["choices"]
    choices = [{**choice, "id": str(uuid5(item_id, f"{option['name']}: {choice['name']}"))} for choice in names]
    return {**option, "choices": choices}
