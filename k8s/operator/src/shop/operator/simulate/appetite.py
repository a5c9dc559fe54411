"""What simulated customers order: where they live, what they like, when and how near, what they add and tip. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from shop.town import Position, Town
from shop.town.geometry import Plane

FIRST_NAMES = """Ada Ben Clara Dylan Elif Femi Grace Hugo Ines Jonas Kaia Liam Mei Noor Omar Petra Quinn Rosa Samir Tara
Uma Viktor Wanda Xenia Yusuf Zoe""".split()
LAST_NAMES = """Abbott Baptiste Castro Doyle Ekwueme Fischer Grant Haddad Ivanova Jansen Kowalski Lindgren Moreau
Nakamura Okafor Patel Quist Rossi Schmidt Tanaka Umarov Vogel Whitfield Yilmaz Zhang""".split()
LUNCH_HOURS, DINNER_HOURS = range(10, 15), range(17, 23)
BY_MEAL = {
    "lunch": {"bakery": 3.0, "vegan": 2.0, "japanese": 2.0, "sushi": 2.0, "lebanese": 2.0, "mexican": 1.5},
    "dinner": {"pizza": 3.0, "indian": 2.5, "italian": 2.0, "chinese": 2.0, "thai": 2.0, "burgers": 2.0, "french": 1.5},
    "other": {"american": 3.0, "turkish": 3.0, "bakery": 2.0},
}
"""How much more often than other cuisines each is chosen at a meal."""
NEARBY_M = 700.0
"""At this distance, in a straight line, a restaurant is chosen 2.7 times less often than one next door."""
MAX_LINES = 6
MAX_FILLING = 20
"""Lines are added until the minimum order is met, at most so often."""
TIP_SHARES = ((0.0, 0.45), (0.05, 0.2), (0.1, 0.25), (0.15, 0.1))
CARDS = (("tok_visa", 0.97), ("tok_declined", 0.02), ("tok_insufficient", 0.01))
NOTES = ("", "", "", "", "Please ring twice", "The bell is broken, call me", "No cutlery, thank you")
CANCEL_SHARE = 0.03
Document = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """A customer; ``tastes`` weighs cuisines, 1 where nothing is said. ``home`` is where the address is, if known."""

    name: str
    street: str
    city: str
    tastes: dict[str, float] = field(default_factory=dict)
    home: Position | None = None

    def distance_m(self, place: Document | None) -> float:
        """In a straight line; 0 when either place is not known."""
        if self.home is None or place is None:
            return 0.0
        return math.hypot(*Plane(self.home).point(Position(place["lat"], place["lon"])))

    def address(self, country: str) -> Document:
        return {
            "name": self.name,
            "street": self.street,
            "city": self.city,
            "postal_code": POSTAL_CODES.get(country, "12345"),
            "country": country,
        }


POSTAL_CODES = {
    "GB": "AL7 1AA", "IE": "D02 AF30", "US": "10001", "NL": "1011 AB", "CA": "K1A 0B1", "CH": "8001", "AT": "1010",
}  # fmt: skip
"""Of the town, in the form of the country that the shop delivers in; five digits elsewhere."""


def person(random: Random, town: Town, cuisines: Sequence[str]) -> Person:
    """Somebody with a home in the town; the longer a street, the more people live in it."""
    streets = [street for street in town.streets() if len(town.house_numbers(street))]
    street = random.choices(streets, weights=[len(town.house_numbers(street)) for street in streets])[0]
    tastes = {cuisine: random.choice((0.3, 1.0, 1.0, 2.5)) for cuisine in sorted(set(cuisines))}
    name = f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}"
    line = f"{random.choice(town.house_numbers(street))} {street}"
    return Person(name, line, town.name, tastes, town.locate(line, town.name))


def meal(hour: int) -> str:
    return "lunch" if hour in LUNCH_HOURS else "dinner" if hour in DINNER_HOURS else "other"


def choose_restaurant(random: Random, restaurants: Sequence[Document], person: Person, hour: int) -> Document | None:
    """One of the open ones by taste, hour and distance; None when none is open."""
    usual = BY_MEAL[meal(hour)]
    weights = [
        usual.get(one["cuisine"], 1.0)
        * person.tastes.get(one["cuisine"], 1.0)
        * math.exp(-person.distance_m(one.get("position")) / NEARBY_M)
        for one in restaurants
    ]
    return random.choices(restaurants, weights=weights)[0] if restaurants else None


def fill_cart(random: Random, menu: Document) -> list[Document]:
    """Lines that the menu allows and that reach the minimum order; empty when everything is sold out."""
    items = [item for section in menu["sections"] for item in section["items"] if item["available"]]
    least = menu["restaurant"].get("minimum_order", {}).get("amount", 0)
    lines: list[Document] = []
    total = 0
    for _ in range(MAX_FILLING if items else 0):
        if total >= least and len(lines) >= 1 + random.choice((0, 1, 1, 2, 3)):
            break
        item = random.choice(items)
        choices, extra = _choices(random, item)
        quantity = random.choice((1, 1, 1, 2))
        total += quantity * (item["price"]["amount"] + extra)
        line = {"item_id": item["id"], "quantity": quantity, "choices": choices}
        if len(lines) < MAX_LINES:
            lines.append(line)
    return _merged(lines)


def _choices(random: Random, item: Document) -> tuple[list[str], int]:
    """The ids of chosen choices, as many of each option as it wants or allows, and their price."""
    chosen: list[Document] = []
    for option in item.get("options", ()):
        most = min(option["max"], len(option["choices"]))
        count = option["min"] if random.random() < 0.6 else random.randint(option["min"], max(option["min"], most))
        chosen += random.sample(option["choices"], min(count, most))
    return [choice["id"] for choice in chosen], sum(choice["price"]["amount"] for choice in chosen)


def _merged(lines: Sequence[Document]) -> list[Document]:
    """The same item with the same choices is one line."""
    by_key: dict[tuple[str, tuple[str, ...]], Document] = {}
    for line in lines:
        key = line["item_id"], tuple(sorted(line["choices"]))
        by_key[key] = {**line, "quantity": line["quantity"] + by_key.get(key, {"quantity": 0})["quantity"]}
    return list(by_key.values())


def tip(random: Random, total: int) -> int:
    """In minor units, rounded to full ten."""
    share = random.choices([share for share, _ in TIP_SHARES], weights=[weight for _, weight in TIP_SHARES])[0]
    return round(total * share / 10) * 10


def card(random: Random) -> str:
    return random.choices([card for card, _ in CARDS], weights=[weight for _, weight in CARDS])[0]


def order_body(random: Random, menu: Document, person: Person, country: str) -> Document | None:
    """The body of POST /orders; None when there is nothing to order."""
    items = fill_cart(random, menu)
    if not items:
        return None
    restaurant = menu["restaurant"]
    body: Document = {
        "kind": "food",
        "restaurant_id": restaurant["id"],
        "items": items,
        "address": person.address(country),
        "payment": {"token": card(random)},
    }
    prices = {item["id"]: item["price"] for section in menu["sections"] for item in section["items"]}
    if amount := tip(random, sum(line["quantity"] * prices[line["item_id"]]["amount"] for line in items)):
        body["tip"] = {"amount": amount, "currency": prices[items[0]["item_id"]]["currency"]}
    if note := random.choice(NOTES):
        body["note"] = note
    return body
