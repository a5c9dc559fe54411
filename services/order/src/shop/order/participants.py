"""The services that take part in an order, called in batches by the calls of shop.contracts.

Orders that are at the same step at the same time share one request. A batch that a participant answers with 4xx is
sent again in halves, so that an order which it rejects does not fail the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from shop.contracts import delivery, payment, pricing, product, restaurant
from shop.contracts.calls import BatchCall, OrderItem, OrderResult
from shop.kit.batch import Batcher
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.http import Response, ServiceClient

log = logging.getLogger(__name__)

MAX_ORDERS_PER_CALL = 100
MAX_LINES_PER_CALL = 200
"""Keeps a request below the 64 KiB that every service accepts."""
MAX_CALLS_INFLIGHT = 2
ONE_AT_A_TIME = 1
"""Of restaurant and delivery, which decide about one batch after another: a second one would wait there, while more
orders can still join it here."""
MAX_CHARGES_INFLIGHT = 6
"""More than elsewhere: a provider that is slow for one card must not delay the others."""

RESERVE_TIMEOUT_S = 1.5
QUOTE_TIMEOUT_S = 1.5
CHARGE_TIMEOUT_S = 2.0
RELEASE_TIMEOUT_S = 1.5
VOID_TIMEOUT_S = 2.0
STATE_TIMEOUT_S = 2.0
ACCEPT_TIMEOUT_S = 1.5
WITHDRAW_TIMEOUT_S = 2.0
COURIER_TIMEOUT_S = 1.5
MINIMUM_TIMEOUT_S = 0.5
MINIMUM_MAX_AGE_S = 60.0
"""How long the smallest charge is cached before payment is called again."""

NOT_OFFERED = frozenset({404, 405})
"""The answers of a service's previous version to a path that it does not have."""

ITEM_ERRORS = frozenset({400, 409, 413, 422})
"""Statuses by which a participant rejects an item; any other 4xx is about the call itself."""


class Endpoint[Item: OrderItem, Result: OrderResult]:
    """One batch call: ``call`` sends an item together with those of other orders and returns its result.

    Raises Unavailable when the participant did nothing, OutcomeUnknown when it may have done it, and the Problem
    by which it rejected this very item.
    """

    def __init__(
        self,
        client: ServiceClient,
        call: BatchCall[Item, Result],
        timeout_s: float,
        inflight: int = MAX_CALLS_INFLIGHT,
    ) -> None:
        self._client = client
        self._contract = call
        self._timeout_s = timeout_s
        self._batcher = Batcher(self._send_all, max_items=MAX_ORDERS_PER_CALL, max_inflight=inflight)

    async def call(self, item: Item) -> Result:
        try:
            return await self._batcher.submit(item)
        except Problem as problem:
            if problem.status in ITEM_ERRORS:
                raise
            raise Unavailable(self._client.name, str(problem)) from problem

    async def close(self) -> None:
        await self._batcher.close()

    async def _send_all(self, items: list[Item]) -> list[Result | BaseException]:
        chunks = chunk_by_lines(items)
        if len(chunks) == 1:
            return list(await self._send(items))
        answers = await asyncio.gather(*(self._send(chunk) for chunk in chunks))
        return [result for answer in answers for result in answer]

    async def _send(self, items: Sequence[Item]) -> Sequence[Result | BaseException]:
        body = {"items": [item.model_dump(mode="json") for item in items]}
        try:
            answer = await self._client.request(
                "POST", self._contract.path, json=body, internal=True, timeout_s=self._timeout_s
            )
            return self._results(items, answer)
        except Problem as problem:
            if problem.status not in ITEM_ERRORS or len(items) == 1:
                return [problem] * len(items)
        except Unavailable as error:
            return [error] * len(items)
        half = len(items) // 2
        return [*await self._send(items[:half]), *await self._send(items[half:])]

    def _results(self, items: Sequence[Item], answer: Response) -> Sequence[Result | BaseException]:
        """The answer's results; OutcomeUnknown for one that is not what the contract says."""
        path = self._contract.path
        try:
            results: list[Any] = answer.json["results"]
            matching = [result["order_id"] for result in results] == [str(item.order_id) for item in items]
        except (ValueError, KeyError, TypeError) as error:
            raise OutcomeUnknown(self._client.name, f"{path}: unreadable answer") from error
        if not matching:
            raise OutcomeUnknown(self._client.name, f"{path}: the results are not those of the orders")
        return [self._read(result) for result in results]

    def _read(self, result: Any) -> Result | OutcomeUnknown:
        try:
            return self._contract.result.validate_python(result)
        except ValidationError as error:
            log.warning(
                "%s: a result is not what the contract says: %s",
                self._contract.name,
                error,
                extra={"event": "contract_broken"},
            )
            return OutcomeUnknown(self._client.name, f"{self._contract.path}: a result breaks the contract")


