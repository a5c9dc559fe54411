"""The services that take part in an order, asked in batches.

Orders that are at the same step at the same time share one request. A participant that answers 4xx to a batch is
asked again in halves, so that an order which it cannot read does not hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from shop.kit.batch import Batcher
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.http import ServiceClient

log = logging.getLogger(__name__)

MAX_ORDERS_PER_CALL = 100
MAX_LINES_PER_CALL = 200
"""Keeps a request below the 64 KiB that every service takes."""
MAX_CALLS_INFLIGHT = 2
MAX_CHARGES_INFLIGHT = 6
"""More than elsewhere: a provider that is slow for one card must not hold up the others."""

RESERVE_TIMEOUT_S = 1.5
QUOTE_TIMEOUT_S = 1.5
CHARGE_TIMEOUT_S = 2.0
RELEASE_TIMEOUT_S = 1.5
VOID_TIMEOUT_S = 2.0
STATE_TIMEOUT_S = 2.0
MINIMUM_TIMEOUT_S = 0.5
MINIMUM_KNOWN_S = 60.0
"""How long the smallest charge is believed before payment is asked again."""

NOT_OFFERED = frozenset({404, 405})
"""What the version before answers to a path that it does not have."""

FAULTS_OF_ITEMS = frozenset({400, 409, 413, 422})
"""Statuses by which a participant refuses what it was sent; any other 4xx is about the call itself."""

Item = dict[str, Any]


class Endpoint:
    """One batch endpoint: ``ask`` sends an item together with those of other orders and returns its result.

    Raises Unavailable when the participant did nothing, OutcomeUnknown when it may have done it, and the Problem
    by which it refused this very item.
    """

    def __init__(self, client: ServiceClient, path: str, timeout_s: float, inflight: int = MAX_CALLS_INFLIGHT) -> None:
        self._client = client
        self._path = path
        self._timeout_s = timeout_s
        self._batcher = Batcher(self._send_all, max_items=MAX_ORDERS_PER_CALL, max_inflight=inflight)

    async def ask(self, item: Item) -> Item:
        try:
            return await self._batcher.submit(item)
        except Problem as problem:
            if problem.status in FAULTS_OF_ITEMS:
                raise
            raise Unavailable(self._client.name, str(problem)) from problem

    async def close(self) -> None:
        await self._batcher.close()

    async def _send_all(self, items: list[Item]) -> list[Item | BaseException]:
        answers = await asyncio.gather(*(self._send(part) for part in parts(items)))
        return [result for answer in answers for result in answer]

    async def _send(self, items: Sequence[Item]) -> Sequence[Item | BaseException]:
        try:
            return await self._call(items)
        except Problem as problem:
            if problem.status not in FAULTS_OF_ITEMS or len(items) == 1:
                return [problem] * len(items)
        except Unavailable as error:
            return [error] * len(items)
        half = len(items) // 2
        return [*await self._send(items[:half]), *await self._send(items[half:])]

    async def _call(self, items: Sequence[Item]) -> Sequence[Item]:
        answer = await self._client.post(self._path, json={"items": items}, internal=True, timeout_s=self._timeout_s)
        try:
            results: list[Item] = answer.json["results"]
            matching = [str(result["order_id"]) for result in results] == [str(item["order_id"]) for item in items]
        except (ValueError, KeyError, TypeError) as error:
            raise OutcomeUnknown(self._client.name, f"{self._path}: unreadable answer") from error
        if not matching:
            raise OutcomeUnknown(self._client.name, f"{self._path}: the answers are not those of the orders")
        return results


def parts(items: Sequence[Item]) -> list[list[Item]]:
    """``items`` in their order, in groups of at most MAX_LINES_PER_CALL order lines."""
    groups: list[list[Item]] = []
    room = 0
    for item in items:
        weight = len(item.get("lines", ()))
        if not groups or weight > room:
            groups.append([])
            room = MAX_LINES_PER_CALL
        groups[-1].append(item)
        room -= weight
    return groups


class Participants:
    """Product holds the stock, pricing makes the price, payment moves the money."""

    def __init__(self, product: ServiceClient, pricing: ServiceClient, payment: ServiceClient) -> None:
        self._payment = payment
        self._minimum = 0
        self._minimum_until = -math.inf
        self.reserve = Endpoint(product, "/internal/reservations", RESERVE_TIMEOUT_S)
        self.release = Endpoint(product, "/internal/reservations/release", RELEASE_TIMEOUT_S)
        self.quote = Endpoint(pricing, "/internal/quotes", QUOTE_TIMEOUT_S)
        self.unquote = Endpoint(pricing, "/internal/quotes/release", RELEASE_TIMEOUT_S)
        self.charge = Endpoint(payment, "/internal/charges", CHARGE_TIMEOUT_S, MAX_CHARGES_INFLIGHT)
        self.void = Endpoint(payment, "/internal/charges/void", VOID_TIMEOUT_S)

    async def refunded_in_full(self, order_id: UUID) -> bool:
        """Whether all that was paid for the order went back; False for a payment service that cannot say so yet."""
        body = {"items": [{"order_id": order_id}]}
        try:
            answer = await self._payment.post(
                "/internal/charges/state", json=body, internal=True, timeout_s=STATE_TIMEOUT_S
            )
        except Problem as problem:
            if problem.status in NOT_OFFERED:
                return False
            raise Unavailable(self._payment.name, str(problem)) from problem
        states: list[Item] = answer.json["results"]
        return any(state["state"] == "refunded" for state in states)

    async def minimum_charge(self, currency: str) -> int:
        """The smallest amount in minor units that payment charges, as last heard; 0 while it cannot say so."""
        now = asyncio.get_running_loop().time()
        if now >= self._minimum_until:
            self._minimum_until = now + MINIMUM_KNOWN_S
            try:
                answer = await self._payment.get(
                    "/internal/charges/minimum",
                    params={"currency": currency},
                    internal=True,
                    timeout_s=MINIMUM_TIMEOUT_S,
                )
                self._minimum = int(answer.json["amount"])
            except (Problem, Unavailable, OutcomeUnknown, ValueError, KeyError, TypeError) as error:
                log.info("the smallest charge is not known: %s", error)
        return self._minimum

    async def close(self) -> None:
        for endpoint in (self.reserve, self.release, self.quote, self.unquote, self.charge, self.void):
            await endpoint.close()
