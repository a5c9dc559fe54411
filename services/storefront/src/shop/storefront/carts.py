"""Carts in Valkey: one hash per visitor, product id to quantity. Each change is one atomic script, so two tabs
that add at once lose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from shop.kit.errors import Problem, Unavailable

CART_TTL_S = 30 * 24 * 3600
MAX_LINES = 50
MAX_QUANTITY = 999
PURCHASE_TTL_S = 24 * 3600
"""How long a checkout form answers with the same order: as long as the order service keeps idempotency keys."""

LOST = (ValkeyConnectionError, ValkeyTimeoutError)

CHANGE = """
local quantity = tonumber(ARGV[2])
if ARGV[3] == 'add' then quantity = quantity + tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') end
quantity = math.min(quantity, tonumber(ARGV[5]))
if quantity <= 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return -1
else
  redis.call('HSET', KEYS[1], ARGV[1], quantity)
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
return quantity
"""

SETTLE = """
if redis.call('HSETNX', KEYS[2], 'settled', '1') == 0 then return 0 end
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1
     and redis.call('HINCRBY', KEYS[1], ARGV[i], -tonumber(ARGV[i + 1])) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
"""

FORGET = """
if redis.call('HEXISTS', KEYS[1], 'doubtful') == 0 then redis.call('DEL', KEYS[1]) end
return 0
"""


def _cart_key(visitor_id: str) -> str:
    return f"storefront:cart:{visitor_id}"


def _purchase_key(visitor_id: str, key: str) -> str:
    return f"storefront:purchase:{visitor_id}:{key}"


class Carts:
    """Every method raises `Unavailable("cart")` while Valkey cannot be reached."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey: Any = valkey

    async def lines(self, visitor_id: str) -> dict[UUID, int]:
        """Quantities by product, in no order."""
        try:
            raw = await self._valkey.hgetall(_cart_key(visitor_id))
        except LOST as error:
            raise Unavailable("cart") from error
        return {UUID(product.decode()): int(quantity) for product, quantity in raw.items()}

    async def add(self, visitor_id: str, product_id: UUID, quantity: int) -> int:
        """Adds to what is there; the new quantity, never above MAX_QUANTITY."""
        return await self._change(visitor_id, product_id, quantity, "add")

    async def put(self, visitor_id: str, product_id: UUID, quantity: int) -> int:
        """Sets the quantity; 0 takes the line out."""
        return await self._change(visitor_id, product_id, quantity, "put")

    async def _change(self, visitor_id: str, product_id: UUID, quantity: int, how: str) -> int:
        arguments = (str(product_id), quantity, how, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        try:
            result = int(await self._valkey.eval(CHANGE, 1, _cart_key(visitor_id), *arguments))
        except LOST as error:
            raise Unavailable("cart") from error
        if result < 0:
            raise Problem(409, "cart_full", f"A cart holds {MAX_LINES} different articles at most.")
        return result

    async def remember_purchase(self, visitor_id: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request that belongs to checkout form `key`: the first one sent with it, whatever comes later.

        A form sent twice must ask for one order with one body, although the first answer has emptied the cart.
        """
        name = _purchase_key(visitor_id, key)
        try:
            async with self._valkey.pipeline(transaction=True) as pipe:
                pipe.hsetnx(name, "body", orjson.dumps(body))
                pipe.expire(name, PURCHASE_TTL_S)
                pipe.hget(name, "body")
                kept = (await pipe.execute())[2]
        except LOST as error:
            raise Unavailable("cart") from error
        result: dict[str, Any] = orjson.loads(kept)
        return result

    async def purchase(self, visitor_id: str, key: str) -> dict[str, Any] | None:
        """The request sent before with checkout form `key`, if there was one."""
        try:
            kept = await self._valkey.hget(_purchase_key(visitor_id, key), "body")
        except LOST as error:
            raise Unavailable("cart") from error
        return orjson.loads(kept) if kept else None

    async def doubt_purchase(self, visitor_id: str, key: str) -> None:
        """Notes that nobody knows whether the request was carried out: from now on it cannot be changed."""
        try:
            await self._valkey.hset(_purchase_key(visitor_id, key), "doubtful", "1")
        except LOST as error:
            raise Unavailable("cart") from error

    async def forget_purchase(self, visitor_id: str, key: str) -> None:
        """Lets the form be changed and sent again, unless an earlier try may have been carried out."""
        try:
            await self._valkey.eval(FORGET, 1, _purchase_key(visitor_id, key))
        except LOST as error:
            raise Unavailable("cart") from error

    async def settle(self, visitor_id: str, key: str, bought: Mapping[UUID, int]) -> bool:
        """Takes what was bought out of the cart, once per checkout form; what was added meanwhile stays."""
        flat = [str(part) for line in bought.items() for part in line]
        names = (_cart_key(visitor_id), _purchase_key(visitor_id, key))
        try:
            return bool(await self._valkey.eval(SETTLE, 2, *names, *flat))
        except LOST as error:
            raise Unavailable("cart") from error

    async def ping(self) -> None:
        try:
            await self._valkey.ping()
        except LOST as error:
            raise Unavailable("cart") from error

    async def close(self) -> None:
        await self._valkey.aclose()
