"""Carts in Valkey: one hash per owner (`Visitor.cart_owner`), product id to quantity. Each change is one atomic script,
so that concurrent changes from two tabs are both kept."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import orjson
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from shop.kit.errors import Problem, Unavailable
from shop.storefront.sessions import Visitor

CART_TTL_S = 30 * 24 * 3600
MAX_LINES = 50
MAX_QUANTITY = 999
PURCHASE_TTL_S = 24 * 3600
"""How long a checkout form leads to the same order: as long as the order service keeps idempotency keys."""

SCAN_COUNT = 1_000
"""Keys that Valkey looks at before it does other work."""

CONNECTION_ERRORS = (ValkeyConnectionError, ValkeyTimeoutError)

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

# ARGV: maximum lines, maximum quantity, TTL in seconds. The user's own lines have priority when the cart is full.
# Returns the lines of the user's cart, which saves a second request.
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

# All or none. ARGV: maximum lines, maximum quantity, TTL in seconds, products.
ADD_EACH = """
local new = 0
for i = 4, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then new = new + 1 end
end
if redis.call('HLEN', KEYS[1]) + new > tonumber(ARGV[1]) then return -1 end
for i = 4, #ARGV do
  local quantity = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0') + 1
  redis.call('HSET', KEYS[1], ARGV[i], math.min(quantity, tonumber(ARGV[2])))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return new
"""

REMOVE_PURCHASED = """
if redis.call('HSETNX', KEYS[2], 'settled', '1') == 0 then return 0 end
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1
     and redis.call('HINCRBY', KEYS[1], ARGV[i], -tonumber(ARGV[i + 1])) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
