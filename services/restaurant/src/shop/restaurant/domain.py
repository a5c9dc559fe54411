"""The kitchen: whether it takes an order, and the states of its tickets. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from shop.contracts.events import DeliveryState, TicketState
from shop.restaurant.hours import Closed, Hours, Open, availability, read_hours
from shop.restaurant.menu import Refusal

HELD = frozenset({TicketState.WAITING, TicketState.ACCEPTED, TicketState.PREPARING})
"""The states of orders in work: each takes a place of the kitchen's capacity."""
OPEN = HELD | {TicketState.READY}
LEGAL: Mapping[TicketState, Collection[TicketState]] = {
    TicketState.WAITING: (TicketState.ACCEPTED, TicketState.REJECTED, TicketState.CANCELLED),
    TicketState.ACCEPTED: (TicketState.PREPARING, TicketState.CANCELLED),
    TicketState.PREPARING: (TicketState.READY, TicketState.CANCELLED),
    TicketState.READY: (TicketState.PICKED_UP, TicketState.CANCELLED),
}
UNTIL_PICKED_UP = (TicketState.PREPARING, TicketState.READY, TicketState.PICKED_UP)
RELEASED = "released"
WITHDRAWN = "withdrawn"
FOLLOWING = frozenset({RELEASED, WITHDRAWN})
"""Reasons of tickets that end because their order does."""
CLOSED = "restaurant_closed"
LATE = "not_accepted_in_time"
REFUSED = "refused_by_restaurant"
CANCELLED = "cancelled_by_restaurant"
DETAILS = {
    RELEASED: "The order was released before.",
    CLOSED: "The restaurant has closed meanwhile.",
    LATE: "The restaurant did not accept the order in time.",
    REFUSED: "The restaurant cannot take the order.",
}
"""What a customer reads of a ticket that ended."""


