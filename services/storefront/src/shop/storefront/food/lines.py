"""A food cart with the items and prices of the restaurant's menu."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shop.contracts.money import Money
from shop.kit.errors import Problem
from shop.storefront.food.carts import CartItem, FoodCart
from shop.storefront.food.choosing import fits
from shop.storefront.food.schemas import Choice, Menu, MenuItem, Restaurant
from shop.storefront.food.service import Food


@dataclass(frozen=True)
class FoodLine:
    """One line; ``item`` is None when the menu has it no more."""

    key: CartItem
    quantity: int
    item: MenuItem | None
    choices: Sequence[Choice] = ()

    @property
    def name(self) -> str:
        return self.item.name if self.item else "Item no longer on the menu"

    @property
    def problem(self) -> str:
        """Why it cannot be ordered; "" if it can."""
        if self.item is None:
            return "No longer on the menu"
        if not self.item.available:
            return "Sold out"
        return "" if fits(self.item, frozenset(self.key.choices)) else "The options have changed"

    @property
    def total(self) -> Money | None:
        if self.item is None:
            return None
        each = self.item.price.amount + sum(choice.price.amount for choice in self.choices)
        return Money(amount=each * self.quantity, currency=self.item.price.currency)


@dataclass(frozen=True)
class FilledCart:
    """``restaurant`` is None for an empty cart; ``closed`` is why its menu is not shown."""

    restaurant: Restaurant | None = None
    cart: FoodCart = field(default_factory=lambda: FoodCart(None, {}))
    lines: Sequence[FoodLine] = ()
    closed: Problem | None = None

    @property
    def subtotal(self) -> int:
        """Minor units."""
        return sum(line.total.amount for line in self.lines if line.total)

    @property
    def missing(self) -> int:
        """Minor units up to the restaurant's minimum order."""
        least = self.restaurant.minimum_order.amount if self.restaurant and self.restaurant.minimum_order else 0
        return max(0, least - self.subtotal)

    @property
    def orderable(self) -> bool:
        return (
            bool(self.lines) and not self.closed and not self.missing and not any(line.problem for line in self.lines)
        )

    @property
    def names(self) -> dict[str, str]:
        """The items' names by id."""
        return {str(line.key.item_id): line.name for line in self.lines}


async def filled_cart(food: Food, cart: FoodCart) -> FilledCart:
    """The cart with its restaurant and menu. The lines of a closed restaurant have no items: it shows no menu."""
    if cart.restaurant_id is None:
        return FilledCart()
    restaurant = await food.backends.restaurants.one(cart.restaurant_id)
    try:
        menu = await food.backends.restaurants.menu(cart.restaurant_id)
    except Problem as problem:
        if problem.status != 404:  # closed, paused, or known no more
            raise
        return FilledCart(restaurant, cart, lines_of(cart, Menu()), problem)
    return FilledCart(restaurant, cart, lines_of(cart, menu))


def lines_of(cart: FoodCart, menu: Menu) -> list[FoodLine]:
    lines = []
    for key, quantity in cart.lines.items():
        item = menu.item(key.item_id)
        lines.append(FoodLine(key, quantity, item, item.chosen(frozenset(key.choices)) if item else ()))
    return sorted(lines, key=lambda line: (line.name, line.key))
