"""Buyers that send an order again with the same idempotency key until it is answered."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from shop.devkit.testing import wait_until
from tests.load.shoppers import ADDRESS, Shop

RETRY_PAUSE_S = 0.2
MAX_TRIES = 150
ENDS_WITHIN_S = 90.0
LOOK_EVERY_S = 0.1
"""At an order that has not ended: more often would load the machine with looking alone."""
AGAIN = frozenset({429, 500, 502, 503, 504})
IN_FLIGHT = "idempotency_key_in_flight"


@dataclass
class Answer:
    """The last answer to one order request; ``body`` is the order or the problem."""

    status: int
    body: dict[str, Any]
    key: str
    token: str
    tries: int = 1
    seen: list[int] = field(default_factory=list)

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


async def new_product(api: Shop, admin: str, stock: int, price: int = 1_000) -> dict[str, Any]:
    """A product of this test's own."""
    name = f"Test {uuid.uuid4().hex[:12]}"
    body = {
        "sku": f"T-{uuid.uuid4().hex[:12]}",
        "name": name,
        "description": "A book that only a test reads.",
        "category": "novel",
        "price": {"amount": price, "currency": "EUR"},
        "stock": stock,
        "attributes": {"author": "Test Author", "year": 1900, "language": "en", "pages": 100},
    }
    product: dict[str, Any] = await api.call("POST", "/products", admin, json=body)
    return product


async def order(
    api: Shop, token: str, product_id: str, *, quantity: int = 1, key: str = "", card: str = "tok_visa", **more: Any
) -> Answer:
    """Send one order request once."""
    chosen = key or str(uuid.uuid4())
    body = {
        "items": [{"product_id": product_id, "quantity": quantity}],
        "address": ADDRESS,
        "payment": {"token": card},
        **more,
    }
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": chosen}
    async with api.session.post(f"{api.url}/api/v1/orders", json=body, headers=headers) as response:
        return Answer(response.status, await response.json(content_type=None), chosen, token)


async def insist(api: Shop, token: str, product_id: str, **options: Any) -> Answer:
    """Send an order until there is a final answer, whatever fails meanwhile."""
    key, seen = options.pop("key", "") or str(uuid.uuid4()), []
    for tries in range(1, MAX_TRIES + 1):
        try:
            answer = await order(api, token, product_id, key=key, **options)
        except (aiohttp.ClientError, TimeoutError):
            seen.append(0)
        else:
            seen.append(answer.status)
            if answer.status not in AGAIN and answer.code != IN_FLIGHT:
                answer.tries, answer.seen = tries, seen
                return answer
        await asyncio.sleep(RETRY_PAUSE_S)
    raise AssertionError(f"no answer after {MAX_TRIES} tries: {seen}")


async def decided(api: Shop, token: str, product_id: str, **options: Any) -> Answer:
    """The answer to an order that has ended. On a slow machine the first one is 202, so the request is repeated."""
    first = await order(api, token, product_id, **options)

    async def ended() -> Answer | None:
        again = await order(api, token, product_id, **options | {"key": first.key})
        return None if again.status == 202 or again.code == IN_FLIGHT else again

    if first.status != 202:
        return first
    found: Answer = await wait_until(ended, ENDS_WITHIN_S, f"order {first.body['id']} to end", LOOK_EVERY_S)
    return found


async def state_of(api: Shop, answer: Answer) -> str:
    found = await api.call("GET", f"/orders/{answer.body['id']}", answer.token)
    return str(found["state"])


async def ends_as(api: Shop, answer: Answer, timeout_s: float = ENDS_WITHIN_S) -> str:
    """The state of the order once it is no longer pending."""

    async def ended() -> str:
        try:
            state = await state_of(api, answer)
        except (aiohttp.ClientError, RuntimeError, TimeoutError):
            return ""
        return "" if state == "pending" else state

    return str(await wait_until(ended, timeout_s, f"order {answer.body['id']} to end", LOOK_EVERY_S))


async def stock_of(api: Shop, product_id: str) -> int:
    return int((await api.call("GET", f"/products/{product_id}"))["stock"])
