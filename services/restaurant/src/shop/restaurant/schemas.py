"""What owners and administrators send."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from shop.contracts.geography import Position
from shop.contracts.restaurant import MAX_ACCEPTANCE_S
from shop.kit.bodies import RequestBody, example
from shop.kit.ids import new_id
from shop.kit.text import Typed, paragraphs
from shop.restaurant.hours import DAYS, MAX_SPANS_PER_DAY, Span
from shop.restaurant.menu import Menu, menu_errors, read_menu

MAX_PRICE = 10**7
MAX_SECTIONS = 30
MAX_ITEMS = 100
MAX_OPTIONS = 10
MAX_CHOICES = 30
MAX_SPECIAL_DATES = 100
LocalDate = date
Name = Annotated[str, Typed(120)]
Description = Annotated[str, Typed(1_000, 0, paragraphs)]
Cuisine = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,30}$")]
Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ClosingTime = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Category = Literal["food", "drink", "alcohol"]
Allergen = Literal[
    "celery", "crustaceans", "eggs", "fish", "gluten", "lupin", "milk", "molluscs", "mustard", "nuts", "peanuts",
    "sesame", "soya", "sulphites",
]  # fmt: skip
"""The fourteen that have to be declared in the European Union (regulation 1169/2011, annex II)."""
ALLERGENS: tuple[str, ...] = get_args(Allergen)
Acceptance = Literal["automatic", "manual"]
Capacity = Annotated[int, Field(ge=1, le=1_000, strict=True)]
PreparationS = Annotated[int, Field(ge=1, le=14_400, strict=True)]
DeadlineS = Annotated[int, Field(ge=1, le=MAX_ACCEPTANCE_S, strict=True)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not a time zone of the IANA database")
    return ZoneInfo(name).key


TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]


class PriceBody(RequestBody):
    """Minor units of the shop's currency."""

    amount: Annotated[int, Field(ge=0, le=MAX_PRICE, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class SpanBody(RequestBody):
    """Local times. A closing time that is not after the opening time is the next day's; 24 hours are 00:00 to 24:00."""

    opens: Clock
    closes: ClosingTime

    @model_validator(mode="after")
    def _possible(self) -> Self:
        Span.of(self.opens, self.closes)
        return self


class WeeklySpan(SpanBody):
    day: Weekday


class SpecialDate(RequestBody):
    """The spans that begin on this date instead of the week's; none is closed."""

    date: LocalDate
    spans: Annotated[list[SpanBody], Field(max_length=MAX_SPANS_PER_DAY)]


class HoursBody(RequestBody):
    model_config = example(
        weekly=[
            {"day": "friday", "opens": "11:30", "closes": "14:30"},
            {"day": "friday", "opens": "18:00", "closes": "01:00"},
        ],
        special=[{"date": "2026-12-25", "spans": []}],
    )

    weekly: Annotated[list[WeeklySpan], Field(max_length=len(DAYS) * MAX_SPANS_PER_DAY)]
    special: Annotated[list[SpecialDate], Field(max_length=MAX_SPECIAL_DATES)] = Field(default=[])

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len({one.date for one in self.special}) < len(self.special):
            raise ValueError("a special date is named twice")
        if any(count > MAX_SPANS_PER_DAY for count in Counter(one.day for one in self.weekly).values()):
            raise ValueError(f"a day has at most {MAX_SPANS_PER_DAY} spans")
        return self


class ClosureBody(RequestBody):
    """A local date on which no opening begins; without one it is today's, in the restaurant's time zone."""

    model_config = example(date="2026-12-24")

    date: LocalDate | None = None


class ChoiceBody(RequestBody):
    """``id`` keeps the choice; without one it is new."""

    id: UUID = Field(default_factory=new_id)
    name: Name
    price: PriceBody


class OptionBody(RequestBody):
    name: Name
    min: Annotated[int, Field(ge=0, le=MAX_CHOICES, strict=True)]
    max: Annotated[int, Field(ge=1, le=MAX_CHOICES, strict=True)]
    choices: Annotated[list[ChoiceBody], Field(min_length=1, max_length=MAX_CHOICES)]


class ItemBody(RequestBody):
    """``id`` keeps the item, and that it is sold out; without one it is new. ``category`` decides the tax."""

    id: UUID = Field(default_factory=new_id)
    name: Name
    description: Description = ""
    category: Category = "food"
    price: PriceBody
    allergens: Annotated[list[Allergen], Field(max_length=len(ALLERGENS))] = Field(default=[])
    options: Annotated[list[OptionBody], Field(max_length=MAX_OPTIONS)] = Field(default=[])


class SectionBody(RequestBody):
    name: Name
    items: Annotated[list[ItemBody], Field(min_length=1, max_length=MAX_ITEMS)]


class MenuBody(RequestBody):
    model_config = example(
        sections=[
            {
                "name": "Pizza",
                "items": [
                    {
                        "name": "Margherita",
                        "price": {"amount": 950, "currency": "EUR"},
                        "allergens": ["gluten", "milk"],
                        "options": [
                            {
                                "name": "Size",
                                "min": 1,
                                "max": 1,
                                "choices": [
                                    {"name": "26 cm", "price": {"amount": 0, "currency": "EUR"}},
                                    {"name": "33 cm", "price": {"amount": 350, "currency": "EUR"}},
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    )

    sections: Annotated[list[SectionBody], Field(max_length=MAX_SECTIONS)]

    def document(self) -> dict[str, Any]:
        """As it is stored: prices in minor units of the restaurant's currency."""
        document = self.model_dump(mode="json")
        for section in document["sections"]:
            for item in section["items"]:
                item["price"] = item["price"]["amount"]
                for option in item["options"]:
                    for choice in option["choices"]:
                        choice["price"] = choice["price"]["amount"]
        return document

    def currencies(self) -> set[str]:
        items = [item for section in self.sections for item in section.items]
        choices = [choice for item in items for option in item.options for choice in option.choices]
        return {item.price.currency for item in items} | {choice.price.currency for choice in choices}


class AddressBody(RequestBody):
    street: Name
    city: Name
    postal_code: Annotated[str, Typed(20)]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class PositionBody(Position, RequestBody):
    """WGS 84, in degrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NewRestaurant(RequestBody):
    """Without a position it is the address' in the town."""

    model_config = example(
        name="The Copper Pan",
        cuisine="french",
        address={"street": "12 Mill Lane", "city": "Millbridge", "postal_code": "MB1 2AB", "country": "GB"},
        time_zone="Europe/London",
        hours={"weekly": [{"day": "friday", "opens": "18:00", "closes": "23:00"}]},
        minimum_order={"amount": 1200, "currency": "EUR"},
    )

    name: Name
    cuisine: Cuisine
    description: Description = ""
    address: AddressBody
    position: PositionBody | None = None
    time_zone: TimeZone
    hours: HoursBody
    minimum_order: PriceBody | None = None
    acceptance: Acceptance = "automatic"
    acceptance_deadline_s: DeadlineS = 300
    kitchen_capacity: Capacity = 20
    preparation_s: PreparationS = 900
    auto_progress: bool = False
    menu: MenuBody = MenuBody(sections=[])


class RestaurantChange(RequestBody):
    """Only what is named changes; orders that the kitchen has are not touched."""

    model_config = example(paused=True)

    description: Description | None = None
    minimum_order: PriceBody | None = None
    paused: bool | None = None
    acceptance: Acceptance | None = None
    acceptance_deadline_s: DeadlineS | None = None
    kitchen_capacity: Capacity | None = None
    preparation_s: PreparationS | None = None
    auto_progress: bool | None = None


class ItemChange(RequestBody):
    model_config = example(sold_out=True)

    sold_out: bool


def checked_menu(body: MenuBody) -> tuple[dict[str, Any], list[str]]:
    """The menu as it is stored, and what is wrong with it."""
    document = body.document()
    menu: Menu = read_menu(document)
    items = sum(len(section.items) for section in body.sections)
    twice = ["An item's id is used twice."] if len(menu) < items else []
    return document, twice + menu_errors(list(menu.values()))
