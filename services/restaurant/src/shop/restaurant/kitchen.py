"""The use cases of tickets: orders bring them, the staff and the clock move them, the courier takes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shop.contracts.events import DeliveryChanged, DeliveryState, OrderConfirmed, TicketState
from shop.contracts.geography import Position
from shop.contracts.money import Price
from shop.contracts.restaurant import (
    Accepted,
    FoodRejected,
    FoodRequest,
    Priced,
    PricedFood,
    TicketRequest,
    WaitingForStaff,
    Withdrawal,
    WithdrawRequest,
    WithdrawStatus,
)
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.logging import decision
from shop.restaurant import domain, errors, metrics
from shop.restaurant.domain import IllegalTransition, NotPaid, Restaurant, Ticket
from shop.restaurant.menu import Line, Menu, PricedLine, Refusal, price_lines
from shop.restaurant.tickets import TicketRepository, change_in

log = logging.getLogger(__name__)

MAX_CALLS_PER_BATCH = 32
BATCHES_INFLIGHT = 1
"""One batch at a time per process: batches for the same restaurant would only wait for each other's locks."""
UNKNOWN = Refusal("unknown_restaurant", "There is no such restaurant.")

Action = Literal["accept", "reject", "begin", "ready", "cancel"]
AcceptAnswer = Accepted | WaitingForStaff | FoodRejected
TARGETS: Mapping[Action, tuple[TicketState, str | None]] = {
    "reject": (TicketState.REJECTED, domain.REFUSED),
    "begin": (TicketState.PREPARING, None),
    "ready": (TicketState.READY, None),
    "cancel": (TicketState.CANCELLED, domain.CANCELLED),
}


