"""The steps of orders. Retail: reserve the stock, quote the price, charge the customer.

Cancelling a confirmed order undoes the same steps: refund, give the coupon back, restock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.saga.engine import Done, Rejected, Saga, Step
from shop.order.domain import Item, Order, Subject, WrongPrice, price
from shop.order.participants import Participants

PRICED_FIELDS = ("product_id", "quantity", "category", "unit_price")
"""What pricing needs of a reserved line."""

NOT_THE_CARD = frozenset({"amount_below_minimum", "amount_not_payable", "payment_refused"})
"""Codes by which the payment service refuses a charge for another reason than the card; each is an order's own code."""


class OrderSteps:
    """The steps, and the saga of each kind of order that consists of them."""

    def __init__(self, participants: Participants) -> None:
        self._at = participants
        self.retail = Saga(
            "retail",
            (
                Step("reserve", self.reserve, self.release),
                Step("quote", self.quote, self.unquote),
                Step("charge", self.charge, self.void),
            ),
        )

    async def reserve(self, subject: Subject) -> Done | Rejected:
        lines = [{"product_id": line.product_id, "quantity": line.quantity} for line in subject.order.lines]
        try:
            result = await self._at.reserve.ask(item_of(subject, lines=lines))
        except Problem as problem:
            return refused(problem)
        if result["status"] == "rejected":
            extra = {name: result[name] for name in ("product_id", "available") if result.get(name) is not None}
            return Rejected(result["code"], result["detail"], extra)
        expect("product", result, "reserved")
        subject.reserved = result["lines"]
        return Done()

    async def release(self, subject: Subject) -> None:
        expect("product", await self._at.release.ask(item_of(subject)), "released")

    async def quote(self, subject: Subject) -> Done | Rejected:
        order = subject.order
        lines = [{name: line[name] for name in PRICED_FIELDS} for line in subject.reserved]
        item = item_of(subject, user_id=order.user_id, lines=lines, country=order.country, coupon=order.coupon)
        try:
            result = await self._at.quote.ask(item)
        except Problem as problem:
            return refused(problem)
        if result["status"] == "rejected":
            return Rejected(result["code"], result["detail"])
        expect("pricing", result, "quoted")
        wanted = [Item(line.product_id, line.quantity) for line in order.lines]
        try:
            subject.priced = price(wanted, subject.reserved, result, order.currency)
        except WrongPrice as error:
            raise OutcomeUnknown("pricing", f"pricing: {error}") from error
        return Done()

    async def unquote(self, subject: Subject) -> None:
        """Without a coupon nothing was redeemed, so a shop without pricing can still give orders up."""
        if subject.order.coupon is not None:
            expect("pricing", await self._at.unquote.ask(item_of(subject)), "released")

    async def charge(self, subject: Subject) -> Done | Rejected:
        """A provider that does not answer leaves the charge pending: it is asked again, and never charged twice.

        Before it is asked for the first time the total is compared with the one that the customer was shown.
        """
        order, total = subject.order, subject.totals.total
        if order.expected_total not in (None, total):
            return price_changed(order, total)
        if total == 0:
            return Done()
        amount = {"amount": total, "currency": order.currency}
        item = item_of(subject, user_id=order.user_id, amount=amount, token=order.payment_token)
        try:
            result = await self._at.charge.ask(item)
        except Problem as problem:
            return refused(problem)
        if result["status"] == "declined" and result["code"] in NOT_THE_CARD:
            return Rejected(result["code"], result["detail"])
        if result["status"] == "declined":
            return Rejected("payment_declined", result["detail"], {"decline_code": result["code"]})
        expect("payment", result, "captured")
        return Done()

    async def void(self, subject: Subject) -> None:
        reason = "order_cancelled" if subject.order.cancel_requested_at else "order_rejected"
        expect("payment", await self._at.void.ask(item_of(subject, reason=reason)), "voided", "refunded")


def item_of(subject: Subject, **members: Any) -> dict[str, Any]:
    return {"order_id": subject.order.id, "traceparent": subject.traceparent, **members}


def price_changed(order: Order, total: int) -> Rejected:
    expected, actual = ({"amount": amount, "currency": order.currency} for amount in (order.expected_total, total))
    detail = "The total is not the expected one. Nothing was ordered and nothing was charged."
    return Rejected("price_changed", detail, {"expected_total": expected, "total": actual})


def refused(problem: Problem) -> Rejected:
    """A participant that cannot accept the request as such never will."""
    return Rejected(problem.code, problem.detail)


def expect(service: str, result: Mapping[str, Any], *statuses: str) -> None:
    """OutcomeUnknown (ask again later) for any other status, "pending" among them."""
    if result["status"] not in statuses:
        raise OutcomeUnknown(service, f"{service} answered {result['status']}")
