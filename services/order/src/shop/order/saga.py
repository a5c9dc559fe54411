"""The steps of orders. Retail: reserve the stock, quote the price, charge the customer. Food is in `food_saga`.

Cancelling a confirmed order undoes the same steps: refund, release the coupon, restock.
"""

from __future__ import annotations

from shop.contracts.calls import ReleaseRequest
from shop.contracts.money import Money
from shop.contracts.payment import ChargeAmount, ChargeRequest, ChargeStatus, VoidRequest, VoidStatus
from shop.contracts.pricing import FoodTerms, LineToPrice, Quoted, QuoteRejected, QuoteRequest
from shop.contracts.product import ReservationLine, ReservationRejected, ReservationRequest
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.saga.engine import Done, Rejected, Saga, Step
from shop.order.domain import Order, PriceMismatch, Subject, priced
from shop.order.participants import Participants

NOT_THE_CARD = frozenset({"amount_below_minimum", "amount_not_payable", "payment_refused"})
"""Codes of charges that payment declines for another reason than the card; each is an order's own code."""


class OrderSteps:
    """The steps, and the saga of each kind of order that consists of them. Steps are idempotent by order id."""

    def __init__(self, participants: Participants) -> None:
        self._at = participants
        self.retail = Saga(
            "retail",
            (
                Step("reserve", self.reserve, self.release),
                Step("quote", self.quote, self.release_coupon),
                Step("charge", self.charge, self.void),
            ),
        )

    async def reserve(self, subject: Subject) -> Done | Rejected:
        order = subject.order
        lines = [ReservationLine(product_id=line.product_id, quantity=line.quantity) for line in order.lines]
        request = ReservationRequest(order_id=order.id, traceparent=subject.traceparent, lines=lines)
        try:
            result = await self._at.reserve.call(request)
        except Problem as problem:
            return rejected(problem)
        if isinstance(result, ReservationRejected):
            extra = {"product_id": result.product_id and str(result.product_id), "available": result.available}
            known = {name: value for name, value in extra.items() if value is not None}
            return Rejected(result.code, result.detail, known)
        subject.reserved = result.lines
        return Done()

    async def release(self, subject: Subject) -> None:
        await self._at.release.call(ReleaseRequest(order_id=subject.order.id, traceparent=subject.traceparent))

    async def quote(self, subject: Subject) -> Done | Rejected:
        lines = [LineToPrice.model_validate(line, from_attributes=True) for line in subject.reserved]
        quote = await self._quoted(subject, lines)
        if isinstance(quote, Rejected):
            return quote
        try:
            subject.priced = priced(subject.order, subject.reserved, quote)
        except PriceMismatch as error:
            raise OutcomeUnknown("pricing", f"pricing: {error}") from error
        return Done()

    async def _quoted(
        self, subject: Subject, lines: list[LineToPrice], food: FoodTerms | None = None
    ) -> Quoted | Rejected:
        order = subject.order
        request = QuoteRequest(
            order_id=order.id,
            traceparent=subject.traceparent,
            user_id=order.user_id,
            lines=lines,
            country=order.country,
            coupon=order.coupon,
            food=food,
        )
        try:
            result = await self._at.quote.call(request)
        except Problem as problem:
            return rejected(problem)
        if isinstance(result, QuoteRejected):
            return Rejected(result.code, result.detail, result.extra)
        return result

    async def release_coupon(self, subject: Subject) -> None:
        """Without a coupon nothing was redeemed, so an order can be undone while pricing is unavailable."""
        if subject.order.coupon is not None:
            await self._at.release_coupon.call(
                ReleaseRequest(order_id=subject.order.id, traceparent=subject.traceparent)
            )

    async def charge(self, subject: Subject) -> Done | Rejected:
        """A provider that does not answer leaves the charge pending: the request is repeated, and charges once.

        Before the first request the total is compared with the one that the customer was shown.
        """
        order, total = subject.order, subject.totals.total
        if order.expected_total not in (None, total):
            return price_changed(order, total)
        if total == 0:
            return Done()
        request = ChargeRequest(
            order_id=order.id,
            traceparent=subject.traceparent,
            user_id=order.user_id,
            amount=ChargeAmount(amount=total, currency=order.currency),
            token=order.payment_token or "",
        )
        try:
            result = await self._at.charge.call(request)
        except Problem as problem:
            return rejected(problem)
        match result.status:
            case ChargeStatus.CAPTURED:
                return Done()
            case ChargeStatus.PENDING:
                raise OutcomeUnknown("payment", "the charge is pending")
        code, detail = result.code or "payment_declined", result.detail or "The payment was declined."
        if code in NOT_THE_CARD:
            return Rejected(code, detail)
        return Rejected("payment_declined", detail, {"decline_code": code})

    async def void(self, subject: Subject) -> None:
        order = subject.order
        reason = "order_cancelled" if order.cancel_requested_at else "order_rejected"
        request = VoidRequest(order_id=order.id, traceparent=subject.traceparent, reason=reason)
        if (await self._at.void.call(request)).status is VoidStatus.PENDING:
            raise OutcomeUnknown("payment", "the end of the charge is pending")


def price_changed(order: Order, total: int) -> Rejected:
    detail = "The total is not the expected one. Nothing was ordered and nothing was charged."
    amounts = {"expected_total": order.expected_total or 0, "total": total}
    extra = {name: Money(amount=amount, currency=order.currency).model_dump() for name, amount in amounts.items()}
    return Rejected("price_changed", detail, extra)


def rejected(problem: Problem) -> Rejected:
    """A participant that refuses the request itself refuses it every time."""
    return Rejected(problem.code, problem.detail)