def chunk_by_lines[Item: OrderItem](items: Sequence[Item]) -> list[list[Item]]:
    """``items`` in their order, in chunks of at most MAX_LINES_PER_CALL order lines."""
    chunks: list[list[Item]] = []
    capacity = 0
    for item in items:
        lines = len(getattr(item, "lines", ()))
        if not chunks or lines > capacity:
            chunks.append([])
            capacity = MAX_LINES_PER_CALL
        chunks[-1].append(item)
        capacity -= lines
    return chunks


class FoodParticipants:
    """The calls to restaurant (the kitchen's ticket) and delivery (the courier)."""

    def __init__(self, at_restaurant: ServiceClient, at_delivery: ServiceClient) -> None:
        self.accept = Endpoint(at_restaurant, restaurant.ACCEPT, ACCEPT_TIMEOUT_S, ONE_AT_A_TIME)
        self.release_ticket = Endpoint(at_restaurant, restaurant.RELEASE, RELEASE_TIMEOUT_S)
        self.withdraw = Endpoint(at_restaurant, restaurant.WITHDRAW, WITHDRAW_TIMEOUT_S)
        self.reserve_courier = Endpoint(at_delivery, delivery.RESERVE, COURIER_TIMEOUT_S, ONE_AT_A_TIME)
        self.assign = Endpoint(at_delivery, delivery.ASSIGN, COURIER_TIMEOUT_S, ONE_AT_A_TIME)
        self.release_courier = Endpoint(at_delivery, delivery.RELEASE, RELEASE_TIMEOUT_S)

    async def close(self) -> None:
        for endpoint in vars(self).values():
            await endpoint.close()


class Participants:
    """The calls to product (stock), pricing (quotes) and payment (charges); ``food`` is None in a shop without it."""

    def __init__(
        self,
        at_product: ServiceClient,
        at_pricing: ServiceClient,
        at_payment: ServiceClient,
        food: FoodParticipants | None = None,
    ) -> None:
        self.food = food
        self._payment = at_payment
        self._minimum = 0
        self._minimum_expires = -math.inf
        self.reserve = Endpoint(at_product, product.RESERVE, RESERVE_TIMEOUT_S)
        self.release = Endpoint(at_product, product.RELEASE, RELEASE_TIMEOUT_S)
        self.quote = Endpoint(at_pricing, pricing.QUOTE, QUOTE_TIMEOUT_S)
        self.release_coupon = Endpoint(at_pricing, pricing.RELEASE, RELEASE_TIMEOUT_S)
        self.charge = Endpoint(at_payment, payment.CHARGE, CHARGE_TIMEOUT_S, MAX_CHARGES_INFLIGHT)
        self.void = Endpoint(at_payment, payment.VOID, VOID_TIMEOUT_S)
        self._state = Endpoint(at_payment, payment.STATE, STATE_TIMEOUT_S)

    async def refunded_in_full(self, order_id: UUID) -> bool:
        """Whether all that was paid for the order was refunded; False for a payment service that cannot say so yet."""
        try:
            result = await self._state.call(payment.StateRequest(order_id=order_id))
        except Unavailable as error:
            if isinstance(error.__cause__, Problem) and error.__cause__.status in NOT_OFFERED:
                return False
            raise
        except Problem as problem:
            raise Unavailable(self._payment.name, str(problem)) from problem
        return result.state is payment.PaymentState.REFUNDED

    async def minimum_charge(self, currency: str) -> int:
        """The smallest amount in minor units that payment charges, cached; 0 while it cannot say so."""
        now = asyncio.get_running_loop().time()
        if now >= self._minimum_expires:
            self._minimum_expires = now + MINIMUM_MAX_AGE_S
            query = payment.MinimumQuery(currency=currency).model_dump()
            try:
                answer = await self._payment.get(
                    payment.MINIMUM.path, params=query, internal=True, timeout_s=MINIMUM_TIMEOUT_S
                )
                self._minimum = payment.MINIMUM.result.validate_python(answer.json).amount
            except (Problem, Unavailable, ValueError) as error:
                log.info("the smallest charge is not known: %s", error, extra={"event": "smallest_charge_unknown"})
        return self._minimum

    async def close(self) -> None:
        for endpoint in (
            self.reserve,
            self.release,
            self.quote,
            self.release_coupon,
            self.charge,
            self.void,
            self._state,
        ):
            await endpoint.close()
        if self.food is not None:
            await self.food.close()
