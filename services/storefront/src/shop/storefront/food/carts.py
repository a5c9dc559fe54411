"""Carts of food in Valkey: a hash with the restaurant and, per item with its choices, the quantity.

They are apart from the shop's carts: a food cart has items of one restaurant alone, and is paid by an order of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from redis.asyncio import Redis

from shop.contracts.restaurant import MAX_CHOICES, MAX_LINES, MAX_QUANTITY
from shop.kit.errors import Problem, Unavailable
from shop.storefront.carts import CART_TTL_S, errors_as_unavailable, purchase_key
from shop.storefront.sessions import Visitor

RESTAURANT = "restaurant"
"""The field of the hash that has the restaurant's id."""

# ARGV: restaurant, line, quantity, "add" or "put", "replace" or "keep", maximum lines, maximum quantity, TTL (s).
# Returns the quantity; -1 when the cart is full, -2 when it has items of another restaurant.
CHANGE = """
local current = redis.call('HGET', KEYS[1], 'restaurant')
if current and current ~= ARGV[1] then
  if ARGV[5] ~= 'replace' then return -2 end
  redis.call('DEL', KEYS[1])
end
local quantity = tonumber(ARGV[3])
if ARGV[4] == 'add' then quantity = quantity + tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '0') end
quantity = math.min(quantity, tonumber(ARGV[7]))
if quantity <= 0 then
  redis.call('HDEL', KEYS[1], ARGV[2])
elseif redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then
  return -1
else
  redis.call('HSET', KEYS[1], 'restaurant', ARGV[1], ARGV[2], quantity)
end
if redis.call('HLEN', KEYS[1]) <= 1 then redis.call('DEL', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[8]) end
return quantity
"""

# The visitor's cart is the newer one: with items of another restaurant it replaces the user's.
MERGE = """
local restaurant = redis.call('HGET', KEYS[1], 'restaurant')
if restaurant then
  local own = redis.call('HGET', KEYS[2], 'restaurant')
  if own and own ~= restaurant then redis.call('DEL', KEYS[2]) end
  redis.call('HSET', KEYS[2], 'restaurant', restaurant)
  for _, line in ipairs(redis.call('HKEYS', KEYS[1])) do
    local known = redis.call('HEXISTS', KEYS[2], line) == 1
    if line ~= 'restaurant' and (known or redis.call('HLEN', KEYS[2]) <= tonumber(ARGV[1])) then
      local quantity = tonumber(redis.call('HGET', KEYS[1], line))
      local sum = quantity + tonumber(redis.call('HGET', KEYS[2], line) or '0')
      redis.call('HSET', KEYS[2], line, math.min(sum, tonumber(ARGV[2])))
    end
  end
  redis.call('DEL', KEYS[1])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[4]) end
return redis.call('HGETALL', KEYS[2])
"""

# ARGV: restaurant, then lines with their quantities. Later additions stay.
REMOVE_PURCHASED = """
if redis.call('HSETNX', KEYS[2], 'settled', '1') == 0 then return 0 end
if redis.call('HGET', KEYS[1], 'restaurant') ~= ARGV[1] then return 1 end
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1
     and redis.call('HINCRBY', KEYS[1], ARGV[i], -tonumber(ARGV[i + 1])) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
if redis.call('HLEN', KEYS[1]) <= 1 then redis.call('DEL', KEYS[1]) end
return 1
"""


@dataclass(frozen=True, order=True)
class CartItem:
    """A menu item with its choices, sorted: equal choices are one line."""

    item_id: UUID
    choices: tuple[UUID, ...] = ()

    @classmethod
    def of(cls, item_id: UUID, choices: Iterable[UUID]) -> Self:
        """Raises ValueError for more choices than an order may have."""
        made = tuple(sorted(set(choices)))
        if len(made) > MAX_CHOICES:
            raise ValueError(f"{len(made)} choices")
        return cls(item_id, made)

    @classmethod
    def parse(cls, key: str) -> Self:
        """The item of `key`; ValueError for any other text."""
        item_id, _, choices = key.partition(".")
        return cls.of(UUID(item_id), [UUID(choice) for choice in choices.split(".") if choice])

    @property
    def key(self) -> str:
        """A name that fits into a path."""
        return ".".join(part.hex for part in (self.item_id, *self.choices))


