"""Responses of the restaurant and delivery services, as far as pages show them. Unknown fields are ignored."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from shop.contracts.geography import Position
from shop.contracts.money import Address, Money
from shop.storefront.schemas import Amounts, CourierName, View

LocalDate = date


class RestaurantAddress(View):
    street: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""


class Restaurant(View):
    """``preparation_s`` is how long the kitchen takes at the moment, ``full`` that it takes no order until one is
    ready. While it is closed, ``opens_at`` is when it opens; null if it does not open in the days to come."""

    id: UUID
    name: str
    cuisine: str = ""
    description: str = ""
    open: bool = True
    paused: bool = False
    full: bool = False
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    position: Position
    address: RestaurantAddress | None = None
    preparation_s: int | None = None
    minimum_order: Money | None = None
    time_zone: str = ""

    @property
    def takes_orders(self) -> bool:
        return self.open and not self.paused


class Choice(View):
    id: UUID
    name: str
    price: Money


class Option(View):
    """``min`` to ``max`` of the choices are made."""

    name: str
    min: int = 0
    max: int = 1
    choices: tuple[Choice, ...] = ()

    @property
    def single(self) -> bool:
        """Whether a choice excludes the others."""
        return self.max == 1

    @property
    def rule(self) -> str:
        """What has to be chosen, in words."""
        if self.min == self.max:
            return f"Choose {self.min}"
        if self.min:
            return f"Choose {self.min} to {self.max}"
        return "Optional" if self.max >= len(self.choices) else f"Choose up to {self.max}"


class MenuItem(View):
    id: UUID
    name: str
    description: str = ""
    category: str = ""
    price: Money
    available: bool = True
    allergens: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()

    def chosen(self, ids: frozenset[UUID]) -> list[Choice]:
        """The choices with these ids, in the menu's order."""
        return [choice for option in self.options for choice in option.choices if choice.id in ids]


class Section(View):
    name: str
    items: tuple[MenuItem, ...] = ()


class Menu(View):
    sections: tuple[Section, ...] = ()

    def item(self, item_id: UUID) -> MenuItem | None:
        return next((item for section in self.sections for item in section.items if item.id == item_id), None)


class FoodQuoteLine(View):
    item_id: UUID | None = None
    name: str | None = None
    quantity: int
    unit_price: Money
    line_total: Money


class FoodQuote(Amounts):
    """``shipping`` is the delivery fee."""

    lines: tuple[FoodQuoteLine, ...] = ()
    tip: Money | None = None
    distance_m: int | None = None
    eta: datetime | None = None


class StateChange(View):
    state: str
    at: datetime


class Delivery(View):
    """``code`` is what the customer tells the courier; ``kitchen`` is the state of the restaurant's ticket.

    ``history`` has the states so far, ``kitchen_history`` those of the kitchen.
    """

    order_id: UUID
    state: str
    version: int = 0
    restaurant_name: str = ""
    courier: CourierName | None = None
    eta: datetime | None = None
    position: Position | None = None
    updated_at: datetime
    route: tuple[Position, ...] = ()
    code: str | None = None
    pickup: Position | None = None
    dropoff: Position | None = None
    kitchen: str | None = None
    history: tuple[StateChange, ...] = ()
    kitchen_history: tuple[StateChange, ...] = ()


class TicketLine(View):
    name: str
    quantity: int


class Ticket(View):
    """What the kitchen has of one order. ``until`` is the deadline of one that waits to be accepted."""

    order_id: UUID
    state: str
    version: int = 0
    customer_name: str = ""
    note: str = ""
    lines: tuple[TicketLine, ...] = ()
    ready_at: datetime | None = None
    until: datetime | None = None
    paid: bool = True
    created_at: datetime | None = None
    courier: CourierName | None = None

    @property
    def number(self) -> str:
        """The short form of the order's id for people."""
        return self.order_id.hex[-8:].upper()


class Job(View):
    """A delivery as its courier sees it; ``actions`` are the last segments of the paths that may be posted to."""

    order_id: UUID
    state: str
    restaurant_name: str = ""
    pickup: Position
    dropoff: Position
    address: Address | None = None
    restaurant_id: UUID | None = None
    customer_name: str = ""
    kitchen: str | None = None
    ready_at: datetime | None = None
    eta: datetime | None = None
    route: tuple[Position, ...] = ()
    actions: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        return self.order_id.hex[-8:].upper()


class Courier(View):
    """``fix`` is none, stale or fresh: without a fresh one a courier gets no delivery."""

    user_id: UUID | None = None
    name: str
    vehicle: str = ""
    on_shift: bool = False
    fix: str = ""
    position: Position | None = None
    positioned_at: datetime | None = None
    load: int = 0
    capacity: int = 0


class Span(View):
    """From one local time to another, such as 18:00 and 01:00; the closing time may be the next day's."""

    opens: str
    closes: str


class DaySpan(Span):
    """``day`` is an English weekday in lower case."""

    day: str


class SpecialDate(View):
    """The spans of one date in place of its weekday's; none is closed."""

    date: LocalDate
    spans: tuple[Span, ...] = ()


class OpeningHours(View):
    weekly: tuple[DaySpan, ...] = ()
    special: tuple[SpecialDate, ...] = ()


class Workplace(Restaurant):
    """A restaurant as its staff sees it. ``base_preparation_s`` is the time with an empty kitchen; ``closures`` are
    dates on which it is closed in addition to its hours."""

    hours: OpeningHours = OpeningHours()

    acceptance: str = "automatic"
    acceptance_deadline_s: int = 300
    kitchen_capacity: int = 0
    orders_in_work: int = 0
    base_preparation_s: int = 0
    closures: tuple[date, ...] = ()


class DemandAt(View):
    position: Position
    orders: int


class Demand(View):
    """Where the orders of the last hour went."""

    since: datetime
    items: tuple[DemandAt, ...] = ()


class User(View):
    id: UUID
    email: str
    name: str


class StaffMember(View):
    user_id: UUID