"""

# The fields "doubtful" and "settled" have these names in stored purchases.
DISCARD = """
if redis.call('HEXISTS', KEYS[1], 'doubtful') == 0 then redis.call('HDEL', KEYS[1], 'body') end
return 0
"""

# Only the refused attempt ends: of two concurrent refusals, the first one has already begun the next attempt.
END_ATTEMPT = """
if (redis.call('HGET', KEYS[1], 'attempt') or '0') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'body', 'doubtful')
return redis.call('HINCRBY', KEYS[1], 'attempt', 1)
"""


@contextlib.contextmanager
def errors_as_unavailable() -> Iterator[None]:
    """Unavailable("cart") when Valkey cannot be reached."""
    try:
        yield
    except CONNECTION_ERRORS as error:
        raise Unavailable("cart") from error


def _cart_key(owner: str) -> str:
    return f"storefront:cart:{owner}"


def _quantities(lines: Iterable[tuple[bytes, bytes]]) -> dict[UUID, int]:
    return {UUID(product.decode()): int(quantity) for product, quantity in lines}


def purchase_key(owner: str, key: str) -> str:
    """Where the order request of checkout form `key` is."""
    return f"storefront:purchase:{owner}:{key}"


@dataclass(frozen=True)
class Purchase:
    """The order request of a checkout form. A refused attempt is followed by the next `attempt`."""

    key: str
    attempt: int
    body: dict[str, Any]

    @property
    def order_key(self) -> str:
        """The idempotency key at the order service: one for each attempt."""
        return str(uuid5(NAMESPACE_OID, f"{self.key}/{self.attempt}")) if self.attempt else self.key


def cart_full() -> Problem:
    return Problem(409, "cart_full", f"A cart can hold at most {MAX_LINES} different products.")


class Carts:
    """Every method but `shown` raises `Unavailable("cart")` while Valkey cannot be reached."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey: Any = valkey

    async def lines(self, owner: str) -> dict[UUID, int]:
        """Quantities by product."""
        with errors_as_unavailable():
            raw = await self._valkey.hgetall(_cart_key(owner))
        return _quantities(raw.items())

    async def shown(self, visitor: Visitor) -> Mapping[UUID, int]:
        """The lines for a page that is complete without them: none while Valkey cannot be reached. Read once."""
        if not visitor.known:
            return {}
        owner = visitor.cart_owner
        if owner not in visitor.carts:
            try:
                visitor.carts[owner] = await self.lines(owner)
            except Unavailable:
                visitor.carts[owner] = {}
        return visitor.carts[owner]

    async def add(self, owner: str, product_id: UUID, quantity: int) -> int:
        """Add to the line; returns the new quantity, at most MAX_QUANTITY."""
        return await self._change(owner, product_id, quantity, "add")

    async def put(self, owner: str, product_id: UUID, quantity: int) -> int:
        """Set the quantity; 0 removes the line."""
        return await self._change(owner, product_id, quantity, "put")

    async def _change(self, owner: str, product_id: UUID, quantity: int, how: str) -> int:
        arguments = (str(product_id), quantity, how, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        with errors_as_unavailable():
            result = int(await self._valkey.eval(CHANGE, 1, _cart_key(owner), *arguments))
        if result < 0:
            raise cart_full()
        return result

    async def add_each(self, owner: str, product_ids: Collection[UUID]) -> None:
        """Add one of each product, or none if the cart would have too many lines."""
        arguments = (MAX_LINES, MAX_QUANTITY, CART_TTL_S, *(str(product_id) for product_id in product_ids))
        with errors_as_unavailable():
            result = int(await self._valkey.eval(ADD_EACH, 1, _cart_key(owner), *arguments))
        if result < 0:
            raise cart_full()

    async def delete(self, owner: str) -> None:
        """Delete the cart of `owner` and the order requests of their checkout forms."""
        with errors_as_unavailable():
            forms = [name async for name in self._valkey.scan_iter(f"{purchase_key(owner, '')}*", count=SCAN_COUNT)]
            await self._valkey.delete(_cart_key(owner), *forms)

    async def merge(self, visitor: str, owner: str) -> dict[UUID, int]:
        """Move an anonymous visitor's lines into the cart of `owner`, within its limits, and return its lines."""
        names = (_cart_key(visitor), _cart_key(owner))
        with errors_as_unavailable():
            flat = await self._valkey.eval(MERGE, 2, *names, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        return _quantities(zip(flat[::2], flat[1::2], strict=True))

    async def store_purchase(self, owner: str, key: str, body: Mapping[str, Any]) -> Purchase:
        """The request of checkout form `key`: the first one that was sent in the current attempt.

        A form that is submitted twice must send the same body twice, although the first order has emptied the cart.
        """
        name = purchase_key(owner, key)
        with errors_as_unavailable():
            async with self._valkey.pipeline(transaction=True) as pipe:
                pipe.hsetnx(name, "body", orjson.dumps(body))
                pipe.expire(name, PURCHASE_TTL_S)
                pipe.hmget(name, "body", "attempt")
                kept, attempt = (await pipe.execute())[2]
        return Purchase(key, int(attempt or 0), orjson.loads(kept))

    async def purchase(self, owner: str, key: str) -> dict[str, Any] | None:
        """The request that was sent with checkout form `key`, if any."""
        with errors_as_unavailable():
            kept = await self._valkey.hget(purchase_key(owner, key), "body")
        return orjson.loads(kept) if kept else None

    async def mark_outcome_uncertain(self, owner: str, key: str) -> None:
        """Record that the order may have been placed: from now on the request cannot be changed."""
        with errors_as_unavailable():
            await self._valkey.hset(purchase_key(owner, key), "doubtful", "1")

    async def discard_purchase(self, owner: str, key: str) -> None:
        """Let the form be changed and sent again, unless its order may have been placed."""
        with errors_as_unavailable():
            await self._valkey.eval(DISCARD, 1, purchase_key(owner, key))

    async def end_attempt(self, owner: str, purchase: Purchase) -> None:
        """End a refused attempt: the next request of this form has its own idempotency key."""
        with errors_as_unavailable():
            await self._valkey.eval(END_ATTEMPT, 1, purchase_key(owner, purchase.key), purchase.attempt)

    async def remove_purchased(self, owner: str, key: str, bought: Mapping[UUID, int]) -> bool:
        """Remove what was ordered from the cart, once per checkout form; later additions stay."""
        flat = [str(part) for line in bought.items() for part in line]
        names = (_cart_key(owner), purchase_key(owner, key))
        with errors_as_unavailable():
            return bool(await self._valkey.eval(REMOVE_PURCHASED, 2, *names, *flat))

    async def ping(self) -> None:
        with errors_as_unavailable():
            await self._valkey.ping()

    async def close(self) -> None:
        await self._valkey.aclose()
