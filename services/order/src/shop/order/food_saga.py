"""The steps of food orders: the kitchen accepts, a courier is held, the price is quoted, the customer is charged, and
the delivery becomes live (ADR 0040: the courier comes before the charge).

Cancelling a confirmed order undoes the same steps: the delivery ends, the payment is refunded, the ticket is gone.
"""

from __future__ import annotations

from shop.contracts.calls import ReleaseRequest
from shop.contracts.delivery import AssignRequest, DeliveryRejected, ReserveRequest
from shop.contracts.money import Address, Price
from shop.contracts.pricing import FoodTerms, LineToPrice
from shop.contracts.restaurant import Accepted, FoodLine, FoodRejected, TicketRequest, WaitingForStaff
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.saga.engine import Done, Rejected, Saga, Step
from shop.order.domain import Food, Order, PriceMismatch, Subject, priced_food
from shop.order.participants import FoodParticipants, Participants
from shop.order.saga import OrderSteps, rejected


class FoodSteps(OrderSteps):
    """Quote, charge and their compensations are those of retail orders."""

    def __init__(self, participants: Participants, food: FoodParticipants) -> None:
        super().__init__(participants)
        self._food = food
        self.food = Saga(
            "food",
            (
                Step("accept", self.accept, self.release_ticket),
                Step("reserve_courier", self.reserve_courier, self.release_courier),
                Step("quote", self.quote_food, self.release_coupon),
                Step("charge", self.charge, self.void),
                Step("assign", self.assign, self.release_courier),
            ),
        )

    async def accept(self, subject: Subject) -> Done | Rejected:
        """Staff that has not decided yet leaves the step without an outcome: its ticket holds a place."""
        order, food = subject.order, food_of(subject.order)
        lines = [
            FoodLine(item_id=line.item_id, quantity=line.quantity, choices=list(line.choices))
            for line in order.lines
            if line.item_id is not None
        ]
        request = TicketRequest(
            order_id=order.id,
            traceparent=subject.traceparent,
            restaurant_id=food.restaurant_id,
            lines=lines,
            user_id=order.user_id,
            customer_name=order.customer_name,
            note=food.note,
        )
        try:
            result = await self._food.accept.call(request)
        except Problem as problem:
            return rejected(problem)
        if isinstance(result, FoodRejected):
            return Rejected(result.code, result.detail, result.extra)
        if isinstance(result, WaitingForStaff):
            subject.waiting_for_staff = True
            raise OutcomeUnknown("restaurant", f"the restaurant has until {result.until.isoformat()} to accept")
        subject.accepted = result
        return Done()

    async def release_ticket(self, subject: Subject) -> None:
        await self._food.release_ticket.call(_release(subject))

    async def reserve_courier(self, subject: Subject) -> Done | Rejected:
        order, ticket = subject.order, accepted(subject)
        request = ReserveRequest(
            order_id=order.id,
            traceparent=subject.traceparent,
            pickup=ticket.position,
            address=Address.model_validate(order.address),
            user_id=order.user_id,
            restaurant_id=food_of(order).restaurant_id,
            restaurant_name=ticket.restaurant_name,
            ready_at=ticket.ready_at,
        )
        try:
            result = await self._food.reserve_courier.call(request)
        except Problem as problem:
            return rejected(problem)
        if isinstance(result, DeliveryRejected):
            return Rejected(result.code, result.detail, result.extra)
        subject.distance_m, subject.eta = result.distance_m, result.eta
        return Done()

    async def release_courier(self, subject: Subject) -> None:
        await self._food.release_courier.call(_release(subject))

    async def quote_food(self, subject: Subject) -> Done | Rejected:
        order, ticket = subject.order, accepted(subject)
        terms = FoodTerms(
            distance_m=subject.distance_m,
            minimum_order=ticket.minimum_order,
            tip=Price(amount=food_of(order).tip, currency=order.currency),
        )
        lines = [LineToPrice.model_validate(line, from_attributes=True) for line in ticket.lines]
        quote = await self._quoted(subject, lines, terms)
        if isinstance(quote, Rejected):
            return quote
        try:
            subject.priced = priced_food(order, ticket, quote)
        except PriceMismatch as error:
            raise OutcomeUnknown("pricing", f"pricing: {error}") from error
        return Done()

    async def assign(self, subject: Subject) -> Done | Rejected:
        request = AssignRequest(order_id=subject.order.id, traceparent=subject.traceparent)
        try:
            result = await self._food.assign.call(request)
        except Problem as problem:
            return rejected(problem)
        if isinstance(result, DeliveryRejected):
            return Rejected(result.code, result.detail, result.extra)
        subject.eta = result.eta
        return Done()


class UndoFood(OrderSteps):
    """What a shop without food does with orders from when it had food: they wait until their deadline, since food may
    be turned on again, and are then undone as far as they can be. Ticket and courier are released later
    (`food_turned_off`)."""

    def __init__(self, participants: Participants) -> None:
        super().__init__(participants)
        self.food = Saga(
            "food",
            (
                Step("accept", self.not_offered),
                Step("reserve_courier", self.not_offered),
                Step("quote", self.not_offered, self.release_coupon),
                Step("charge", self.not_offered, self.void),
                Step("assign", self.not_offered),
            ),
        )

    async def not_offered(self, subject: Subject) -> Done | Rejected:
        raise Unavailable("restaurant", "this shop has no food at present")


def order_steps(participants: Participants) -> FoodSteps | UndoFood:
    """The steps of both kinds of orders, in a shop with food and in one without."""
    return UndoFood(participants) if participants.food is None else FoodSteps(participants, participants.food)


def food_of(order: Order) -> Food:
    if order.food is None:
        raise RuntimeError(f"order {order.id} is not one of food")
    return order.food


def accepted(subject: Subject) -> Accepted:
    if subject.accepted is None:
        raise RuntimeError("the restaurant has not accepted the order")
    return subject.accepted


def _release(subject: Subject) -> ReleaseRequest:
    return ReleaseRequest(order_id=subject.order.id, traceparent=subject.traceparent)