class Kitchens:
    """Every change is decided by the domain while the restaurant's row is locked."""

    def __init__(self, tickets: TicketRepository, clock: Clock) -> None:
        self._tickets = tickets
        self._clock = clock
        self._accepting = Batcher[Sequence[TicketRequest], list[AcceptAnswer]](
            self._accept_calls, max_items=MAX_CALLS_PER_BATCH, max_inflight=BATCHES_INFLIGHT
        )

    async def close(self) -> None:
        await self._accepting.close()

    async def price(self, items: Sequence[FoodRequest]) -> list[Priced | FoodRejected]:
        """What the orders would cost and when they would be ready if they came now."""
        now = self._clock.now()
        rows, menus = await self._tickets.read([item.restaurant_id for item in items])
        return [self._priced(item, rows, menus, now) for item in items]

    def _priced(
        self, item: FoodRequest, rows: Mapping[UUID, Restaurant], menus: Mapping[UUID, Menu], now: datetime
    ) -> Priced | FoodRejected:
        decided = _decide(item, rows.get(item.restaurant_id), menus, now)
        if isinstance(decided, Refusal):
            return _rejected(item.order_id, decided)
        place, lines = decided
        of = rows[item.restaurant_id]
        return Priced(
            order_id=item.order_id,
            restaurant_name=of.name,
            position=Position(lat=of.lat, lon=of.lon),
            minimum_order=Price(amount=of.minimum_order, currency=of.currency),
            lines=[_food(line, of.currency) for line in lines],
            ready_at=place.ready_at,
        )

    async def accept(self, items: Sequence[TicketRequest]) -> list[AcceptAnswer]:
        """One result per order; the same when it is asked again. Concurrent calls share their statements."""
        answers = await self._accepting.submit(items)
        for answer in answers:
            metrics.TICKETS.labels(answer.status).inc()
        return answers

    async def _accept_calls(self, calls: list[Sequence[TicketRequest]]) -> list[list[AcceptAnswer]]:
        requests: dict[UUID, TicketRequest] = {}
        for call in calls:
            for item in call:
                requests.setdefault(item.order_id, item)
        now = self._clock.now()

        def admit(
            rows: Mapping[UUID, Restaurant], menus: Mapping[UUID, Menu], fresh: Sequence[UUID]
        ) -> dict[UUID, Ticket | Refusal]:
            return _admit([requests[order_id] for order_id in fresh], rows, menus, now)

        orders = {order_id: item.restaurant_id for order_id, item in requests.items()}
        traces = {order_id: item.traceparent for order_id, item in requests.items()}
        found = await self._tickets.accept(orders, admit, traces)
        return [[_answer(item.order_id, found[item.order_id]) for item in call] for call in calls]

    async def release(self, order_ids: Sequence[UUID]) -> None:
        """The tickets are gone, whatever their state; orders without one cannot bring one any more."""

        def leave(ticket: Ticket, _: Restaurant) -> Ticket | None:
            return _cancelled(ticket, self._clock.now(), domain.RELEASED)

        await self._tickets.change(order_ids, leave, tombstone=(domain.RELEASED, self._clock.now()))

    async def withdraw(self, items: Sequence[WithdrawRequest]) -> list[Withdrawal]:
        """Cancel what the kitchen has not begun; whether it has is decided against a kitchen that begins now."""
        forced = {item.order_id for item in items if item.even_if_begun}
        now = self._clock.now()

        def leave(ticket: Ticket, _: Restaurant) -> Ticket | None:
            if ticket.order_id in forced or ticket.state in (TicketState.WAITING, TicketState.ACCEPTED):
                return _cancelled(ticket, now, domain.WITHDRAWN)
            return None

        order_ids = [item.order_id for item in items]
        found = await self._tickets.change(order_ids, leave, tombstone=(domain.WITHDRAWN, now))
        return [Withdrawal(order_id=one, status=_withdrawal(found[one].state)) for one in order_ids]

    async def act(self, restaurant_id: UUID, order_id: UUID, action: Action, user_id: UUID) -> Ticket:
        """What the staff decides. Problem 404 ``unknown_ticket``, 409 ``illegal_transition``, ``not_paid`` or
        ``not_accepted_in_time``; the same again changes nothing."""
        now = self._clock.now()

        def move(ticket: Ticket, of: Restaurant) -> Ticket | None:
            if of.id != restaurant_id:
                raise errors.unknown_ticket(order_id)
            return _acted(ticket, of, action, now)

        try:
            found = await self._tickets.change([order_id], move)
        except IllegalTransition as error:
            raise errors.illegal_transition(error) from None
        except NotPaid:
            raise errors.not_paid() from None
        ticket = found.get(order_id)
        if ticket is None or ticket.restaurant_id != restaurant_id:
            raise errors.unknown_ticket(order_id)
        message = "%s: the ticket of order %s is %s"
        decision(log, "ticket_moved", message, action, order_id, ticket.state, user_id=user_id, order_id=order_id)
        return ticket

    async def page(
        self, restaurant_id: UUID, states: Sequence[TicketState], before: UUID | None, limit: int
    ) -> list[Ticket]:
        return await self._tickets.page(restaurant_id, states, before, limit)

    async def move_due(self) -> int:
        """Move the tickets whose time has come; return how many there were."""
        now = self._clock.now()
        return await self._tickets.change_due(now, lambda ticket, _: domain.on_time(ticket, now))

    async def confirmed(self, connection: Connection, orders: Sequence[OrderConfirmed]) -> None:
        """The orders are paid: from now on their kitchens see them, and those that the clock moves begin."""
        now = self._clock.now()
        order_ids = [order.order_id for order in orders if order.kind == "food"]
        if order_ids:
            await change_in(connection, order_ids, lambda ticket, _: _begun(domain.paid(ticket, now), now))

    async def carried(self, connection: Connection, deliveries: Sequence[DeliveryChanged]) -> None:
        """What became of the deliveries; a ticket whose order was picked up has left the kitchen.

        That one waits for its first courier is not stored: every paid order does until it has one.
        """
        now = self._clock.now()
        latest: dict[UUID, DeliveryChanged] = {}
        for one in sorted(deliveries, key=lambda one: one.version):
            if not one.begins_to_wait:
                latest[one.order_id] = one
        if not latest:
            return

        def carry(ticket: Ticket, _: Restaurant) -> Ticket | None:
            one = latest[ticket.order_id]
            return domain.carried(ticket, one.state, one.version, one.courier_name, one.vehicle)

        await change_in(connection, list(latest), carry)
        gone = [order_id for order_id, one in latest.items() if one.state in PICKED_UP]
        for state in domain.UNTIL_PICKED_UP if gone else ():
            await change_in(connection, gone, lambda ticket, _, state=state: _next(ticket, state, now))  # type: ignore[misc]


PICKED_UP = frozenset({DeliveryState.PICKED_UP, DeliveryState.ON_THE_WAY, DeliveryState.DELIVERED})


def _begun(ticket: Ticket, now: datetime) -> Ticket:
    """As the clock moves a ticket that is due once it is paid."""
    return domain.on_time(ticket, now) or ticket


def _next(ticket: Ticket, state: TicketState, now: datetime) -> Ticket | None:
    """The ticket in ``state`` if that is its next one; an order that was picked up is paid."""
    if state not in domain.LEGAL.get(ticket.state, ()):
        return None
    return domain.moved(domain.paid(ticket, now), state, now)


def _acted(ticket: Ticket, of: Restaurant, action: Action, now: datetime) -> Ticket | None:
    if action == "accept":
        if ticket.state is TicketState.ACCEPTED:
            return None
        if ticket.decide_by is not None and now >= ticket.decide_by and ticket.state is TicketState.WAITING:
            raise errors.decided_too_late()
        return domain.accepted_by_staff(ticket, of.kitchen, now)
    state, reason = TARGETS[action]
    return None if ticket.state is state else domain.moved(ticket, state, now, reason)