def preparation_s(base_s: int, in_work: int, capacity: int) -> int:
    """Seconds until an order would be ready: ``base_s`` in an empty kitchen, twice as long in a full one, and in
    proportion between the two: base_s * (1 + in_work / capacity), rounded up."""
    return -(-base_s * (capacity + in_work) // capacity)


@dataclass(frozen=True)
class Kitchen:
    """What decides whether an order is taken. ``in_work`` counts the tickets that are HELD."""

    hours: Hours
    paused: bool
    automatic: bool
    acceptance_deadline_s: int
    capacity: int
    in_work: int
    base_preparation_s: int

    @property
    def preparation_s(self) -> int:
        return preparation_s(self.base_preparation_s, self.in_work, self.capacity)

    @property
    def full(self) -> bool:
        return self.in_work >= self.capacity

    def availability(self, now: datetime) -> Open | Closed:
        """By the hours alone; the same for lists, pages and orders."""
        return availability(self.hours, now, self.preparation_s)

    def takes_orders(self, now: datetime) -> bool:
        return not self.paused and isinstance(self.availability(now), Open)


@dataclass(frozen=True, slots=True)
class Place:
    """An order's place in the kitchen: ready at ``ready_at``, within the opening that ends at ``open_until``."""

    ready_at: datetime
    open_until: datetime


def admit(kitchen: Kitchen, now: datetime) -> Place | Refusal:
    """The place of an order that comes at ``now``, or why there is none."""
    available = kitchen.availability(now)
    if isinstance(available, Closed):
        return closed(available.opens_at)
    if kitchen.paused:
        return Refusal("restaurant_paused", "The restaurant takes no orders at the moment.")
    if kitchen.full:
        return Refusal("kitchen_full", "The kitchen has as many orders as it can prepare; please try again later.")
    return Place(now + timedelta(seconds=kitchen.preparation_s), available.until)


def closed(opens_at: datetime | None) -> Refusal:
    extra = {"opens_at": opens_at.isoformat().replace("+00:00", "Z") if opens_at else None}
    return Refusal(CLOSED, "The restaurant is closed.", extra)


@dataclass(frozen=True)
class Ticket:
    """What the kitchen has of an order. ``restaurant_id`` None: the order was released before it came.

    ``decide_by``: until when the staff decides; ``open_until``: the end of the opening in which it was ordered.
    ``due_at``: when the clock moves it next, see `on_time`. ``sequence`` grows with every change of any ticket.
    """

    order_id: UUID
    restaurant_id: UUID | None
    user_id: UUID | None
    restaurant_name: str
    customer_name: str
    note: str
    lines: list[dict[str, Any]]
    currency: str
    minimum_order: int
    lat: float
    lon: float
    state: TicketState
    reason: str | None
    version: int
    auto_progress: bool
    created_at: datetime
    updated_at: datetime
    decide_by: datetime | None = None
    open_until: datetime | None = None
    ready_at: datetime | None = None
    due_at: datetime | None = None
    paid_at: datetime | None = None
    courier_name: str | None = None
    vehicle: str | None = None
    delivery_state: str | None = None
    delivery_version: int = 0
    sequence: int = 0

    @property
    def ended(self) -> bool:
        """Whether the kitchen will not prepare it."""
        return self.state in (TicketState.CANCELLED, TicketState.REJECTED)

    @property
    def ended_by_restaurant(self) -> bool:
        return self.ended and self.reason not in FOLLOWING


def ending(ticket: Ticket) -> Refusal:
    """What an order is answered whose ticket has ended."""
    code = {WITHDRAWN: RELEASED, CANCELLED: REFUSED}.get(ticket.reason or RELEASED, ticket.reason or RELEASED)
    return Refusal(code, DETAILS[code])


class IllegalTransition(Exception):
    """The ticket's state does not allow the change."""

    def __init__(self, before: TicketState, after: TicketState) -> None:
        super().__init__(f"A ticket that is {before} cannot become {after}.")
        self.before = before


class NotPaid(Exception):
    """The order is not confirmed yet, so the kitchen does not begin."""


def moved(ticket: Ticket, state: TicketState, now: datetime, reason: str | None = None) -> Ticket:
    """The ticket in its next state; IllegalTransition, or NotPaid when the kitchen would begin unpaid."""
    if state not in LEGAL.get(ticket.state, ()):
        raise IllegalTransition(ticket.state, state)
    if state is TicketState.PREPARING and ticket.paid_at is None:
        raise NotPaid
    ready_at = now if state is TicketState.READY else ticket.ready_at
    after = replace(ticket, state=state, reason=reason, version=ticket.version + 1, ready_at=ready_at, updated_at=now)
    return replace(after, due_at=due(after))


def accepted_by_staff(ticket: Ticket, kitchen: Kitchen, now: datetime) -> Ticket:
    """The waiting ticket, accepted; it is to be ready before the restaurant closes."""
    load_without_it = max(kitchen.in_work - 1, 0)
    ready_at = now + timedelta(seconds=preparation_s(kitchen.base_preparation_s, load_without_it, kitchen.capacity))
    latest = ticket.open_until or ready_at
    accepted = moved(ticket, TicketState.ACCEPTED, now)
    return replace(accepted, ready_at=min(ready_at, latest))


def paid(ticket: Ticket, now: datetime) -> Ticket:
    """The ticket of a confirmed order. If the restaurant has ended it, the end is published again
    with a new version, because the order was confirmed nevertheless."""
    if ticket.paid_at is not None:
        return ticket
    version = ticket.version + 1 if ticket.ended_by_restaurant else ticket.version
    after = replace(ticket, paid_at=now, version=version, updated_at=now)
    return replace(after, due_at=due(after))


def carried(ticket: Ticket, state: DeliveryState, version: int, courier: str | None, vehicle: str | None) -> Ticket:
    """The ticket with what is known of its delivery; unchanged by what is older than that."""
    if version <= ticket.delivery_version:
        return ticket
    return replace(ticket, delivery_state=state.value, delivery_version=version, courier_name=courier, vehicle=vehicle)


def due(ticket: Ticket) -> datetime | None:
    """When the clock moves the ticket; None when only people do."""
    if ticket.state is TicketState.WAITING:
        return ticket.decide_by
    if ticket.state is TicketState.ACCEPTED and ticket.paid_at is None:
        return ticket.open_until
    if not ticket.auto_progress:
        return None
    return {TicketState.ACCEPTED: ticket.paid_at, TicketState.PREPARING: ticket.ready_at}.get(ticket.state)


def on_time(ticket: Ticket, now: datetime) -> Ticket | None:
    """The ticket as the clock moves it at ``now``; with the right ``due_at`` if it is not due; None for no change."""
    at = due(ticket)
    if at is None or at > now:
        return None if at == ticket.due_at else replace(ticket, due_at=at)
    if ticket.state is TicketState.WAITING:
        return moved(ticket, TicketState.REJECTED, now, LATE)
    if ticket.paid_at is None:
        return moved(ticket, TicketState.CANCELLED, now, CLOSED)
    return moved(ticket, TicketState.PREPARING if ticket.state is TicketState.ACCEPTED else TicketState.READY, now)


@dataclass(frozen=True)
class Restaurant:
    """``hours`` and ``closures`` as they are stored; ``held`` counts the tickets in work."""

    id: UUID
    name: str
    sort_name: str
    cuisine: str
    description: str
    address: dict[str, Any]
    lat: float
    lon: float
    time_zone: str
    currency: str
    minimum_order: int
    hours: dict[str, Any]
    hours_version: int
    closures: list[date]
    paused: bool
    acceptance: str
    acceptance_deadline_s: int
    auto_progress: bool
    kitchen_capacity: int
    preparation_s: int
    menu_version: int
    sold_out: list[UUID]
    held: int

    @cached_property
    def kitchen(self) -> Kitchen:
        """As it is now."""
        return Kitchen(
            hours=read_hours(self.time_zone, self.hours, self.closures),
            paused=self.paused,
            automatic=self.acceptance == "automatic",
            acceptance_deadline_s=self.acceptance_deadline_s,
            capacity=self.kitchen_capacity,
            in_work=self.held,
            base_preparation_s=self.preparation_s,
        )

    def kitchen_with(self, more: int) -> Kitchen:
        """As it will be when it has taken so many orders more."""
        return replace(self.kitchen, in_work=self.held + more)
