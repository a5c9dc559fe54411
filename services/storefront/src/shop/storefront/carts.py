"""Carts in Valkey: one hash per owner (`Visit.cart_owner`), product id to quantity. Each change is one atomic script,
so two tabs that add at once lose nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

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

# ARGV: lines at most, quantity at most, seconds to live. The user's own lines stay when there is no room for more.
# Answers with the lines of the user's cart, so that a page needs no second request.
MERGE = """
for _, product in ipairs(redis.call('HKEYS', KEYS[1])) do
  local quantity = tonumber(redis.call('HGET', KEYS[1], product))
  local own = tonumber(redis.call('HGET', KEYS[2], product) or '0')
  if own > 0 or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[2], product, math.min(own + quantity, tonumber(ARGV[2])))
  end
end
if redis.call('DEL', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
return redis.call('HGETALL', KEYS[2])
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
if redis.call('HEXISTS', KEYS[1], 'doubtful') == 0 then redis.call('HDEL', KEYS[1], 'body') end
return 0
"""

# Only the attempt that was refused ends: of two presses that were refused together, one has begun the next attempt.
REFUSE = """
if (redis.call('HGET', KEYS[1], 'attempt') or '0') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'body', 'doubtful')
return redis.call('HINCRBY', KEYS[1], 'attempt', 1)
"""


def _cart_key(owner: str) -> str:
    return f"storefront:cart:{owner}"


def _quantities(lines: Iterable[tuple[bytes, bytes]]) -> dict[UUID, int]:
    return {UUID(product.decode()): int(quantity) for product, quantity in lines}


def _purchase_key(owner: str, key: str) -> str:
    return f"storefront:purchase:{owner}:{key}"


@dataclass(frozen=True)
class Purchase:
    """What a checkout form asked for, at its `attempt`-th try; a try that was refused is followed by another one."""

    key: str
    attempt: int
    body: dict[str, Any]

    @property
    def order_key(self) -> str:
        """The idempotency key at the order service: one for each attempt."""
        return str(uuid5(NAMESPACE_OID, f"{self.key}/{self.attempt}")) if self.attempt else self.key


class Carts:
    """Every method raises `Unavailable("cart")` while Valkey cannot be reached."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey: Any = valkey

    async def lines(self, owner: str) -> dict[UUID, int]:
        """Quantities by product, in no order."""
        try:
            raw = await self._valkey.hgetall(_cart_key(owner))
        except LOST as error:
            raise Unavailable("cart") from error
        return _quantities(raw.items())

    async def add(self, owner: str, product_id: UUID, quantity: int) -> int:
        """Adds to what is there; the new quantity, never above MAX_QUANTITY."""
        return await self._change(owner, product_id, quantity, "add")

    async def put(self, owner: str, product_id: UUID, quantity: int) -> int:
        """Sets the quantity; 0 takes the line out."""
        return await self._change(owner, product_id, quantity, "put")

    async def _change(self, owner: str, product_id: UUID, quantity: int, how: str) -> int:
        arguments = (str(product_id), quantity, how, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        try:
            result = int(await self._valkey.eval(CHANGE, 1, _cart_key(owner), *arguments))
        except LOST as error:
            raise Unavailable("cart") from error
        if result < 0:
            raise Problem(409, "cart_full", f"A cart can hold at most {MAX_LINES} different products.")
        return result

    async def merge(self, visitor: str, owner: str) -> dict[UUID, int]:
        """Puts an anonymous visitor's choice into the cart of `owner`, within its bounds, and returns its lines."""
        names = (_cart_key(visitor), _cart_key(owner))
        try:
            flat = await self._valkey.eval(MERGE, 2, *names, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        except LOST as error:
            raise Unavailable("cart") from error
        return _quantities(zip(flat[::2], flat[1::2], strict=True))

    async def remember_purchase(self, owner: str, key: str, body: Mapping[str, Any]) -> Purchase:
        """The request that belongs to checkout form `key`: the first one of its attempt, whatever comes later.

        A form sent twice must ask for one order with one body, although the first answer has emptied the cart.
        """
        name = _purchase_key(owner, key)
        try:
            async with self._valkey.pipeline(transaction=True) as pipe:
                pipe.hsetnx(name, "body", orjson.dumps(body))
                pipe.expire(name, PURCHASE_TTL_S)
                pipe.hmget(name, "body", "attempt")
                kept, attempt = (await pipe.execute())[2]
        except LOST as error:
            raise Unavailable("cart") from error
        return Purchase(key, int(attempt or 0), orjson.loads(kept))

    async def purchase(self, owner: str, key: str) -> dict[str, Any] | None:
        """The request sent before with checkout form `key`, if there was one."""
        try:
            kept = await self._valkey.hget(_purchase_key(owner, key), "body")
        except LOST as error:
            raise Unavailable("cart") from error
        return orjson.loads(kept) if kept else None

    async def doubt_purchase(self, owner: str, key: str) -> None:
        """Notes that nobody knows whether the request was carried out: from now on it cannot be changed."""
        try:
            await self._valkey.hset(_purchase_key(owner, key), "doubtful", "1")
        except LOST as error:
            raise Unavailable("cart") from error

    async def forget_purchase(self, owner: str, key: str) -> None:
        """Lets the form be changed and sent again, unless an earlier try may have been carried out."""
        try:
            await self._valkey.eval(FORGET, 1, _purchase_key(owner, key))
        except LOST as error:
            raise Unavailable("cart") from error

    async def refuse_purchase(self, owner: str, purchase: Purchase) -> None:
        """Ends an attempt that was refused: the next request with this form is another one, with a key of its own."""
        try:
            await self._valkey.eval(REFUSE, 1, _purchase_key(owner, purchase.key), purchase.attempt)
        except LOST as error:
            raise Unavailable("cart") from error

    async def settle(self, owner: str, key: str, bought: Mapping[UUID, int]) -> bool:
        """Takes what was bought out of the cart, once per checkout form; what was added meanwhile stays."""
        flat = [str(part) for line in bought.items() for part in line]
        names = (_cart_key(owner), _purchase_key(owner, key))
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