def _cancelled(ticket: Ticket, now: datetime, reason: str) -> Ticket | None:
    if TicketState.CANCELLED not in domain.LEGAL.get(ticket.state, ()):
        return None
    return domain.moved(ticket, TicketState.CANCELLED, now, reason)


def _withdrawal(state: TicketState) -> WithdrawStatus:
    if state is TicketState.PICKED_UP:
        return WithdrawStatus.PICKED_UP
    if state in (TicketState.PREPARING, TicketState.READY):
        return WithdrawStatus.BEGUN
    return WithdrawStatus.WITHDRAWN


def _decide(
    item: FoodRequest, of: Restaurant | None, menus: Mapping[UUID, Menu], now: datetime, more: int = 0
) -> tuple[domain.Place, list[PricedLine]] | Refusal:
    """``more``: orders that the kitchen takes in the same batch before this one."""
    if of is None:
        return UNKNOWN
    place = domain.admit(of.kitchen_with(more), now)
    if isinstance(place, Refusal):
        return place
    wanted = [Line(line.item_id, line.quantity, tuple(line.choices)) for line in item.lines]
    lines = price_lines(menus.get(of.id, {}), of.sold_out, wanted)
    return lines if isinstance(lines, Refusal) else (place, lines)


def _admit(
    requests: Sequence[TicketRequest], rows: Mapping[UUID, Restaurant], menus: Mapping[UUID, Menu], now: datetime
) -> dict[UUID, Ticket | Refusal]:
    """Serve the requests in order; each ticket takes a place from those after it."""
    taken: dict[UUID, int] = {}
    answers: dict[UUID, Ticket | Refusal] = {}
    for item in requests:
        of = rows.get(item.restaurant_id)
        decided = _decide(item, of, menus, now, taken.get(item.restaurant_id, 0))
        if isinstance(decided, Refusal) or of is None:
            answers[item.order_id] = decided if isinstance(decided, Refusal) else UNKNOWN
            continue
        answers[item.order_id] = _ticket(item, of, *decided, now)
        taken[of.id] = taken.get(of.id, 0) + 1
    return answers


def _ticket(item: TicketRequest, of: Restaurant, place: domain.Place, lines: list[PricedLine], now: datetime) -> Ticket:
    automatic = of.kitchen.automatic
    preparation = place.ready_at - now
    decide_by = min(now + timedelta(seconds=of.acceptance_deadline_s), place.open_until - preparation)
    due_at = place.open_until if automatic else decide_by
    return Ticket(
        order_id=item.order_id,
        restaurant_id=of.id,
        user_id=item.user_id,
        restaurant_name=of.name,
        customer_name=item.customer_name,
        note=item.note,
        lines=[_food(line, of.currency).model_dump(mode="json") for line in lines],
        currency=of.currency,
        minimum_order=of.minimum_order,
        lat=of.lat,
        lon=of.lon,
        state=TicketState.ACCEPTED if automatic else TicketState.WAITING,
        reason=None,
        version=1,
        auto_progress=of.auto_progress,
        created_at=now,
        updated_at=now,
        decide_by=None if automatic else decide_by,
        open_until=place.open_until,
        ready_at=place.ready_at if automatic else None,
        due_at=due_at,
    )


def _food(line: PricedLine, currency: str) -> PricedFood:
    return PricedFood(
        product_id=line.product_id,
        item_id=line.item_id,
        quantity=line.quantity,
        name=line.name,
        category=line.category,
        unit_price=Price(amount=line.unit_price, currency=currency),
        choices=list(line.choices),
    )


def _answer(order_id: UUID, found: Ticket | Refusal) -> AcceptAnswer:
    if isinstance(found, Refusal):
        return _rejected(order_id, found)
    if found.state is TicketState.WAITING and found.decide_by is not None:
        return WaitingForStaff(order_id=order_id, until=found.decide_by)
    if found.ended:
        return _rejected(order_id, domain.ending(found))
    return Accepted(
        order_id=order_id,
        restaurant_name=found.restaurant_name,
        position=Position(lat=found.lat, lon=found.lon),
        minimum_order=Price(amount=found.minimum_order, currency=found.currency),
        lines=[PricedFood.model_validate(line) for line in found.lines],
        ready_at=found.ready_at or found.updated_at,
    )


def _rejected(order_id: UUID, refusal: Refusal) -> FoodRejected:
    return FoodRejected(order_id=order_id, code=refusal.code, detail=refusal.detail, extra=dict(refusal.extra))
