"""What restaurant reads and writes as JSON."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from shop.contracts.events import TicketState
from shop.contracts.geography import Position
from shop.contracts.money import Address as AddressView
from shop.contracts.money import Money
from shop.kit.bodies import RequestBody, example
from shop.kit.ids import new_id
from shop.kit.text import Typed, paragraphs
from shop.restaurant.domain import Restaurant, Ticket
from shop.restaurant.hours import DAYS, MAX_SPANS_PER_DAY, Closed, Span
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
DeadlineS = Annotated[int, Field(ge=1, le=3_600, strict=True)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not a time zone of the IANA database")
    return ZoneInfo(name).key


TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]


class Price(RequestBody):
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
    def _each_date_once(self) -> Self:
        if len({one.date for one in self.special}) < len(self.special):
            raise ValueError("a special date is named twice")
        return self


class ClosureBody(RequestBody):
    """A local date on which no opening begins; without one it is today's, in the restaurant's time zone."""

    model_config = example(date="2026-12-24")

    date: LocalDate | None = None


class ChoiceBody(RequestBody):
    """``id`` keeps the choice; without one it is new."""

    id: UUID = Field(default_factory=new_id)
    name: Name
    price: Price


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
    price: Price
    allergens: Annotated[list[Allergen], Field(max_length=len(ALLERGENS))] = Field(default=[])
    options: Annotated[list[OptionBody], Field(max_length=MAX_OPTIONS)] = Field(default=[])


class SectionBody(RequestBody):
    name: Name
    items: Annotated[list[ItemBody], Field(min_length=1, max_length=MAX_ITEMS)]


class MenuBody(RequestBody):
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
    position: Position | None = None
    time_zone: TimeZone
    hours: HoursBody
    minimum_order: Price | None = None
    acceptance: Acceptance = "automatic"
    acceptance_deadline_s: DeadlineS = 300
    kitchen_capacity: Capacity = 20
    preparation_s: PreparationS = 900
    auto_progress: bool = False
    menu: MenuBody = MenuBody(sections=[])


class RestaurantChange(RequestBody):
    """Only what is named changes; orders that the kitchen has are not touched."""

    model_config = example(paused=True)

    paused: bool | None = None
    acceptance: Acceptance | None = None
    acceptance_deadline_s: DeadlineS | None = None
    kitchen_capacity: Capacity | None = None
    preparation_s: PreparationS | None = None
    auto_progress: bool | None = None


class ItemChange(RequestBody):
    model_config = example(sold_out=True)

    sold_out: bool


class RestaurantView(BaseModel):
    """``open``: whether an order is possible now; if not, ``opens_at`` says when it is again. ``preparation_s`` is how
    long an order takes now. ``distance_m`` is in a straight line."""

    id: UUID
    name: str
    cuisine: str
    description: str
    open: bool
    paused: bool
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    position: Position
    address: AddressView
    minimum_order: Money
    preparation_s: int
    distance_m: int | None = None


class RestaurantDetail(RestaurantView):
    """With what its staff may change; ``closures`` are the dates on which it is closed out of turn."""

    time_zone: str
    hours: HoursBody
    closures: list[LocalDate]
    acceptance: Acceptance
    acceptance_deadline_s: int
    kitchen_capacity: int
    orders_in_work: int
    auto_progress: bool
    base_preparation_s: int


class ChoiceView(BaseModel):
    id: UUID
    name: str
    price: Money


class OptionView(BaseModel):
    name: str
    min: int
    max: int
    choices: list[ChoiceView]


class ItemView(BaseModel):
    id: UUID
    name: str
    description: str
    category: Category
    price: Money
    available: bool
    allergens: list[str]
    options: list[OptionView]


class SectionView(BaseModel):
    name: str
    items: list[ItemView]


class MenuView(BaseModel):
    restaurant: RestaurantView
    sections: list[SectionView]


class StaffView(BaseModel):
    user_id: UUID
    added_at: datetime


class CourierView(BaseModel):
    name: str
    vehicle: str | None


class TicketLineView(BaseModel):
    name: str
    quantity: int


class TicketView(BaseModel):
    """``until``: by when a waiting ticket has to be accepted. ``version`` grows with each state."""

    order_id: UUID
    state: TicketState
    version: int
    reason: str | None
    customer_name: str
    note: str
    lines: list[TicketLineView]
    ready_at: datetime | None
    until: datetime | None
    paid: bool
    created_at: datetime
    courier: CourierView | None
    delivery_state: str | None


def restaurant_view(of: Restaurant, now: datetime, distance_m: float | None = None) -> RestaurantView:
    return RestaurantView(**_view(of, now, distance_m))


def restaurant_detail(of: Restaurant, now: datetime) -> RestaurantDetail:
    return RestaurantDetail(
        **_view(of, now, None),
        time_zone=of.time_zone,
        hours=HoursBody.model_validate(of.hours),
        closures=of.closures,
        acceptance="automatic" if of.kitchen.automatic else "manual",
        acceptance_deadline_s=of.acceptance_deadline_s,
        kitchen_capacity=of.kitchen_capacity,
        orders_in_work=of.held,
        auto_progress=of.auto_progress,
        base_preparation_s=of.preparation_s,
    )


def _view(of: Restaurant, now: datetime, distance_m: float | None) -> dict[str, Any]:
    available = of.kitchen.availability(now)
    closed = isinstance(available, Closed)
    return {
        "id": of.id,
        "name": of.name,
        "cuisine": of.cuisine,
        "description": of.description,
        "open": of.kitchen.takes_orders(now),
        "paused": of.paused,
        "opens_at": available.opens_at if isinstance(available, Closed) else None,
        "closes_at": None if closed or isinstance(available, Closed) else available.closes_at,
        "position": Position(lat=of.lat, lon=of.lon),
        "address": AddressView(name=of.name, **of.address),
        "minimum_order": Money(amount=of.minimum_order, currency=of.currency),
        "preparation_s": of.kitchen.preparation_s,
        "distance_m": None if distance_m is None else round(distance_m),
    }


def menu_view(of: Restaurant, document: dict[str, Any], now: datetime) -> MenuView:
    sections = [
        {
            "name": section["name"],
            "items": [_item_view(item, of) for item in section["items"]],
        }
        for section in document["sections"]
    ]
    return MenuView.model_validate({"restaurant": restaurant_view(of, now), "sections": sections})


def _item_view(item: dict[str, Any], of: Restaurant) -> dict[str, Any]:
    options = [
        option | {"choices": [choice | {"price": _money(choice["price"], of)} for choice in option["choices"]]}
        for option in item["options"]
    ]
    available = UUID(item["id"]) not in of.sold_out
    return item | {"price": _money(item["price"], of), "available": available, "options": options}


def _money(amount: int, of: Restaurant) -> dict[str, Any]:
    return {"amount": amount, "currency": of.currency}


def ticket_view(ticket: Ticket) -> TicketView:
    courier = CourierView(name=ticket.courier_name, vehicle=ticket.vehicle) if ticket.courier_name else None
    return TicketView(
        order_id=ticket.order_id,
        state=ticket.state,
        version=ticket.version,
        reason=ticket.reason,
        customer_name=ticket.customer_name,
        note=ticket.note,
        lines=[TicketLineView(name=line["name"], quantity=line["quantity"]) for line in ticket.lines],
        ready_at=ticket.ready_at,
        until=ticket.decide_by if ticket.state is TicketState.WAITING else None,
        paid=ticket.paid_at is not None,
        created_at=ticket.created_at,
        courier=courier,
        delivery_state=ticket.delivery_state,
    )


def checked_menu(body: MenuBody) -> tuple[dict[str, Any], list[str]]:
    """The menu as it is stored, and what is wrong with it."""
    document = body.document()
    menu: Menu = read_menu(document)
    items = sum(len(section.items) for section in body.sections)
    twice = ["An item's id is used twice."] if len(menu) < items else []
    return document, twice + menu_errors(list(menu.values()))