@dataclass(frozen=True)
class FoodCart:
    """``restaurant_id`` is None for an empty cart."""

    restaurant_id: UUID | None
    lines: dict[CartItem, int]

    @property
    def count(self) -> int:
        return sum(self.lines.values())

    def items(self) -> list[dict[str, Any]]:
        """The lines as JSON, sorted so that equal carts give equal bodies."""
        return [
            {"item_id": str(item.item_id), "quantity": quantity, "choices": [str(choice) for choice in item.choices]}
            for item, quantity in sorted(self.lines.items())
        ]


class OtherRestaurant(Exception):
    """The cart has items of another restaurant."""


class FoodCarts:
    """Carts, and where their owners want the food. Every method but `shown` raises `Unavailable("cart")` while Valkey
    cannot be reached."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey: Any = valkey

    async def cart(self, visitor: Visitor) -> FoodCart:
        """The cart; that of a signed-in user takes over what the same visitor chose before."""
        with errors_as_unavailable():
            if visitor.session is None:
                return _cart((await self._valkey.hgetall(_key(visitor.id))).items())
            owners = (visitor.id, visitor.cart_owner)
            names = (*map(_key, owners), *map(_street_key, owners))
            flat = await self._valkey.eval(MERGE, 4, *names, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        return _cart(zip(flat[::2], flat[1::2], strict=True))

    async def shown(self, visitor: Visitor) -> FoodCart:
        """The cart for a page that is complete without it: empty while Valkey cannot be reached."""
        try:
            return await self.cart(visitor) if visitor.known else EMPTY
        except Unavailable:
            return EMPTY

    async def add(self, owner: str, restaurant_id: UUID, item: CartItem, quantity: int, *, replace: bool) -> int:
        """Add to the line; `OtherRestaurant` unless its items may be replaced."""
        return await self._change(owner, restaurant_id, item, quantity, "add", "replace" if replace else "keep")

    async def put(self, owner: str, restaurant_id: UUID, item: CartItem, quantity: int) -> int:
        """Set the quantity; 0 removes the line."""
        return await self._change(owner, restaurant_id, item, quantity, "put", "keep")

    async def _change(
        self, owner: str, restaurant_id: UUID, item: CartItem, quantity: int, how: str, other: str
    ) -> int:
        arguments = (restaurant_id.hex, item.key, quantity, how, other, MAX_LINES, MAX_QUANTITY, CART_TTL_S)
        with errors_as_unavailable():
            result = int(await self._valkey.eval(CHANGE, 1, _key(owner), *arguments))
        if result == -1:
            raise Problem(409, "cart_full", f"An order can have at most {MAX_LINES} different items.")
        if result == -2:
            raise OtherRestaurant
        return result

    async def remove_purchased(self, owner: str, key: str, body: dict[str, Any]) -> None:
        """Remove what was ordered with checkout form `key` from the cart, once."""
        bought = [
            (CartItem.of(UUID(item["item_id"]), [UUID(choice) for choice in item["choices"]]).key, item["quantity"])
            for item in body["items"]
        ]
        flat = [str(part) for line in bought for part in line]
        with errors_as_unavailable():
            names = (_key(owner), purchase_key(owner, key))
            await self._valkey.eval(REMOVE_PURCHASED, 2, *names, UUID(body["restaurant_id"]).hex, *flat)

    async def street(self, visitor: Visitor) -> str:
        """The street and number that restaurants were last listed for; "" for none, or while Valkey is away."""
        if not visitor.known:
            return ""
        try:
            with errors_as_unavailable():
                kept: bytes | None = await self._valkey.get(_street_key(visitor.cart_owner))
        except Unavailable:
            return ""
        return kept.decode() if kept else ""

    async def keep_street(self, owner: str, street: str) -> None:
        with errors_as_unavailable():
            await self._valkey.set(_street_key(owner), street, ex=CART_TTL_S)

    async def delete(self, owner: str) -> None:
        with errors_as_unavailable():
            await self._valkey.delete(_key(owner), _street_key(owner))


EMPTY = FoodCart(None, {})


def _key(owner: str) -> str:
    return f"storefront:food-cart:{owner}"


def _street_key(owner: str) -> str:
    return f"storefront:food-street:{owner}"


def _cart(fields: Iterable[Sequence[bytes]]) -> FoodCart:
    texts = {name.decode(): value.decode() for name, value in fields}
    restaurant = texts.pop(RESTAURANT, "")
    if not restaurant or not texts:
        return EMPTY
    return FoodCart(UUID(restaurant), {CartItem.parse(key): int(quantity) for key, quantity in texts.items()})
